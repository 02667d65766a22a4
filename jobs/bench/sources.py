"""`sluice bench sources`: what the driver reads and waits for before the first shard starts."""

from jobs.console import print_table, warn
from jobs.lab.config import LabConfig
from pipeline.lab.source_planning import (
    large_parquet,
    large_tars,
    made_source,
    many_files,
    planning_cost,
)

COLUMNS = ("units", "seconds", "seconds again", "bytes read", "MiB")


def command(config: LabConfig) -> None:
    """Time planning sources of many files and of large ones, made for it and removed.

    No worker runs: these are the driver's seconds, bytes and memory before the first shard starts.
    """
    wanted = config.bench_sources
    ways = {f"{count:,} files": many_files(count) for count in wanted.files}
    size = int(wanted.gigabytes * 1e9)
    ways |= {f"{wanted.gigabytes:g} GB of Parquet": large_parquet(size)}
    ways |= {f"{wanted.gigabytes:g} GB of tars": large_tars(size)}
    wanted.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, write in ways.items():
        warn(f"making {name}")
        with made_source(write, wanted.output.resolve()) as (root, there):
            cost = planning_cost(str(root))
        share = cost["bytes read"] / there
        rows.append((name, there, *(cost[column] for column in COLUMNS), f"{share:.4%}"))
    print_table("planning, on the driver", ("source", "bytes", *COLUMNS, "read"), rows)
