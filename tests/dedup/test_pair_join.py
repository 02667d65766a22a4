import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup.identical_sets import across, every_pair, pairs_table, set_pairs, unite_sets
from pipeline.dedup.pair_join import Members, join_buckets
from pipeline.dedup.second_look import (
    OUTSTANDING,
    SIMILAR,
    among_nearest,
    candidates,
    of_found,
    similar_beyond,
)
from pipeline.search.exact_topk import pair_scores


def clustered(seed, rows, dimensions=12):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(1, rows // 5), dimensions))
    vectors = centres[rng.integers(len(centres), size=rows)]
    vectors = vectors + rng.normal(size=(rows, dimensions)) * 0.2
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return rng.permutation(rows * 2)[:rows].astype(np.int64), vectors.astype(np.float32)


def brute_force(ids, vectors, similarity, together=None):
    scores = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    a, b = np.nonzero(np.triu(scores >= similarity, 1))
    return {
        (min(ids[i], ids[j]), max(ids[i], ids[j]))
        for i, j in zip(a, b, strict=True)
        if together is None or set(together[i]) & set(together[j])
    }


def pairs_of(table):
    return list(zip(table["a"].to_pylist(), table["b"].to_pylist(), strict=True))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 120),
    buckets=st.integers(1, 9),
    assignments=st.integers(1, 4),
    block=st.sampled_from([3, 1024]),
)
def test_each_pair_that_shares_a_bucket_is_found_once(seed, rows, buckets, assignments, block):
    ids, vectors = clustered(seed, rows)
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(buckets)[:assignments] for _ in range(rows)]
    places = np.array(chosen, np.int32).reshape(rows, min(assignments, buckets))
    for old in {0, rows // 3, rows}:
        found = []
        generations = [(slice(0, old), 0), (slice(0, rows), old)]
        for part, first in generations:
            members = Members(ids[part], places[part], vectors[part], first)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("pipeline.dedup.pair_join.BLOCK", block)
                found += pairs_of(join_buckets(members, range(buckets), 0.9))
        assert len(found) == len(set(found))
        assert set(found) == brute_force(ids, vectors, 0.9, places)


def test_one_bucket_is_brute_force_with_exact_scores():
    ids, vectors = clustered(1, 300)
    members = Members(ids, np.zeros((300, 1), np.int32), vectors, 0)
    table = join_buckets(members, range(1), 0.8)
    assert set(pairs_of(table)) == brute_force(ids, vectors, 0.8)
    row = {number: place for place, number in enumerate(ids.tolist())}
    for a, b, score in zip(*(table[n].to_pylist() for n in ("a", "b", "score")), strict=True):
        one, other = vectors[row[a]].astype(np.float64), vectors[row[b]].astype(np.float64)
        assert score == (one * other).sum()


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 120),
    buckets=st.integers(1, 5),
    block=st.sampled_from([3, 1024]),
)
def test_with_a_reference_only_pairs_across_are_compared_and_found(seed, rows, buckets, block):
    ids, vectors = clustered(seed, rows)
    rng = np.random.default_rng(seed)
    vectors = vectors[rng.integers(max(1, rows // 2), size=rows)]  # many of them identical
    # Identical vectors lie in the same buckets.
    places = (np.abs(vectors[:, :1]) * 1000).astype(np.int32) % buckets
    reference = rng.random(rows) < 0.6
    tables = []
    for first, stop in ((0, rows // 3), (rows // 3, rows)):
        members = Members(ids[:stop], places[:stop], vectors[:stop], first, reference[:stop])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pipeline.dedup.pair_join.BLOCK", block)
            tables.append(join_buckets(members, range(buckets), 0.9))
    sets = across(set_pairs(unite_sets(pa.concat_tables(tables), ids)), ids[reference])
    found = pairs_of(every_pair(sets))
    side = dict(zip(ids.tolist(), reference.tolist(), strict=True))
    met = brute_force(ids, vectors, 0.9, places)
    wanted = {(a, b) for a, b in met if side[a] != side[b]}
    assert sorted(found) == sorted(wanted)
    between = [pair for table in tables for pair in pairs_of(table.filter(~pc.field("identical")))]
    assert len(between) <= len(wanted)


def test_images_of_the_reference_are_not_compared_with_one_another():
    ids, vectors = clustered(3, 400)
    reference = np.arange(400) < 390
    members = Members(ids, np.zeros((400, 1), np.int32), vectors, 0, reference)
    sides = dict(zip(ids.tolist(), reference.tolist(), strict=True))
    assert all(sides[a] != sides[b] for a, b in pairs_of(join_buckets(members, range(1), 0.5)))


def _nearest(ids, vectors, count):
    scores = pair_scores_of(vectors)
    np.fill_diagonal(scores, -2)
    order = np.lexsort((np.broadcast_to(ids, scores.shape), -scores), axis=1)[:, :count]
    return {(min(ids[i], ids[j]), max(ids[i], ids[j])) for i, row in enumerate(order) for j in row}


def pair_scores_of(vectors):
    rows, columns = np.indices((len(vectors), len(vectors))).reshape(2, -1)
    return pair_scores(vectors, rows, vectors, columns).reshape(len(vectors), -1)


@pytest.mark.parametrize("buckets", [1, 6])
def test_each_image_is_paired_with_its_nearest(buckets):
    rng = np.random.default_rng(8)
    vectors = rng.normal(size=(120, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = rng.permutation(120).astype(np.int64)
    places = np.tile(np.arange(buckets, dtype=np.int32), (120, 1))  # all meet in every bucket
    joined = join_buckets(Members(ids, places, vectors, 0), range(buckets), 1.0, 3)
    assert set(pairs_of(joined)) == _nearest(ids, vectors, 3)


def test_each_image_is_paired_with_its_nearest_of_the_reference():
    rng = np.random.default_rng(6)
    vectors = rng.normal(size=(90, 12)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids, reference = rng.permutation(90).astype(np.int64), rng.random(90) < 0.7
    members = Members(ids, np.zeros((90, 1), np.int32), vectors, 0, reference)
    scores = pair_scores_of(vectors)[~reference][:, reference]
    nearest = np.argsort(-scores, axis=1)[:, :3]
    mine, theirs = ids[~reference], ids[reference]
    wanted = {
        (min(mine[row], theirs[place]), max(mine[row], theirs[place]))
        for row, places in enumerate(nearest)
        for place in places
    }
    assert set(pairs_of(join_buckets(members, range(1), 1.0, 3))) == wanted


def test_a_grown_collection_has_the_nearest_of_a_whole_one():
    rng = np.random.default_rng(9)
    vectors = rng.normal(size=(90, 12)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids, places = np.arange(90), np.zeros((90, 1), np.int32)
    first = join_buckets(Members(ids[:60], places[:60], vectors[:60], 0), range(1), 1.0, 3)
    added = join_buckets(Members(ids, places, vectors, 60), range(1), 1.0, 3)
    whole = join_buckets(Members(ids, places, vectors, 0), range(1), 1.0, 3)
    grown = among_nearest(pa.concat_tables([first, added]), 1.0, 3)
    assert set(pairs_of(grown)) == set(pairs_of(whole)) == _nearest(ids, vectors, 3)


def test_of_pictures_that_are_all_alike_each_is_looked_at_beside_a_few():
    count = 200
    a, b = np.triu_indices(count, 1)
    crowd = pairs_table(a, b, 1 - (b - a) / 1e4, np.zeros(len(a), np.bool_))
    kept = among_nearest(crowd, 0.9, 4)
    assert kept.num_rows <= SIMILAR * count
    beside = np.bincount(np.concatenate([kept["a"].to_numpy(), kept["b"].to_numpy()]))
    assert len(beside) == count
    assert beside.min() >= SIMILAR
    beyond = similar_beyond(crowd, set_pairs(crowd), 0.9, kept)
    assert kept.num_rows + beyond == crowd.num_rows


def _as_near_as_all(images, score):
    """PAIRS of all ``images``, of one score but for 0 and 1, which stand out, and 2 and 3."""
    a, b = np.triu_indices(images, 1)
    out = 1 - (OUTSTANDING - 0.01) * (1 - score)
    scores = np.where((a == 0) & (b == 1), out, score)
    scores[(a == 2) & (b == 3)] = 1 - (OUTSTANDING + 0.01) * (1 - score)
    return pairs_table(a, b, scores, np.zeros(len(a), np.bool_))


@pytest.mark.parametrize("score", [0.2, 0.8])
def test_of_the_nearest_the_one_that_stands_out_is_looked_at_and_the_rest_of_what_is_found(score):
    pairs, hashed = _as_near_as_all(9, score), pa.table({"a": [8], "b": [7]})
    wanted, waiting = (
        set(zip(*(end.tolist() for end in found), strict=True))
        for found in candidates(pairs, hashed, set_pairs(pairs), 0.9, 3)
    )
    assert wanted == {(0, 1), (7, 8)}
    assert wanted | waiting == set(pairs_of(among_nearest(pairs, 0.9, 3))) | {(7, 8)}
    found = of_found(tuple(np.array(sorted(waiting)).T), pa.table({"a": [0], "b": [5]}))
    asked = set(zip(*(end.tolist() for end in found), strict=True))
    assert asked == {pair for pair in waiting if {0, 5} & set(pair)}


def test_fewer_than_the_nearest_wait_for_nothing_nor_do_similar_ones():
    few = _as_near_as_all(3, 0.5)
    assert not pc.any(among_nearest(few, 0.9, 3)["waits"]).as_py()
    assert not pc.any(among_nearest(_as_near_as_all(9, 0.95), 0.9, 3)["waits"]).as_py()


def test_to_an_image_of_the_reference_none_stands_out():
    waits = among_nearest(_as_near_as_all(9, 0.5), 0.9, 3, np.array([0, 1]))["waits"]
    assert pc.all(waits).as_py()
