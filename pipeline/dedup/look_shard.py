"""One part of the pairs looked at again: some neighbouring ones, and all pictures that are in them.

Pairs are so laid out that a part's have few pictures: however many shards there are, a part opens
no more of them than it has pictures, and reads of each the row groups that hold one.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from pipeline.core.arrays import Ids
from pipeline.core.folder import Place
from pipeline.core.progress import advance
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction
from pipeline.core.store import Store
from pipeline.dedup.difference import difference
from pipeline.dedup.keypoint_shard import Known, Seen, read_keypoints
from pipeline.dedup.look import Chances, Weights, in_shares, look

ALIKE = "another size, detail or compression"  # where at 128 pixels nothing differs
PART = 1024  # pairs, whose keypoints stand in memory
TOLD_FROM = 0.5  # how likely a copy or a look-alike must be for its difference to be told
LOOKS = pa.schema(
    [
        ("a", pa.int64()),
        ("b", pa.int64()),
        # How likely they are a copy and a look-alike, 0 to 1, as ``look`` tells: less than they are
        # where both are HOPELESS together; null: one of the pictures could not be read again.
        ("sure", pa.float64()),
        ("alike", pa.float64()),
        ("points", pa.int32()),  # that agree; 0: laid over each other as a whole
        ("places", pa.float64()),  # share of the places with texture that agree
        ("alignment", pa.list_(pa.float64(), 6)),  # map (2, 3) of b onto a, in shares of the sides
        ("why", pa.string()),  # what was done, in words
        ("a_cropped", pa.bool_()),  # b goes on beyond a's edges
        ("b_cropped", pa.bool_()),
        ("a_own", pa.float64()),  # share of a that is the picture, not a border around it
        ("b_own", pa.float64()),
        ("a_changed", pa.bool_()),  # a is grey or softer where b is not
        ("b_changed", pa.bool_()),
        ("a_stretched", pa.bool_()),  # a is, and b is not, in no usual proportions
        ("b_stretched", pa.bool_()),
        ("a_coarser", pa.bool_()),  # b is like a in all but detail, and saved at a higher quality
        ("b_coarser", pa.bool_()),
        # One of them is, against the other one; it is not known which.
        ("turned", pa.bool_()),
        ("stretch", pa.float64()),  # times as much in one direction as across it
        ("recoloured", pa.bool_()),
        ("a_camera", pa.bool_()),  # a's file names its camera
        ("b_camera", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class LookPlan:
    """All a worker needs to look again at any part of the pairs."""

    name: ClassVar[str] = "look again"
    keypoints: tuple[Place, ...]
    output: Place
    pairs: pa.Table  # a, b int64 and their shards a_shard, b_shard: PART a part
    weights: Weights

    def start(self) -> ShardFunction:
        """Return the function that looks at one part's pairs and tells what it cost."""
        cv2.setNumThreads(1)
        stores = [Store.open(path, "keypoints") for path in self.keypoints]
        holding = [{entry.shard for entry in s.manifest() if entry.rows} for s in stores]
        output = Store.open(self.output, "looks")

        def look_at_part(part: int) -> pa.Table:
            started = time.time()
            pairs, known = self.pairs.slice(part * PART, PART), dict[int, Seen]()
            for shard, ids in _pictures(pairs):
                there = [s for s, held in zip(stores, holding, strict=True) if shard in held]
                known |= read_keypoints(there, shard, ids)
            with threadpool_limits(1):  # products as small as these wait for threads
                rows = list(_looks(pairs, known, self.weights))
            output.write_shard(part, pa.Table.from_pylist(rows, schema=LOOKS))
            return shard_stats(part, pairs.num_rows, started)

        return look_at_part


def _pictures(pairs: pa.Table) -> Iterator[tuple[int, Ids]]:
    """Yield the shards that the pictures of ``pairs`` are in, and the ids of those in each."""
    ids, shards = (
        np.concatenate([pairs[f"{side}{name}"].to_numpy() for side in ("a", "b")])
        for name in ("", "_shard")
    )
    for shard in np.unique(shards):
        yield int(shard), np.unique(ids[shards == shard])


def _looks(pairs: pa.Table, known: Known, weights: Weights) -> Iterator[dict[str, Any]]:
    for a, b in zip(pairs["a"].to_pylist(), pairs["b"].to_pylist(), strict=True):
        yield {"a": a, "b": b, **told_look(known, a, b, weights)}
        advance(1)


def told_look(known: Known, a: int, b: int, weights: Weights) -> dict[str, Any]:
    """Return what LOOKS tell of a pair, but for its ids."""
    if a not in known or b not in known:
        return {"sure": None, "alike": None}
    mine, theirs = known[a], known[b]
    same = "same bytes" if mine.bytes == theirs.bytes else None
    same = same or ("same pixels" if mine.pixels == theirs.pixels else None)
    here, there = mine.keypoints, theirs.keypoints
    sight, found = look(here, there, weights)
    if same:
        found = Chances(1.0, 0.0)
    facts: dict[str, Any] = {
        "sure": found.copy,
        "alike": found.look_alike,
        "a_camera": mine.camera,
        "b_camera": theirs.camera,
        "points": sight.points,
        "places": sight.agreed.places,
        "alignment": in_shares(sight.affine, here.picture, there.picture).ravel().tolist(),
    }
    if found.copy + found.look_alike < TOLD_FROM:
        return facts
    told = difference(here.picture, there.picture, sight)
    sides = {"a": told.a, "b": told.b}
    for name, side in sides.items():
        facts |= {f"{name}_{field}": value for field, value in vars(side).items()}
    facts |= {name: getattr(told, name) for name in ("turned", "stretch", "recoloured")}
    if not same and not told.words:
        facts["a_coarser"] = told.a_saved and _coarser(mine.quantised, theirs.quantised)
        facts["b_coarser"] = told.b_saved and _coarser(theirs.quantised, mine.quantised)
    return facts | {"why": same or told.words or ALIKE}


def _coarser(mine: float | None, theirs: float | None) -> bool:
    return mine is not None and theirs is not None and mine > theirs
