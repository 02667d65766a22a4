"""The deployment files agree with each other, the pinned Ray, the jobs' settings and the CRDs."""

import json
import re
import shlex
from functools import reduce
from pathlib import Path

import kubernetes_validate
import pytest
import ray
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from jobs.settings import load_config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "cluster" / "deploy"
RAY = re.search(r"^ray==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)[1]
JOBS = ["ray_job.yaml", "ray_job_gpu.yaml"]
SHARED = [*JOBS, "kuberay_cluster.yaml"]
KUBERAY = [*SHARED, "ray_job_s3.yaml"]


def manifest(name):
    return yaml.safe_load((DEPLOY / name).read_text())


def cluster_of(found):
    return found["spec"]["rayClusterSpec"] if found["kind"] == "RayJob" else found["spec"]


@pytest.fixture(scope="module")
def problems():
    """Return what is wrong with a manifest by its CRD and, in pods, Kubernetes' own schema."""
    kubernetes = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    files = (
        kubernetes / "v1.37.0-local-strict" / "_definitions.json",
        Path(__file__).parent / "kuberay.schema.json",
    )
    registry = [Resource.from_contents(json.loads(path.read_text())) for path in files] @ Registry()

    def found(manifest):
        schema = {"$ref": f"https://ray.io/v1#/$defs/{manifest['kind']}"}
        errors = Draft202012Validator(schema, registry=registry).iter_errors(manifest)
        return [error.message for error in errors]

    return found


@pytest.mark.parametrize("name", KUBERAY)
def test_every_field_is_one_of_the_crd(problems, name):
    assert problems(manifest(name)) == []


WORKERS = ("spec", "rayClusterSpec", "workerGroupSpecs", 0)
CONTAINER = (*WORKERS, "template", "spec", "containers", 0)


@pytest.mark.parametrize(
    ("place", "field", "value", "told"),
    [
        (("spec",), "shutdownAfterJobFinish", True, "'shutdownAfterJobFinish' was unexpected"),
        (("spec",), "backoffLimit", "3", "'3' is not of type 'integer'"),
        (("spec",), "submissionMode", "Http", "'Http' is not one of"),
        (WORKERS, "replica", 4, "'replica' was unexpected"),
        (WORKERS, "rayStartParams", {"num-cpus": 0}, "0 is not of type 'string'"),
        (WORKERS, "maxReplicas", 2**31, "is greater than the maximum"),
        (CONTAINER, "volumeMount", [], "'volumeMount' was unexpected"),
        (CONTAINER, "image", 1, "1 is not of type 'string'"),
        (CONTAINER, "ports", [{"containerPort": 80, "port": 80}], "'port' was unexpected"),
        (("metadata",), "label", {}, "'label' was unexpected"),
    ],
)
def test_a_misspelt_field_and_a_wrong_type_are_refused(problems, place, field, value, told):
    changed = manifest("ray_job.yaml")
    reduce(lambda part, key: part[key], place, changed)[field] = value
    assert [told in problem for problem in problems(changed)] == [True]


def test_a_missing_field_is_told(problems):
    changed = manifest("kuberay_cluster.yaml")
    del changed["spec"]["headGroupSpec"]["template"]
    assert problems(changed) == ["'template' is a required property"]


@pytest.mark.parametrize("name", SHARED)
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


def test_the_job_on_a_bucket_shares_no_folder_and_holds_no_credentials():
    found = manifest("ray_job_s3.yaml")
    config = load_config(None, shlex.split(found["spec"]["entrypoint"])[5::2])
    assert str(config.embed.output).startswith("s3://")
    assert config.source.url[0].startswith("s3://")
    cluster = cluster_of(found)
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert "volumes" not in pod
        assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "sluice-s3"}}]
    assert "AWS_" not in (DEPLOY / "ray_job_s3.yaml").read_text()
    assert cluster["enableInTreeAutoscaling"] is True


def test_the_launcher_is_as_rays_schema_wants_it():
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    assert list(Draft202012Validator(schema).iter_errors(manifest("ray_cluster.yaml"))) == []


def test_the_launcher_and_the_image_are_of_the_same_ray():
    launcher = manifest("ray_cluster.yaml")
    assert launcher["head_node_type"] in launcher["available_node_types"]
    assert all(
        "--metrics-export-port=8080" in launcher[f"{n}_start_ray_commands"][1]
        for n in ("head", "worker")
    )
    assert set(re.findall(r"rayproject/ray:([\d.]+)", (DEPLOY / "Dockerfile").read_text())) == {RAY}
