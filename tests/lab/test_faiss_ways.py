"""The benchmark over synthetic vectors, small and in this process: what they say, not how fast."""

import pyarrow.parquet as pq

from pipeline.lab.faiss_ways import Timed, fewest_probes, probe_ladder
from tests.helpers.command_line import run


def test_recall_grows_with_probes_to_all(tmp_path):
    sizes = ["--rows", "2500", "--dimensions", "16", "--queries", "100", "--repeats", "1"]
    sizes += ["--workers", "0"]
    ran = run("bench", "search", *sizes, "--output", tmp_path)
    assert ran.exception is None, ran.output
    curve = pq.read_table(tmp_path / "curve.parquet").to_pandas()
    assert set(curve["way"]) == {"sluice ivf", "sluice hash", "FAISS IVF"}
    for _, rows in curve.groupby("way"):
        assert rows.sort_values("probes")["recall"].is_monotonic_increasing
        assert rows["recall"].between(0, 1).all()
    assert "synthetic" in (tmp_path / "curve.html").read_text()
    compared = pq.read_table(tmp_path / "compared.parquet").to_pandas().set_index("way")
    assert compared.loc["FAISS flat", "recall"] == 1
    assert compared.loc["sluice ivf", "recall"] >= 0.99
    assert (compared["vectors"] == 2500).all()


def test_the_fewest_probes_that_reach_the_recall():
    curve = [Timed("a", probes, 1 - 0.1 / probes, [], []) for probes in (2, 8, 16, 32)]
    assert fewest_probes(curve, "a") == 16
    assert fewest_probes(curve, "b") == 0
    assert probe_ladder(1000)[0] == 1
    assert probe_ladder(1000)[-1] == 250
