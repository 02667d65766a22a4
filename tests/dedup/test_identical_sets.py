"""Pairs of identical sets are all pairs: of shards, generations and tombstones in any order."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.console import console
from jobs.dedup import dedup
from jobs.settings import load_config
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column
from pipeline.dedup.groups import group_pairs
from pipeline.dedup.identical_sets import (
    PAIRS,
    across,
    as_pairs,
    every_pair,
    set_pairs,
    unite_sets,
)
from pipeline.dedup.pair_join import Members, join_buckets

DIMENSIONS = 6


class Collection:
    """A random set of images, many of them identical, and a store of it that grows."""

    def __init__(self, rng, root):
        self.rng, self.root = rng, root
        rows = int(rng.integers(2, 40))
        centres = rng.normal(size=(3, DIMENSIONS))
        distinct = centres[rng.integers(3, size=12)] + rng.normal(size=(12, DIMENSIONS)) * 0.2
        distinct /= np.linalg.norm(distinct, axis=1, keepdims=True)
        self.vectors = distinct[rng.integers(12, size=rows)].astype(np.float32)
        self.ids = rng.permutation(3 * rows)[:rows] - rows
        self.ids[:2] = -(2**63), 2**63 - 1
        self.pixels = rng.integers(1, 4, size=rows)
        self.shards = np.array_split(np.arange(rows), int(rng.integers(1, min(5, rows) + 1)))
        self.there = np.ones(rows, bool)
        self.similarity = float(rng.choice([0.8, 0.97, 1.0]))

    def write(self, shards):
        store = Store.create(self.root / "embeddings", "embeddings", {"model": "drawn"})
        for shard in set(range(shards)) - {entry.shard for entry in store.entries()}:
            rows = self.shards[shard]
            rows = rows[np.argsort(self.ids[rows])]
            table = {
                "id": self.ids[rows],
                "key": [f"{number}.jpg" for number in self.ids[rows]],
                "width": pa.array(self.pixels[rows], pa.int32()),
                "height": pa.array(np.ones(len(rows)), pa.int32()),
                "embedding": embedding_column(self.vectors[rows]),
            }
            store.write_shard(shard, pa.table(table))
        store.finish(shards)

    def bury(self, share):
        """Let some images leave that are in the store; one stays."""
        stored = np.isin(np.arange(len(self.ids)), np.concatenate(self.shards[: self.stored()]))
        self.there = ~(stored & (self.rng.random(len(self.ids)) < share))
        self.there[self.shards[0][0]] = True
        gone = np.sort(self.ids[~self.there]).tolist()
        Store.open(self.root / "embeddings").bury(gone)

    def stored(self):
        return len(Store.open(self.root / "embeddings").manifest())

    def dedup(self, *overrides):
        small = (
            f"embed.output={self.root}/embeddings",
            f"dedup.output={self.root}/dedup",
            "dedup.partition_rows=20",
            "dedup.assignments=3",
            f"dedup.similarity={self.similarity}",
            "ray.workers=0",
        )
        return dedup(load_config(None, [*small, *overrides]))

    def brute_force(self):
        wide = self.vectors.astype(np.float64)
        rows = np.flatnonzero(self.there)
        found = {}
        for place, i in enumerate(rows):
            for j in rows[:place]:
                same = self.vectors[i].tobytes() == self.vectors[j].tobytes()
                score = 1.0 if same else (wide[i] * wide[j]).sum()
                if score >= self.similarity:
                    a, b = sorted((int(self.ids[i]), int(self.ids[j])))
                    found[a, b] = score
        return found

    def groups(self, pairs, rule):
        """Group the full list of pairs by the letter of the rule: {id: its survivor's id}."""
        pixels = dict(zip(self.ids.tolist(), self.pixels.tolist(), strict=True))
        near = {number: set() for pair in pairs for number in pair}
        for a, b in pairs:
            near[a].add(b)
            near[b].add(a)
        owner = {}
        for number in sorted(near, key=lambda number: (-pixels[number], f"{number}.jpg")):
            if number in owner:
                continue
            waiting = [number]
            owner[number] = number
            while waiting:
                for other in near[waiting.pop()] - owner.keys():
                    owner[other] = number
                    if rule == "components":
                        waiting.append(other)
        several = [n for n in owner if sum(o == owner[n] for o in owner.values()) > 1]
        return {number: owner[number] for number in several}


@pytest.fixture(scope="module")
def silent():
    """A fifth of a small job's time goes into what it prints."""
    console.quiet = True
    yield
    console.quiet = False


@pytest.mark.usefixtures("silent")
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]))
def test_stored_pairs_stand_for_those_of_brute_force(seed, buckets):
    rng = np.random.default_rng(seed)
    with TemporaryDirectory() as folder:
        images = Collection(rng, Path(folder))
        steps = np.unique(rng.integers(1, len(images.shards) + 1, size=2)).tolist()
        for shards in sorted({*steps, len(images.shards)}):
            images.write(shards)
            found = images.dedup(f"dedup.buckets={buckets}")
            images.bury(rng.choice([0, 0.3, 0.8]))
        found = images.dedup(f"dedup.buckets={buckets}")
        truth = images.brute_force()
        listed = every_pair(found.sets)
        pairs = zip(listed["a"].to_pylist(), listed["b"].to_pylist(), strict=True)
        assert dict(zip(pairs, listed["score"].to_pylist(), strict=True)) == truth
        assert listed.num_rows == len(truth) == found.sets.counts.sum()
        assert set(found.pairs["a"].to_pylist() + found.pairs["b"].to_pylist()) <= set(
            images.ids[images.there].tolist()
        )
        for rule in ("survivor", "components"):
            groups = group_pairs(found.sets, found.images, rule)
            mine = dict(zip(*groups.select(["id", "group"]).to_pydict().values(), strict=True))
            assert mine == images.groups(truth, rule)
        if found.recall is not None:
            assert (found.recall.true, found.recall.found) == (2 * len(truth), 2 * len(truth))
        whole = images.dedup(
            f"dedup.buckets={buckets}",
            f"dedup.grid_from={folder}/dedup",
            f"dedup.output={folder}/whole",
        )
        assert found.pairs.equals(whole.pairs)
        assert found.groups.equals(whole.groups)


def test_twenty_thousand_identical_images_are_as_many_rows():
    count = 20_000
    vectors = np.zeros((count + 2, 8), np.float32)
    vectors[:, 0] = 1
    vectors[-2:, 1] = 1e-3, 2e-3
    ids = np.arange(count + 2)[::-1].astype(np.int64)
    members = Members(ids, np.zeros((len(ids), 1), np.int32), vectors, 0)
    joined = join_buckets(members, range(1), 0.9)
    assert joined.num_rows == count - 1 + 3
    pairs = unite_sets(joined, ids)
    assert pairs.num_rows == joined.num_rows
    sets = set_pairs(pairs)
    assert sets.identical_images == count
    assert sets.counts.sum() == (count + 2) * (count + 1) // 2
    images = pa.table({"id": ids, "pixels": np.where(ids == 12_345, 9, 1)})
    for rule in ("survivor", "components"):
        groups = group_pairs(sets, images, rule)
        assert groups.num_rows == count + 2
        assert set(groups["group"].to_pylist()) == {12_345}
    left = unite_sets(joined, np.arange(1, 100))  # 2, the lowest of the identical, is there
    assert left.num_rows == 97 + 1
    later = unite_sets(joined, np.arange(50, 100))  # neither 2 nor the others are
    assert later["a"].unique().to_pylist() == [50]
    assert later.num_rows == 49


def test_a_new_image_with_a_lower_id_is_one_of_an_old_set():
    vectors = np.array([[1, 0], [1, 0], [1, 0.1], [1, 0]], np.float32)
    ids, places = np.array([7, 8, 9, 3]), np.zeros((4, 1), np.int32)
    first = join_buckets(Members(ids[:3], places[:3], vectors[:3], 0), range(1), 0.5)
    added = join_buckets(Members(ids, places, vectors, 3), range(1), 0.5)
    rows = [tuple(row.values())[:2] for row in added.to_pylist()]
    assert rows == [(3, 7)]
    pairs = unite_sets(pa.concat_tables([first, added]), ids)
    assert [(r["a"], r["b"], r["identical"]) for r in pairs.to_pylist()] == [
        (3, 7, True),
        (3, 8, True),
        (3, 9, False),
    ]
    assert pairs.schema == PAIRS


def test_identical_vectors_in_other_buckets_are_not_one_set():
    vectors = np.tile(np.array([[1, 0]], np.float32), (3, 1))
    places = np.array([[0, 1], [1, 2], [0, 1]], np.int32)
    members = Members(np.arange(3), places, vectors, 0)
    found = pa.concat_tables([join_buckets(members, range(n, n + 1), 0.9) for n in range(3)])
    assert sorted(tuple(row.values()) for row in found.to_pylist()) == [
        (0, 1, 1.0, False),
        (0, 2, 1.0, True),
    ]
    assert every_pair(set_pairs(unite_sets(found, np.arange(3)))).num_rows == 3


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_across_counts_the_pairs_of_one_side_with_the_other(seed):
    rng = np.random.default_rng(seed)
    distinct, ids = int(rng.integers(1, 8)), np.arange(int(rng.integers(2, 16))) * 3
    kind = rng.integers(distinct, size=len(ids))  # images of one kind are identical
    near = np.triu(rng.random((distinct, distinct)) < 0.4, 1)
    reference = ids[rng.random(len(ids)) < 0.5]
    stands = {int(k): int(ids[kind == k][0]) for k in np.unique(kind)}
    rows = [
        (*sorted((stands[a], stands[b])), 0.9, False)
        for a, b in zip(*np.nonzero(near), strict=True)
        if a in stands and b in stands
    ]
    rows += [
        (stands[int(k)], int(i), 1.0, True)
        for i, k in zip(ids, kind, strict=True)
        if i != stands[int(k)]
    ]
    columns = zip(*rows, strict=True) if rows else ([], [], [], [])
    table = pa.table(dict(zip(PAIRS.names, columns, strict=True)), schema=PAIRS)
    sets = across(set_pairs(table), reference)
    truth = {}
    for i, a in enumerate(ids.tolist()):
        for j, b in enumerate(ids.tolist()[:i]):
            paired = kind[i] == kind[j] or near[min(kind[i], kind[j]), max(kind[i], kind[j])]
            if paired and (a in reference) != (b in reference):
                truth[b, a] = 1.0 if kind[i] == kind[j] else 0.9
    listed = every_pair(sets)
    pairs = zip(listed["a"].to_pylist(), listed["b"].to_pylist(), strict=True)
    assert dict(zip(pairs, listed["score"].to_pylist(), strict=True)) == truth
    assert sets.counts.sum() == len(truth)
    kept = as_pairs(sets)
    ends = set(kept["a"].to_pylist() + kept["b"].to_pylist())
    assert ends == {number for pair in truth for number in pair}
    images = pa.table(
        {"id": ids, "pixels": rng.integers(1, 4, len(ids)), "preferred": np.isin(ids, reference)}
    )
    groups = group_pairs(sets, images, "survivor")
    dropped = set(groups.filter(pc.invert(groups["survivor"]))["id"].to_pylist())
    assert dropped == ends - set(reference.tolist())
