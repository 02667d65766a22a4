import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.search.exact_topk import candidate_topk, exact_scores
from pipeline.search.merge import search_certified


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 120),
    share=st.sampled_from([0.0, 0.1, 0.7, 1.0]),
    k=st.integers(1, 12),
)
def test_each_query_sees_its_own_candidates_in_any_shards(seed, rows, share, k):
    rng = np.random.default_rng(seed)
    pool = unit(rng.normal(size=(9, 24)))
    vectors, queries = pool[rng.integers(9, size=rows)], unit(rng.normal(size=(4, 24)))
    ids = rng.permutation(3 * rows + 1)[:rows].astype(np.int64) - rows
    allowed = rng.random((4, rows)) < share
    scores = exact_scores(queries, np.broadcast_to(vectors, (4, rows, 24)))
    scores = np.where(allowed, scores, -np.inf)
    order = np.lexsort((np.broadcast_to(ids, scores.shape), -scores), axis=1)[:, :k]
    there = np.take_along_axis(allowed, order, axis=1)
    for shards in (1, 5):
        parts = np.array_split(np.arange(rows), shards)

        def ask(chosen, depth, parts=parts):
            for number, members in enumerate(parts):
                yield candidate_topk(
                    queries[chosen],
                    ids[members],
                    vectors[members],
                    allowed[np.ix_(chosen, members)],
                    depth,
                    number,
                )

        found = search_certified(ask, 4, k)
        met, beyond = found.ids[:, : there.shape[1]], found.scores[:, there.shape[1] :]
        assert np.array_equal(met[there], ids[order][there])
        assert np.array_equal(found.scores[:, : there.shape[1]] > -np.inf, there)
        assert np.isneginf(beyond).all()
