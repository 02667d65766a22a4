"""Recall against keep rate of every cheap filter, on the calibration sample."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.cascade.calibration import Calibration
from pipeline.cascade.neighbours import Neighbours
from pipeline.cascade.planner import least_kept, neighbour_ranks
from pipeline.cascade.signature import PARTS, part_slice
from pipeline.cascade.stages import LEARNED, pca
from pipeline.core.arrays import AnyArray, Ids, Scores
from pipeline.core.bounds import interval
from pipeline.core.tables import embedding_matrix

BOTH: tuple[Neighbours, ...] = ("semantic", "copies")
SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def filter_recall(
    calibration: Calibration, neighbours: Neighbours, k: int, share: float
) -> pa.Table:
    """Return (filter, keep, recall, low, high), a row a filter and share of SHARES.

    Hand-made signatures are compared by distance, learned filters by their codes; low and high are
    the 95 % interval of as many neighbours as there are queries. ``k`` and ``share`` are those of
    Calibration.questions.
    """
    asked = calibration.questions(neighbours, k, share)
    rows = []
    for name, (queries, codes) in _filters(calibration, asked.features, neighbours).items():
        ranks = neighbour_ranks(queries, asked.targets, asked.own, codes)
        images = calibration.sample.num_rows
        rows += [_row(name, ranks, asked.weights, share, images) for share in SHARES]
    return pa.Table.from_pylist(rows)


def by_share(table: pa.Table) -> pa.Table:
    """Return filter_recall's table with a row a filter: its recall at each of SHARES."""
    names = list(dict.fromkeys(table["filter"].to_pylist()))
    recalls = table["recall"].to_numpy().reshape(len(names), len(SHARES))
    shares = {f"{share:.1%}": recalls[:, column] for column, share in enumerate(SHARES)}
    return pa.table({"filter": names} | shares)


def all_filters(found: Mapping[Neighbours, pa.Table]) -> pa.Table:
    """Return filter_recall's tables of all kinds of neighbours as one, with a column of those."""
    return pa.concat_tables(
        [t.append_column("neighbours", pa.array([who] * t.num_rows)) for who, t in found.items()]
    )


def _filters(
    calibration: Calibration, asking: pa.Table, neighbours: Neighbours
) -> dict[str, tuple[AnyArray, AnyArray]]:
    """Return by filter the queries' and the sample's vectors, compared by inner product."""
    mine, theirs = (embedding_matrix(t["signature"]) for t in (asking, calibration.sample))
    found = {
        f"hand-made: {part}": _by_distance(mine[:, part_slice(part)], theirs[:, part_slice(part)])
        for part in PARTS
    }
    found["hand-made: all of them"] = _by_distance(mine, theirs)
    for stage in LEARNED:
        codes = calibration.filters.codes(stage, calibration.sample)
        found[f"learned: {stage}"] = (
            calibration.filters.query_codes(stage, asking, neighbours),
            codes,
        )
    if neighbours == "semantic":
        codes = calibration.filters.codes(pca.STAGE.name, calibration.sample)
        found["PCA-64 of the CNN"] = (codes, codes)
    return found


def _by_distance(queries: AnyArray, rows: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Return vectors whose inner products order ``rows`` as their distances to a query do."""
    queries, rows = queries.astype(np.float64), rows.astype(np.float64)
    lengths = (rows**2).sum(axis=1, keepdims=True)
    ones = np.full((len(queries), 1), -0.5)
    return np.hstack([queries, ones]), np.hstack([rows, lengths])


def _row(name: str, ranks: Ids, weights: Scores, share: float, sample: int) -> dict[str, Any]:
    kept, drawn = least_kept(share, sample), len(ranks)
    passed = float(((ranks <= kept) @ weights).sum())
    low, high = interval(round(passed), drawn)
    return {
        "filter": name,
        "keep": share,
        "recall": passed / drawn,
        "low": low,
        "high": high,
    }
