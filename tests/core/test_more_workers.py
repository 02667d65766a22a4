import time

import pytest

from pipeline.core.measured import read_measured
from pipeline.core.more_workers import measured_of_run, more_workers, more_workers_told
from pipeline.core.run_record import RunRecord
from pipeline.core.shard_stats import shard_stats

SECONDS = {
    "source manifest": 2.0,
    "start-up of workers": 20.0,
    "workers at work": 500.0,
    "drain": 1.0,
    "merge on the driver, meanwhile": 0.02,
    "write": 3.0,
}


def record(job="embed", **more):
    facts = {"in_pool": True, "shards": 20, "busy": 1000.0} | more
    return RunRecord(job, 20_000, 2, dict(SECONDS), **facts)


def test_a_runs_own_costs_are_those_of_the_model():
    found = measured_of_run(record())
    assert found.measured.ms == 50
    costs = found.measured.costs
    assert (costs.start_up, costs.drain, costs.writing) == (20, 1, 3)
    assert costs.merge == pytest.approx(0.02 / 20)
    assert costs.planning_an_image == pytest.approx(2 / 20_000)
    assert costs.planning == 0
    converted = record()
    converted.seconds["convert the model"] = 7.0  # once, however many images
    assert measured_of_run(converted).measured.costs.planning == pytest.approx(7)
    assert measured_of_run(record(shards=0)) is None
    assert measured_of_run(record("corpus")) is None


def test_a_job_tells_in_two_lines_what_more_workers_would_have_done():
    run = record()
    run.more_workers = more_workers(run)
    times = [row["seconds"] for row in run.more_workers["pools"]]
    assert 20 + 3 + 1 + 2 + 250 < times[0] < 300
    first, second = more_workers_told(run)
    assert first.startswith("with 4, 16, 64 workers: 4.")
    assert first.endswith("(extrapolated from this run)")
    stops = run.more_workers["stops"]["workers"]
    assert second.startswith(f"they stop helping at {stops:,} workers (")
    assert second.endswith(": from here on start-up and writing outweigh embedding")


def test_a_search_has_the_stores_shards_whatever_the_workers():
    rows = more_workers(record("search", shards=2))["pools"]
    assert rows[0]["seconds"] == pytest.approx(rows[2]["seconds"], rel=0.01)
    assert rows[0]["seconds"] > 500


def test_without_ray_its_start_is_as_shipped_and_little_work_tells_nothing():
    alone = record(in_pool=False)
    alone.more_workers = more_workers(alone)
    assert alone.more_workers["pools"][0]["start_up"] == read_measured().costs.start_up
    assert "Ray's start as measured elsewhere" in more_workers_told(alone)[0]
    assert more_workers(record(in_pool=False, busy=9.0)) == {}
    assert more_workers_told(record()) == []


def test_a_pool_records_what_the_model_takes():
    run, began = RunRecord("embed", 40, 0), time.time()
    with run.pool(2) as stats:
        for shard, (rows, start, end) in enumerate([(10, 0, 1), (10, 1.5, 2.5), (20, 3, 7)]):
            table = shard_stats(shard, rows, began + start)
            place = table.column_names.index("ended")
            stats.append(table.set_column(place, "ended", [[began + end]]))
    assert run.in_pool
    assert (run.shards, run.busy, run.wait) == pytest.approx((3, 6.0, 0.5))
    assert min(run.stragglers) < 1 < max(run.stragglers)
    alone = RunRecord("embed", 40, 0)
    alone.add_pools(run)
    assert (alone.shards, alone.busy, alone.in_pool) == (3, run.busy, True)
    assert alone.seconds["workers at work"] == run.seconds["workers at work"]
