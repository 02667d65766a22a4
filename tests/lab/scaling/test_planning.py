import pytest

from pipeline.core.forecast import PoolCosts, forecast
from pipeline.lab.scaling.planning import cheapest_in_time, doublings, offers

COSTS = PoolCosts(10.0, 0.0, 0.0, 0.0, 0.0, (1.0,))


def at(workers):
    return forecast(COSTS, 4096, 50, workers)


def test_the_cheapest_in_time_is_found_between_the_doublings():
    assert doublings(10) == [1, 2, 4, 8, 10]
    best = cheapest_in_time(at, doublings(64), 45)
    seconds = at([best - 1, best])["seconds"].to_pylist()
    assert seconds[1] <= 45 < seconds[0]
    assert cheapest_in_time(at, doublings(64), 1000) == 1
    assert cheapest_in_time(at, doublings(64), 5) is None


def test_spot_workers_cost_what_is_done_again_too():
    row = at([16]).to_pylist()[0]
    plain, spot = offers(0.2, 0.2, 6.0, 4)
    hours = 16 * row["seconds"] / 3600
    assert plain.cost(row).value == pytest.approx(hours * 0.2)
    assert plain.cost(row).low == pytest.approx(16 * row["low"] / 3600 * 0.2)
    lost = 6.0 * hours * (row["work"] / 4 / 2 + row["start_up"]) / 3600
    assert spot.cost(row).value == pytest.approx((hours + lost) * 0.2)
    assert spot.cost(row).low < spot.cost(row).value < spot.cost(row).high
    assert [offer.name for offer in offers(None, 0.1, 0.05, 4)] == ["spot"]
    assert "0.05 interruptions an hour" in offers(None, 0.1, 0.05, 4)[0].told
