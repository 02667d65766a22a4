"""Runs of the scaling lab, made up."""

import pyarrow as pa


def tasks(workers, shards, start_up=3.0, seconds=2.0, gap=0.0, rows=10):
    """Tasks of a run in which every worker does shards/workers shards one after the other."""
    lines = []
    for shard in range(shards):
        worker, turn = shard % workers, shard // workers
        started = 100 + start_up + turn * (seconds + gap)
        lines.append(
            {
                "shard": shard,
                "rows": rows,
                "worker": f"w{worker}",
                "started": started,
                "ended": started + seconds,
                "received": started + seconds,
                "merge": 0.25,
                "asked": 97.0,
                "planned": 98.0,
                "began": 100.0,
                "driver_cpu": 0.26 * shards,
            }
        )
    finished = max(line["ended"] for line in lines) + 1.5
    return pa.Table.from_pylist(
        [line | {"finished": finished, "written": finished + 0.5} for line in lines]
    )
