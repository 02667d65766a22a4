import pytest

from pipeline.core.errors import StoreError
from pipeline.core.forecast import PoolCosts
from pipeline.core.measured import measured_here, read_measured, write_measured
from pipeline.core.origin import machine


def test_what_was_measured_comes_back_with_where_and_when(tmp_path):
    costs = PoolCosts(1.5, 0.5, 0.01, 0.001, 0.5, (0.9, 1.1), off=(-0.25, 0.0))
    found = measured_here("embed", costs, 25.0, "sluice lab scale")
    write_measured(tmp_path / "measured.yaml", found)
    assert read_measured(tmp_path / "measured.yaml") == found
    assert found.told.startswith(f"measured on {machine()}: embed, sluice lab scale of Sluice")
    (tmp_path / "measured.yaml").write_text("costs: 3")
    with pytest.raises(StoreError, match="run sluice lab scale again"):
        read_measured(tmp_path / "measured.yaml")


def test_what_is_shipped_is_not_yours():
    shipped = read_measured()
    assert f"{shipped.machine}, not yours" in shipped.told
    assert shipped.workload == "emulated"
    assert shipped.costs.start_up > 0
