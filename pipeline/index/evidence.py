"""What is known of a search by index: where the true neighbours of sampled images lie.

Images added since the grid was trained may be of another kind, which it fits less. They are a group
of their own: an average over all would hide them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.arrays import AnyArray, Ids, Mask, Numbers, Scores, Vectors
from pipeline.core.bounds import lower_bounds
from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.core.tables import flat_column, parquet_bytes, table_of
from pipeline.index.grid import Grid

NOT_THERE = -1
TRIALS = ("marks", "difficulty", "probed", "taken", "bytes_read")
MOST_GONE = 0.05  # share of the images without which a recall measured among them still holds
FIFTHS = 5  # of queries, by difficulty
PLANNING, OF = 3, 10  # of so many queries that choose those that plan; the others test
CALIBRATION, BOUNDS, LEVELS = "calibration.parquet", "bounds.parquet", "levels.parquet"


@dataclass(frozen=True)
class Bounds:
    """Lower bounds at a confidence; those of as many draws as are kept need no library again."""

    confidence: float
    kept: Mapping[int, Scores] = field(default_factory=dict)  # by the draws

    def of(self, drawn: int) -> Scores:
        """Return (drawn + 1,): the bound at each count of successes among ``drawn``."""
        if drawn in self.kept:
            return self.kept[drawn]
        return lower_bounds(np.arange(drawn + 1), drawn, self.confidence)


@dataclass(frozen=True)
class Trials:
    """What sampled queries found and took in rounds, at each level of effort from little to much.

    At a level a query stops where fewer neighbours are expected a byte.
    """

    marks: Ids  # (q, k): bit b is set where level b found the neighbour
    difficulty: Scores  # (q,): the log of the neighbours expected beyond the first round
    probed: Ids  # (q, l) buckets
    taken: Ids  # (q, l) candidates
    bytes_read: Scores  # (q, l)

    def part(self, some: slice, k: int) -> "Trials":
        """Return those of the queries ``some``, and of their ``k`` best neighbours."""
        return Trials(
            self.marks[some, :k],
            self.difficulty[some],
            self.probed[some],
            self.taken[some],
            self.bytes_read[some],
        )


@dataclass(frozen=True)
class Levels:
    """The levels of effort tried, from little to much."""

    gains: Scores  # (l,), descending: the log of the neighbours expected a byte, where one stops
    most: Ids  # (l,): candidates of any query

    def attach(self, store: Store) -> None:
        """Keep the levels in ``store``."""
        store.attach(LEVELS, parquet_bytes(pa.table({"gains": self.gains, "most": self.most})))

    @classmethod
    def attached(cls, store: Store) -> "Levels | None":
        """Return the levels kept in ``store``, None where none are."""
        data = store.attached(LEVELS)
        if data is None:
            return None
        table = table_of(data)
        return cls(table["gains"].to_numpy(), table["most"].to_numpy())


@dataclass(frozen=True)
class Evidence:
    """Where the true neighbours of a group of sampled queries lie, among ``images``."""

    places: Numbers  # (q, k) of each neighbour's bucket in its query's order, -1: no neighbour
    ranks: Ids  # (q, k): codes that score above the neighbour's
    nearest: Scores  # (q,): the score of the nearest neighbour, -inf where there is none
    images: int  # rows of the embeddings, the tombstoned too
    among: int = 0  # those that were not tombstoned
    added: bool = False  # whether the queries are images added since the grid was trained
    trials: Trials | None = None  # of searches in rounds

    def halves(self, k: int) -> tuple["Evidence", "Evidence"]:
        """Return the ``k`` best neighbours of queries that choose, and of those that measure."""
        first, second = (
            replace(
                self,
                places=self.places[start::2, :k],
                ranks=self.ranks[start::2, :k],
                nearest=self.nearest[start::2],
                trials=self.trials and self.trials.part(slice(start, None, 2), k),
            )
            for start in (0, 1)
        )
        return first, second

    def places_among(self, candidates: int) -> Numbers:
        """Return the places, beyond any bucket where so many candidates miss the neighbour."""
        missed = (self.ranks >= candidates) & (self.places >= 0)
        return np.where(missed, np.iinfo(np.int32).max, self.places).astype(np.int32)


def of_planning(queries: int) -> Mask:
    """Return bool (queries,): which of those that choose plan; the others test."""
    plan: Mask = np.arange(queries) % OF < PLANNING
    return plan


def neighbour_places(grid: Grid, queries: Vectors, buckets: AnyArray) -> Numbers:
    """Return int32 (q, k): the place of each neighbour's bucket in its query's order of buckets.

    queries f32 (q, d); buckets int (q, k) of the true neighbours, -1 where there are fewer.
    """
    order = grid.nearest(queries, grid.buckets)
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(grid.buckets, dtype=np.int32)[None], axis=1)
    found = np.take_along_axis(places, np.maximum(buckets, 0), axis=1)
    return np.where(buckets < 0, NOT_THERE, found).astype(np.int32)


def attach_evidence(store: Store, groups: Sequence[Evidence], confidence: float) -> None:
    """Keep the evidence in an index store, with the bounds of each half of a group.

    confidence: the one most searches will ask for.
    """
    tables = [
        pa.table(
            {
                "places": list(group.places),
                "ranks": list(group.ranks),
                "nearest": group.nearest,
                "added": np.full(len(group.nearest), group.added),
            }
            | _trial_columns(group.trials)
        )
        for group in groups
    ]
    images = {"images": str(groups[0].images), "among": str(groups[0].among)}
    store.attach(BOUNDS, parquet_bytes(_bounds_table(groups, confidence)))
    whole = pa.concat_tables(tables).replace_schema_metadata(images)
    store.attach(CALIBRATION, parquet_bytes(whole))


def _trial_columns(trials: Trials | None) -> dict[str, AnyArray | list[AnyArray]]:
    columns = {} if trials is None else {name: getattr(trials, name) for name in TRIALS}
    return {name: list(of) if of.ndim > 1 else of for name, of in columns.items()}


def _kept_trials(table: pa.Table, mine: Mask) -> Trials | None:
    """Return the trials of the rows ``mine``, None where none were kept."""
    if TRIALS[0] not in table.column_names:
        return None
    flat = {name: flat_column(table, name) for name in TRIALS if name != "difficulty"}
    columns = {name: of.reshape(len(mine), -1)[mine] for name, of in flat.items()}
    return Trials(**columns, difficulty=table["difficulty"].to_numpy()[mine])


def _bounds_table(groups: Sequence[Evidence], confidence: float) -> pa.Table:
    halves = {len(group.nearest[start::2]) for group in groups for start in (0, 1)}
    kept = [lower_bounds(np.arange(count + 1), count, confidence) for count in sorted(halves)]
    return pa.table({"low": kept}).replace_schema_metadata({"confidence": str(confidence)})


def read_bounds(store: Store, confidence: float) -> Bounds:
    """Return the bounds at ``confidence``, with those kept in ``store`` where they are at it."""
    data = store.attached(BOUNDS)
    table = table_of(data) if data else None
    if table is None or float(table.schema.metadata[b"confidence"]) != confidence:
        return Bounds(confidence)
    kept = [row.values.to_numpy() for row in table["low"]]
    return Bounds(confidence, {len(low) - 1: low for low in kept})


def evidence_holds(store: Store, rows: int, images: int) -> bool:
    """Return whether the store's evidence was gathered among so many rows, and few left since.

    images: the rows that are not tombstoned now.
    """
    data = store.attached(CALIBRATION)
    if data is None:
        return False
    told = pq.read_schema(pa.BufferReader(data)).metadata
    return int(told[b"images"]) == rows and not many_left(int(told[b"among"]), images)


def many_left(among: int, images: int) -> bool:
    """Return whether so many of the images ``among`` which recall was measured have left."""
    return among - images > MOST_GONE * among


def read_evidence(store: Store) -> list[Evidence]:
    """Return the groups kept in ``store``, those added last.

    Raises InputError where the index is unfinished.
    """
    data = store.attached(CALIBRATION)
    if data is None:
        raise InputError(f"{store.root} is not finished; run sluice index again: it resumes")
    table = table_of(data)
    images, among = (int(table.schema.metadata[name]) for name in (b"images", b"among"))
    added = table["added"].to_numpy()
    places, ranks = (
        flat_column(table, name).reshape(len(added), -1) for name in ("places", "ranks")
    )
    nearest = table["nearest"].to_numpy()
    return [
        Evidence(
            places[mine],
            ranks[mine],
            nearest[mine],
            images,
            among,
            which,
            _kept_trials(table, mine),
        )
        for which in (False, True)
        if (mine := added == which).any()
    ]
