"""What the cascade took beside brute force, as tables and a sentence."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipeline.cascade.planner import plan_cascade
from pipeline.cascade.stages import LAST, LEARNED
from pipeline.core.tables import embedding_matrix
from pipeline.lab.break_even import BreakEven
from pipeline.lab.cascade_bench import Prepared, Way
from pipeline.lab.filter_recall import BOTH
from pipeline.lab.timing import middle_and_ends

TARGETS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
MILLION = 1_000_000


def frontier_table(there: Prepared, k: int, confidence: float) -> pa.Table:
    """Return (neighbours, asked, bound, recall, speed_up) for TARGETS, one query a batch.

    The speed-up is calculated from the measured costs of the stages, signatures made.
    """
    calibration, costs = there.calibration, there.costs
    stages, share = tuple(LEARNED), calibration.sample.num_rows / len(there.ids)
    rows = []
    for who in BOTH:
        one = calibration.sample.slice(0, 1)
        codes = {stage: calibration.filters.query_codes(stage, one, who) for stage in stages}
        category = calibration.category(embedding_matrix(one["embedding"]), who)
        evidence = calibration.evidence(stages, who, k, share, codes, category, costs)
        for target in TARGETS:
            plan = plan_cascade(evidence, dict.fromkeys(stages), target, confidence)
            row = {"neighbours": who, "asked": target, "bound": plan.bound, "recall": plan.recall}
            rows.append(row | {"speed_up": costs.milliseconds[LAST] / plan.milliseconds})
    return pa.Table.from_pylist(rows)


def once_table(there: Prepared) -> pa.Table:
    """Return what is done once: its seconds, and those of a million images, extrapolated."""
    images, seconds = len(there.ids), there.seconds
    called = {
        "embed": "brute force: embed all",
        "search": "brute force: one exact search",
        "sign": "sign all, once",
    }
    rows = {text: (seconds[name], MILLION / images) for name, text in called.items()}
    rows["calibrate, once, whatever the size"] = (seconds["calibrate"], 1.0)
    return pa.table(
        {
            "what": list(rows),
            f"seconds, {images} images": [taken for taken, _ in rows.values()],
            "1M images, extrapolated": [taken * growth for taken, growth in rows.values()],
        }
    )


def way_table(there: Prepared, ways: Sequence[Way], recalls: Sequence[str]) -> pa.Table:
    """Return a row a way: its seconds, how many times faster than brute force, and its recall."""
    grow = MILLION / len(there.ids)
    return pa.Table.from_pylist(
        [
            {
                "neighbours": way.neighbours,
                "way": way.name,
                "s a query": _middle(way.seconds),
                "times faster": _middle([there.brute_force / s for s in way.seconds]),
                "recall": recall,
                "1M, extrapolated, s": f"{grow * np.median(way.seconds):,.0f}",
            }
            for way, recall in zip(ways, recalls, strict=True)
        ]
    )


def _middle(values: Sequence[float]) -> str:
    middle, least, most = middle_and_ends(values)
    return f"{middle:.2f} ({least:.2f}-{most:.2f})"


def break_even_note(even: BreakEven, images: int, workers: int, recall: float) -> str:
    """Return in a sentence after how many queries embedding everything once has cost less."""
    query, measured = even.crossing()
    how = "measured" if measured else "extrapolated from the last queries"
    when = (
        "a query of the cascade costs no more than an exact search, so embedding everything first "
        "never pays"
        if query is None
        else f"embedding everything once costs less from query {query} on ({how})"
    )
    return (
        f"{images:,} images, {workers} workers: {when}; semantic neighbours at recall {recall}, "
        "one query at a time."
    )
