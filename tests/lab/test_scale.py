import os

import pyarrow.parquet as pq
import pytest

from jobs.config import EmbedConfig, SourceConfig
from jobs.lab.config import LabConfig, ScaleConfig
from jobs.lab.scale import scale, time_left
from pipeline.core.errors import ConfigError, StoreError
from pipeline.core.measured import read_measured
from pipeline.core.run_record import RunRecord
from pipeline.core.spread import in_process
from pipeline.lab.scaling.experiment import planned_runs
from pipeline.lab.scaling.summary import SERIAL, scaling_summary
from pipeline.lab.synthetic_vectors import SyntheticSettings, synthetic_store


@pytest.mark.ray
def test_scale_writes_runs_and_laws_and_goes_on(ray_cluster, tmp_path):
    def config(**more):
        small = {"workers": (1, 2), "repeats": 1, "ms": 1.0, "shard_images": 4}
        small |= {"images": 24, "images_a_worker": 12, "output": tmp_path / "scale"}
        return LabConfig(scale=ScaleConfig(**small | more))

    scale(config())
    runs = pq.read_table(tmp_path / "scale" / "runs.parquet")
    assert runs["mode"].to_pylist() == ["single", "strong", "strong", "weak", "weak"]
    assert runs["images"].to_pylist() == [24, 24, 24, 12, 24]
    assert all(runs["emulated"].to_pylist())
    laws = pq.read_table(tmp_path / "scale" / "laws.parquet")
    assert set(laws["parameter"].to_pylist()) == {SERIAL}  # two counts tell of no law
    assert read_measured(tmp_path / "scale" / "measured.yaml").workload == "emulated"
    before = (tmp_path / "scale" / "shards" / "000001.parquet").read_bytes()
    (tmp_path / "scale" / "entries" / "000002.json").unlink()
    scale(config())
    assert (tmp_path / "scale" / "shards" / "000001.parquet").read_bytes() == before
    assert (tmp_path / "scale" / "entries" / "000002.json").exists()
    with pytest.raises(StoreError, match="other settings"):
        scale(config(ms=2.0))


@pytest.mark.ray
def test_scale_times_every_real_workload(ray_cluster, tmp_path, jpegs, capsys, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    (tmp_path / "photos").mkdir()
    for number, data in enumerate(jpegs):
        (tmp_path / "photos" / f"{number:02}.jpg").write_bytes(data)

    def config(**more):
        small = {"workers": (1, 2), "repeats": 1, "images": 300, "queries": 5, "k": 3}
        small |= {"workloads": ("embed", "sign", "search", "join"), "output": tmp_path / "scale"}
        return LabConfig(
            scale=ScaleConfig(**small | more),
            source=SourceConfig(url=(str(tmp_path / "photos"),), shard_rows=4),
            embed=EmbedConfig(output=tmp_path / "embeddings", input_size=64, batch_size=4),
        )

    made = SyntheticSettings(400, 100, 32, 8)
    synthetic_store(tmp_path / "embeddings", made, in_process, RunRecord("make vectors", 0, 0))
    scale(config())
    runs = pq.read_table(tmp_path / "scale" / "runs.parquet").to_pandas()
    wanted = planned_runs(config().scale.settings(), 2)
    found = list(zip(runs["workload"], runs["mode"], runs["workers"], strict=True))
    assert found == [(run.workload, run.mode, run.workers) for run in wanted]
    assert not runs["emulated"].any()
    assert runs["shards"].tolist() == [1, 3, 3] * 3 + [1, 17, 17]
    assert (runs["planning"] > 0).all()
    assert (runs["writing"][runs["mode"] == "strong"] > 0).all()
    assert (runs["merge"][(runs["workload"] == "search") & (runs["mode"] == "strong")] > 0).all()
    rows = scaling_summary(pq.read_table(tmp_path / "scale" / "runs.parquet"))
    assert {row["workload"] for row in rows} == {"embed", "sign", "search", "join"}
    printed = capsys.readouterr()
    assert "run 12 of 12" in printed.err
    told = " ".join(printed.out.split())
    for word in ("None", "nan", "1 workers"):
        assert word not in told
    for workload in ("embed", "sign", "search", "join"):
        assert f"{workload} strong: not enough worker counts (2): linear takes 3" in told
    assert not (tmp_path / "scale" / "scratch").exists()
    (tmp_path / "photos" / "zz.jpg").write_bytes(jpegs[0])
    with pytest.raises(StoreError, match="source_units"):
        scale(config())
    with pytest.raises(ConfigError, match="make 1 shards, too few for 2 workers"):
        scale(config(images=100, workloads=("search",), output=tmp_path / "few"))
    with pytest.raises(ConfigError, match="names only more"):
        scale(config(workers=(4, 8), workloads=("search",), output=tmp_path / "few"))


def test_the_time_left_goes_by_the_runs_of_this_sitting_and_their_kind():
    assert time_left([], [False] * 20) == ""
    assert time_left([(True, 0.5)], [False]) == ""  # one thread's run tells nothing of a pool's
    assert time_left([(True, 0.5), (False, 30.0)], [False, False, True]) == ", 60 s to go"
