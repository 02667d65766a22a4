"""`sluice bench merge`: the driver's certified merge beside FAISS's merges and a tree of merges."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import pyarrow as pa

from cluster.lab.tree_merge import time_tree, time_tree_of
from jobs.console import console, errors, print_table
from jobs.lab.config import BenchMergeConfig, LabConfig
from jobs.sitting import one_session
from pipeline.core.files import write_atomically
from pipeline.core.forecast import counted
from pipeline.core.run_record import RunRecord
from pipeline.core.tables import parquet_bytes
from pipeline.lab.merge_timing import (
    MergeTiming,
    search_shards,
    time_merges,
    time_searched,
    tree_from,
)

Row = dict[str, float | None]
SIZE = ("shards", "queries", "k")
TIMES = {
    "certified": "driver",
    "tree": "tree",
    "faiss_heap": "FAISS's heap",
    "searched_certified": "driver, real parts",
    "searched_tree": "tree, real parts",
}


def command(config: LabConfig) -> None:
    """Time the driver's merge beside FAISS's and a tree of merges.

    Parts are made up, and up to 1,000 shards also those of real searches. The tree takes Ray:
    without workers it is left out.
    """
    wanted, record = config.bench_merge, RunRecord("bench merge", 0, config.ray.workers)
    sizes = [
        (shards, queries, k)
        for queries in wanted.queries
        for k in wanted.k
        for shards in wanted.shards
    ]
    with one_session(config.ray), record.stage("merges"):
        rows = []
        for place, size in enumerate(sizes):
            told = ", ".join(f"{n} {value:,}" for n, value in zip(SIZE, size, strict=True))
            errors.print(f"{place + 1} of {len(sizes)}: {told}")
            rows.append(_row(wanted, *size, by_tree=config.ray.workers > 0))
    table, output = pa.Table.from_pylist(rows), wanted.output.resolve()
    write_atomically(output / "merge.parquet", parquet_bytes(table))
    record.save(output)
    _print(table.to_pylist())


def _row(wanted: BenchMergeConfig, shards: int, queries: int, k: int, by_tree: bool) -> Row:
    timings = [
        time_merges(shards, queries, k, wanted.shard_rows, wanted.dimensions)
        for _ in range(wanted.repeats)
    ]
    names = ("certified", "faiss_heap", "faiss_merge", "search")
    middle = MergeTiming(
        shards, queries, k, *(median(getattr(t, name) for t in timings) for name in names)
    )
    times_heap = sorted(t.certified / t.faiss_heap for t in timings)
    trees = time_tree(shards, queries, k, wanted.fan_in, wanted.repeats) if by_tree else []
    facts: Row = {"shards": shards, "queries": queries, "k": k}
    facts |= {name: getattr(middle, name) for name in names}
    facts |= {"tree": median(trees) if trees else None, "times_heap": median(times_heap)}
    facts |= {"times_heap_low": times_heap[0], "times_heap_high": times_heap[-1]}
    facts |= {"outweighs_at": middle.outweighs_at, "merge_share": middle.share}
    return facts | _searched(wanted, shards, queries, k, by_tree)


def _searched(wanted: BenchMergeConfig, shards: int, queries: int, k: int, by_tree: bool) -> Row:
    """Return the same of the parts of a real search, None where that would take too long."""
    found = search_shards(shards, queries, k, wanted.shard_rows, wanted.dimensions)
    if found is None:
        names = ("certified", "search", "tree", "share")
        return {f"searched_{name}": None for name in names}
    merge = median(time_searched(found, queries, k) for _ in range(wanted.repeats))
    trees = time_tree_of(found.parts, k, wanted.fan_in, wanted.repeats) if by_tree else []
    return {
        "searched_certified": merge,
        "searched_search": found.seconds,
        "searched_tree": median(trees) if trees else None,
        "searched_share": merge / (merge + found.seconds),
    }


def _print(rows: Sequence[dict[str, Any]]) -> None:
    header = (*SIZE, *TIMES.values(), "merge's share", "of real parts", "outweighs from")
    lines = [
        (
            *(f"{row[name]:,}" for name in SIZE),
            *(_milliseconds(row[name]) for name in TIMES),
            _share(row["merge_share"]),
            _share(row["searched_share"]),
            counted(max(1, round(row["outweighs_at"]))),
        )
        for row in rows
    ]
    print_table("milliseconds, median of repeats", header, lines)
    console.print(
        "merge's share: of searching by one worker and merging; outweighs from: so many workers' "
        "share of the search is as short as the driver's merge",
        soft_wrap=True,
    )
    for queries, k in dict.fromkeys((row["queries"], row["k"]) for row in rows):
        mine = [row for row in rows if (row["queries"], row["k"]) == (queries, k)]
        _print_crossing(mine, f"{counted(queries, 'query', 'queries')}, k {k}")


def _print_crossing(rows: Sequence[dict[str, Any]], size: str) -> None:
    """Say from how many shards on the tree is quicker, by made-up and by real parts."""
    real = [
        {"shards": r["shards"], "certified": r["searched_certified"], "tree": r["searched_tree"]}
        for r in rows
        if r["searched_certified"] is not None
    ]
    for parts, mine in (("made-up parts", rows), ("real parts", real)):
        timed = [row["shards"] for row in mine if row["tree"] is not None]
        if timed:
            crossing = tree_from(mine)
            told = f"quicker than the driver from {crossing:,} shards on" if crossing else "slower"
            console.print(
                f"{size}, {parts}: the tree is {told} (measured to {max(timed):,} shards)"
            )


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{1000 * seconds:.3g}" if seconds < 0.1 else f"{1000 * seconds:,.0f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"
