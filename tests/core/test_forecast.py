import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.forecast import (
    FORECAST,
    PARTS,
    PoolCosts,
    Shards,
    forecast,
    stops_helping,
    stops_of_jobs,
)
from pipeline.lab.scaling.simulator import simulate

EVEN = (1.0,)
UNEVEN = tuple(
    np.quantile(np.random.default_rng(0).lognormal(-0.02, 0.2, 4000), np.arange(101) / 100)
)
FREE = PoolCosts(0.0, 0.0, 0.0, 0.0, 0.0, EVEN)


def simulated(costs, images, ms, workers, a_worker=4):
    size = max(1, -(-images // (workers * a_worker)))
    rows = [size] * (images // size) + ([images % size] if images % size else [])
    walls = [simulate(costs, workers, [r * ms / 1000 for r in rows], seed=s).wall for s in range(5)]
    return float(np.mean(walls))


@pytest.mark.parametrize("workers", [1, 256])
@pytest.mark.parametrize("images", [1000, 100_000])
@pytest.mark.parametrize(("overhead", "merge"), [(0.005, 0.001), (0.05, 0.01), (0.02, 0.1)])
@pytest.mark.parametrize("stragglers", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_it_is_what_the_simulator_finds_shard_by_shard(
    stragglers, overhead, merge, images, workers
):
    costs = PoolCosts(6.0, 1.0, overhead, merge, 0.5, stragglers, wait=0.1)
    told = forecast(costs, images, 50, workers)["seconds"][0].as_py()
    assert told == pytest.approx(simulated(costs, images, 50, workers), rel=0.07)


@settings(max_examples=40, deadline=None)
@given(images=st.integers(1, 10**6), workers=st.integers(1, 2000), ms=st.floats(0.1, 200))
def test_the_parts_add_up_and_no_law_is_broken(images, workers, ms):
    costs = PoolCosts(6.0, 1.0, 0.01, 0.001, 0.5, UNEVEN, 0.1, 2.0, 1e-5, 1.0, (-0.1, 0.2))
    row = forecast(costs, images, ms, workers, price=0.2).to_pylist()[0]
    assert sum(row[name] for name in PARTS) == pytest.approx(row["seconds"])
    assert min(row[name] for name in PARTS) >= 0
    assert row["low"] <= row["seconds"] <= row["high"]
    assert row["efficiency"] == pytest.approx(row["speed_up"] / workers)
    assert row["efficiency"] <= 1 + 1e-9
    assert row["cost"] == pytest.approx(workers * row["seconds"] / 3600 * 0.2)


def test_without_costs_the_guides_hundred_machines_are_a_hundred_times_as_fast():
    table = forecast(FREE, 1_000_000, 50, [1, 10, 100])
    assert table["seconds"].to_pylist() == pytest.approx([50_000, 5000, 500])
    assert table["speed_up"].to_pylist() == pytest.approx([1, 10, 100])
    assert stops_helping(FREE, 10**9, 50).workers is None


def test_a_grid_of_jobs_is_the_jobs_one_by_one():
    costs = PoolCosts(6.0, 1.0, 0.01, 0.001, 0.5, UNEVEN)
    images, ms, workers = np.array([1000, 10**6]), np.array([5.0, 50.0]), np.array([1, 8, 64])
    grid = forecast(costs, images[:, None, None], ms[:, None], workers)
    assert grid.schema == FORECAST
    each = [forecast(costs, n, m, w).to_pylist()[0] for n in images for m in ms for w in workers]
    assert grid.to_pylist() == each


def test_shards_that_are_there_give_no_work_to_more_workers():
    eight = Shards(fixed=8)
    table = forecast(FREE, 8000, 10, [4, 8, 64], eight)
    assert table["seconds"].to_pylist() == pytest.approx([20, 10, 10])
    assert stops_helping(FREE, 8000, 10, eight).workers == 8


def test_it_stops_where_a_doubling_gives_less_than_a_tenth_and_says_why():
    costs = PoolCosts(30.0, 0.0, 0.0, 0.0, 5.0, EVEN)
    stop = stops_helping(costs, 100_000, 50, work="embedding")
    seconds = forecast(costs, 100_000, 50, [stop.workers, 2 * stop.workers])["seconds"].to_pylist()
    assert seconds[1] > 0.9 * seconds[0]
    assert stop.seconds == seconds[0]
    fewer = forecast(costs, 100_000, 50, [stop.workers // 2, stop.workers])["seconds"].to_pylist()
    assert fewer[1] < 0.9 * fewer[0]
    assert stop.reason == "from here on start-up outweighs embedding"
    merging = PoolCosts(1.0, 0.0, 0.0, 0.1, 30.0, EVEN, planning=20.0)
    reason = stops_helping(merging, 100_000, 5, work="signing").reason
    assert reason == "from here on the merge and preparing outweigh signing"


def test_many_jobs_stop_where_each_does_alone():
    costs = PoolCosts(30.0, 0.0, 0.01, 0.001, 5.0, UNEVEN, planning_an_image=1e-5)
    jobs = [(1000, 5.0), (10**6, 50.0), (10**9, 500.0)]
    together = stops_of_jobs(costs, jobs, work="embedding")
    assert together == [stops_helping(costs, *job, work="embedding") for job in jobs]
    assert together[0].workers < together[1].workers


def test_an_error_of_the_model_makes_no_run_quicker_than_its_work():
    costs = PoolCosts(6.0, 1.0, 0.0, 0.0, 0.0, EVEN, off=(0.0, 0.8))
    told = forecast(costs, 100_000, 50, [2, 4000])
    work, low, seconds = (told[name].to_numpy() for name in ("work", "low", "seconds"))
    assert low[0] == work[0] < seconds[0]
    assert low[1] == pytest.approx(seconds[1] / 1.8)
