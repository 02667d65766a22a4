import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.lab.growth import growth
from pipeline.core.errors import StoreError
from pipeline.lab.growth import ways
from pipeline.pages.growth import fit_exponent, read_growth


def test_an_exponent_is_found_within_its_interval():
    counts = 2.0 ** np.arange(10, 20)
    noise = np.exp(np.random.default_rng(0).normal(size=10) * 0.1)
    fitted = fit_exponent("x", "O(N^1.5)", counts, 1e-9 * counts**1.5 * noise)
    assert fitted.low < 1.5 < fitted.high
    assert fitted.low < fitted.value < fitted.high
    exact = fit_exponent("x", "O(N)", counts, 3 * counts)
    assert (exact.low, exact.high) == pytest.approx((1, 1))


def test_every_way_is_measured_and_drawn(tmp_path):
    assert read_growth(tmp_path) is None
    exponents = growth(4096, 16, tmp_path)
    points = pq.read_table(tmp_path / "points.parquet").to_pandas()
    assert set(points["way"]) == {way.name for way in ways()} == {e.way for e in exponents}
    assert (points.groupby("way")["vectors"].count() == 3).all()
    assert (points["seconds"] > 0).all()
    assert len(pq.read_table(tmp_path / "exponents.parquet")) == len(exponents)
    doublings = pq.read_table(tmp_path / "doublings.parquet").to_pylist()
    assert [(row["way"], row["vectors"]) for row in doublings] == [
        (way, 4096) for way in ("all pairs", "scan", "sorted key")
    ]
    assert all(row["low"] < row["ratio"] < row["high"] for row in doublings)
    assert "Measured on one thread" in (tmp_path / "growth.html").read_text()
    left = read_growth(tmp_path)
    assert left.exponents == exponents
    # log log N over log N, from 2^10 to 2^12, in which log N grows by a fifth.
    theories = {e.way: left.in_theory(e) for e in left.exponents}
    assert theories["scan"] == "O(N)"
    assert theories["sorted key"] == "O(log N), here N^0.13"
    assert left.per(exponents[0]) == "all vectors"
    (tmp_path / "exponents.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="run sluice lab growth again"):
        read_growth(tmp_path)
