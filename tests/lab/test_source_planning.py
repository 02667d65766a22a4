"""What `sluice bench sources` measures, small: planning reads the list and footers alone."""

import pytest

from pipeline.lab.source_planning import (
    large_parquet,
    large_tars,
    made_source,
    many_files,
    planning_cost,
)


@pytest.mark.parametrize(
    ("write", "least", "most"),  # bytes; reading the counter itself takes some hundred
    [(many_files(1500), 0, 500), (large_parquet(1), 500, 2**20), (large_tars(1), 0, 500)],
    ids=["files", "parquet", "tars"],
)
def test_planning_reads_no_image(tmp_path, monkeypatch, write, least, most):
    monkeypatch.setattr("pipeline.lab.source_planning.LARGE", 50_000_000)
    with made_source(write, tmp_path) as (root, there):
        cost = planning_cost(str(root))
        assert there == sum(p.stat().st_size for p in root.rglob("*") if p.is_file())
    assert least <= cost["bytes read"] <= most
    assert cost["units"] >= 1
    assert list(tmp_path.iterdir()) == []
