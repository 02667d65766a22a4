"""The deployment files agree with each other, with the pinned Ray and with the jobs' settings."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from jobs.config import load_config

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "cluster" / "deploy"
RAY = re.search(r"^ray==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)[1]
JOBS = ["ray_job.yaml", "ray_job_gpu.yaml"]


def manifest(name):
    return yaml.safe_load((DEPLOY / name).read_text())


def cluster_of(found):
    return found["spec"]["rayClusterSpec"] if found["kind"] == "RayJob" else found["spec"]


@pytest.mark.parametrize("name", [*JOBS, "kuberay_cluster.yaml"])
def test_every_pod_has_the_image_the_shared_folder_and_rays_version(name):
    cluster = cluster_of(manifest(name))
    assert cluster["rayVersion"] == RAY
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    assert len({pod["containers"][0]["image"] for pod in pods}) == 1
    for pod in pods:
        mounts = {m["name"]: m["mountPath"] for m in pod["containers"][0]["volumeMounts"]}
        assert {v["name"] for v in pod["volumes"]} == set(mounts) == {"shared"}
    assert all(isinstance(v, str) for g in groups for v in g["rayStartParams"].values())


@pytest.mark.parametrize("name", JOBS)
def test_the_entrypoint_has_settings_the_job_takes_and_workers_that_fit(name):
    found = manifest(name)
    words = shlex.split(found["spec"]["entrypoint"])
    assert words[:4] == ["python", "-m", "jobs", "embed"]
    config = load_config(None, words[5::2])
    limits = [
        (group["replicas"], group["template"]["spec"]["containers"][0]["resources"]["limits"])
        for group in cluster_of(found)["workerGroupSpecs"]
    ]
    assert config.ray.workers <= sum(count * int(limit["cpu"]) for count, limit in limits)
    gpus = sum(count * int(limit.get("nvidia.com/gpu", 0)) for count, limit in limits)
    assert (config.embed.backend == "cuda") == (gpus > 0)
    assert str(config.embed.output).startswith("/shared/")


def test_the_launcher_and_the_image_are_of_the_same_ray():
    launcher = manifest("ray_cluster.yaml")
    assert launcher["head_node_type"] in launcher["available_node_types"]
    assert all(
        "--metrics-export-port=8080" in launcher[f"{n}_start_ray_commands"][1]
        for n in ("head", "worker")
    )
    assert set(re.findall(r"rayproject/ray:([\d.]+)", (DEPLOY / "Dockerfile").read_text())) == {RAY}
