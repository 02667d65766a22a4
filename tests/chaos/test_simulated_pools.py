"""Pools that are not all alike, run and simulated: stragglers, uneven shards, lost and new nodes.

The workers sleep. `make simulated` prints how far the simulator is off each run.
"""

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import psutil
import pyarrow as pa
import pytest
import ray
from ray._private.ray_constants import PROCESS_TYPE_RAYLET
from ray.cluster_utils import Cluster

from cluster.lab.timed_pool import all_workers_first
from cluster.shard_map import map_shards
from pipeline.core.shard_stats import shard_stats
from pipeline.lab.scaling.simulator import Stay, calibrate, simulate, worker_waits

pytestmark = [pytest.mark.chaos, pytest.mark.ray, pytest.mark.timeout(1800)]
AT = 12.0  # s from the first shard's begin, when what happens happens
FAR = 0.25  # relative error of the time from the first shard's begin to the last one's end


@dataclass(frozen=True)
class Sleeping:
    """Shards that take ``seconds`` of sleep, by number."""

    name: ClassVar[str] = "sleep"
    seconds: tuple[float, ...]

    def start(self):
        def sleep(shard):
            started = time.time()
            time.sleep(self.seconds[shard])
            return shard_stats(shard, 1, started)

        return sleep


@pytest.fixture
def nodes(monkeypatch):
    """A head without CPU slots; each test adds nodes with one."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def joined(cluster, count):
    added = [cluster.add_node(num_cpus=1) for _ in range(count)]
    cluster.wait_for_nodes()
    if not ray.is_initialized():
        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
    return added


def run(seconds, workers, happens=None, all_there=True):
    """Return the tasks of a run, and when ``happens`` was called and done, from the first begin.

    The first shard is given out when all workers have started, where they are ``all_there``.
    """
    began, tasks, at = time.time(), [], []
    with all_workers_first() if all_there else nullcontext():
        for table in map_shards(Sleeping(tuple(seconds)), range(len(seconds)), workers):
            tasks.append(table.select(["shard", "rows", "worker", "started", "ended"]))
            # Here, not in a thread: a node is started in the main one alone.
            if happens and not at and time.time() - tasks[0]["started"][0].as_py() > AT:
                at = [time.time()]
                happens()
                at.append(time.time())
    table = pa.concat_tables(tasks)
    first = min(table["started"].to_pylist())
    finished = time.time()
    whole = {"merge": 0.0, "asked": began, "planned": began, "began": began}
    whole |= {"finished": finished, "written": finished, "driver_cpu": 0.0}
    for name, value in whole.items():
        table = table.append_column(name, [[value] * len(table)])
    return table, [moment - first for moment in at]


def told(name, costs, workers, seconds, table, capsys):
    """Print the run's time at work and the simulated ones: foretold, and by the shards' own times.

    Of the latter the machine's load is out: what is left is how shards are given out.
    """
    table = table.sort_by("shard")
    assert table["shard"].to_pylist() == list(range(len(seconds)))  # none twice, none lost
    measured = max(table["ended"].to_pylist()) - min(table["started"].to_pylist())
    took = (table["ended"].to_numpy() - table["started"].to_numpy()).tolist()
    own = replace(costs, wait=float(worker_waits(table).mean()), stragglers=(1.0,))
    foretold, known = (
        simulate(c, workers, s).work / measured - 1 for c, s in ((costs, seconds), (own, took))
    )
    with capsys.disabled():
        pool = f"{len(set(table['worker'].to_pylist()))} workers"
        far = f"foretold {foretold:+.1%}, by its own shards' times {known:+.1%}"
        print(f"\n{name}: {measured:.1f} s by {pool}; {far}")
    return abs(known)


def begins(table):
    """Return when each worker began its first shard, in their order, from the first of all."""
    firsts = table.group_by("worker").aggregate([("started", "min")])["started_min"].to_pylist()
    return [began - min(firsts) for began in sorted(firsts)]


def kill_a_worker(cluster):
    """Kill one of the pool's actors; never a process of another Ray on this machine."""
    raylets = [
        psutil.Process(raylet.process.pid)
        for node in cluster.list_all_nodes()
        for raylet in node.all_processes[PROCESS_TYPE_RAYLET]
    ]
    every = [child for raylet in raylets for child in raylet.children(recursive=True)]
    next(p for p in every if "ray::MapWorker" in "".join(p.cmdline()[:1])).kill()


def test_stragglers_uneven_shards_and_a_lost_worker(nodes, capsys):
    joined(nodes, 2)
    even = [1.0] * 24
    peace, _ = run(even, 2)
    costs = calibrate([peace])
    far = [told("even shards", costs, 2, even, peace, capsys)]

    slow = [5.0 if shard % 8 == 7 else 1.0 for shard in range(24)]
    table, _ = run(slow, 2)
    far.append(told("one in eight five times as slow", costs, 2, slow, table, capsys))

    uneven = [0.2 + 0.1 * shard for shard in range(24)]
    table, _ = run(uneven, 2)
    far.append(told("shards of 0.2 to 2.5 s", costs, 2, uneven, table, capsys))

    longer = [1.0] * 40
    table, [lost, _] = run(longer, 2, lambda: kill_a_worker(nodes))
    back = begins(table)[2]
    stays = [Stay(), Stay(leaves=costs.start_up + lost, returns=costs.start_up + back)]
    far.append(told("a worker lost", costs, stays, longer, table, capsys))
    assert max(far) < FAR


def test_two_nodes_that_grow_to_four(nodes, capsys):
    joined(nodes, 2)
    many = [1.0] * 150
    table, _ = run(many, 4, lambda: joined(nodes, 2), all_there=False)
    came = begins(table)
    assert len(came) == 4
    costs = calibrate([table])
    stays = [Stay(comes=began) for began in came]
    assert told("2 nodes grow to 4", costs, stays, many, table, capsys) < FAR


def test_four_nodes_that_shrink_to_two(nodes, capsys):
    joined(nodes, 4)
    many = [1.0] * 60

    def shrink():
        for node in nodes.list_all_nodes()[-2:]:
            nodes.remove_node(node, allow_graceful=False)

    table, [lost, _] = run(many, 4, shrink)
    costs = calibrate([table])
    begun = sorted(
        start - min(table["started"].to_pylist()) for start in table["started"].to_pylist()
    )
    pauses = [later - start for start, later in pairwise(begun)]
    noticed = begun[1 + pauses.index(max(pauses))]  # Ray takes its time to believe a node is gone
    left = Stay(leaves=costs.start_up + lost, noticed=costs.start_up + noticed)
    stays = [Stay(), Stay(), left, left]
    assert told("4 nodes shrink to 2", costs, stays, many, table, capsys) < FAR
