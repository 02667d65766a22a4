"""Searches in rounds over a collection of which a half is easy to search and a half is hard."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from jobs.index import index
from pipeline.core.run_record import RunRecord
from pipeline.core.spread import in_process
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column
from pipeline.index import build, rounds
from pipeline.index.effort import Effort
from pipeline.index.evidence import read_evidence
from pipeline.index.probes import Work
from pipeline.index.rounds import Searched, difficulty, first_round, further_rounds
from pipeline.index.search_index import index_loss, open_index, search_index
from pipeline.search.answers import without_self
from pipeline.search.batches import search_everything
from pipeline.search.queries import stored_queries
from tests.helpers.clustered import config

DIMENSIONS, ROWS = 24, 3000
NOWHERE = 1 / 3  # of the rows: their neighbours lie in many buckets


def collection(root, alike=0):
    """The first ``alike`` of the rows are the same."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, DIMENSIONS))[rng.integers(50, size=ROWS)]
    vectors += rng.normal(size=vectors.shape) / 10
    stray = rng.random(ROWS) < NOWHERE
    vectors[stray] = rng.normal(size=(stray.sum(), DIMENSIONS))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[:alike] = vectors[0]
    store = Store.create(root, "embeddings", {"model": "half clusters"})
    ids = np.arange(ROWS)
    columns = {"id": ids, "key": list(map(str, ids)), "embedding": embedding_column(vectors)}
    store.write_shard(0, pa.table(columns))
    store.finish(1)
    return store, stray


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("rounds")
    store, stray = collection(root / "embeddings")
    indexes = {}
    for name, rows in (("parts", 700), ("one", ROWS)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(build, "PARTITION_ROWS", rows)
            index(config(root, "index.buckets=54", f"index.output={root}/{name}"))
        indexes[name] = open_index(root / name, store, 10, 0.9, 0.95)
    return store, stray, indexes


def split(sampled):
    """Those that choose, and those that measure."""
    return sampled[::2], sampled[1::2]


def searched(opened):
    stores = (opened.index, opened.embeddings)
    return Searched(in_process, *stores, opened.partitions, opened.coder, 11)


def test_a_search_in_rounds_is_chosen_where_it_reads_less_and_gives_each_fifth_its_recall(made):
    store, _, indexes = made
    opened = indexes["parts"]
    assert isinstance(opened.work, Effort)
    assert len(opened.partitions.edges) == 6
    queries = stored_queries(store, list(range(0, ROWS, 3)))
    first = first_round(searched(opened), queries.vectors)
    fifth = np.searchsorted(opened.work.edges, difficulty(first, opened.work.gains))
    record = RunRecord("test", 0, 0)
    truth = without_self(queries, search_everything(in_process, store, queries, 11, record), 10)
    answer = without_self(queries, search_index(in_process, opened, queries.vectors, 11), 10)
    pairs = zip(truth[0], answer[0], strict=True)
    recalls = np.array([len(set(a) & set(b)) / 10 for a, b in pairs])
    assert recalls.mean() >= 0.9
    assert all(recalls[fifth == number].mean() >= 0.88 for number in range(5))
    told = index_loss(opened, queries.keys, np.zeros(len(recalls), np.bool_))
    assert " candidates on average, more for harder queries: recall against" in told
    assert " (by fifths, the easiest first: 0.9" in told


def test_hard_queries_take_more_than_easy_ones(made):
    store, stray, indexes = made
    opened = indexes["parts"]
    queries = stored_queries(store, list(range(0, ROWS, 5))).vectors
    of, effort = searched(opened), opened.work
    first = first_round(of, queries)
    hardness = difficulty(first, effort.gains)
    look = further_rounds(of, queries, first, effort.gains, *effort.of(hardness), 11)
    hard = stray[::5]
    assert np.median(hardness[hard]) > np.median(hardness[~hard]) + np.log(2)
    assert len(np.unique(effort.edges)) == 4
    assert look.probed[hard].mean() > 1.5 * look.probed[~hard].mean()
    assert look.read[hard].mean() > 1.5 * look.read[~hard].mean()
    assert look.probed.min() >= rounds.FIRST_BUCKETS


def test_an_answer_depends_on_its_query_alone_and_on_no_layout(made):
    """In batches of any size, in one part or several."""
    store, _, indexes = made
    queries = stored_queries(store, list(range(100))).vectors
    whole = search_index(in_process, indexes["parts"], queries, 11)
    other = search_index(
        in_process, replace(indexes["one"], work=indexes["parts"].work), queries, 11
    )
    alone = [search_index(in_process, indexes["parts"], row[None], 11) for row in queries[:30]]
    for name in ("ids", "scores", "shards"):
        assert np.array_equal(getattr(whole, name), getattr(other, name))
        rows = np.concatenate([getattr(one, name) for one in alone])
        assert np.array_equal(getattr(whole, name)[:30], rows)
    evidence = [read_evidence(opened.index)[0].trials for opened in indexes.values()]
    for name in ("marks", "difficulty", "probed", "taken", "bytes_read"):
        assert np.array_equal(getattr(evidence[0], name), getattr(evidence[1], name))


def test_where_everything_is_worth_its_bytes_the_answer_is_exact(made):
    store, _, indexes = made
    opened = indexes["parts"]
    queries = stored_queries(store, list(range(0, ROWS, 60)))
    of = searched(opened)
    first = first_round(of, queries.vectors)
    endless, most = np.full(len(first.least), -1e9), np.full(len(first.least), ROWS)
    look = further_rounds(of, queries.vectors, first, opened.work.gains, endless, most, 11)
    truth = search_everything(in_process, store, queries, 11, RunRecord("test", 0, 0))
    assert np.array_equal(look.found.ids.reshape(-1, 11), truth.ids)
    assert np.array_equal(look.found.scores.reshape(-1, 11), truth.scores)
    assert (look.probed == 54).all()
    assert (look.taken == ROWS).all()
    assert (look.read == ROWS * (84 + 4 * DIMENSIONS)).all()


def test_the_recall_told_is_what_those_queries_get(made):
    """The queries that measure, searched for again, find as many neighbours as were counted."""
    store, _, indexes = made
    opened = indexes["parts"]
    _, sampled = split(build._sampled(opened.index, store, 800)[0])
    queries = stored_queries(store, sampled)
    record = RunRecord("test", 0, 0)
    truth = without_self(queries, search_everything(in_process, store, queries, 11, record), 10)
    answer = without_self(queries, search_index(in_process, opened, queries.vectors, 11), 10)
    hits = sum(len(set(a) & set(b)) for a, b in zip(truth[0], answer[0], strict=True))
    assert opened.seen[0].recall == pytest.approx(hits / (10 * len(sampled)), abs=1e-9)


def test_where_most_images_are_the_same_all_queries_have_one_work(tmp_path):
    store, _ = collection(tmp_path / "embeddings", ROWS // 2)
    index(config(tmp_path, "index.buckets=54", "index.calibration_queries=100"))
    opened = open_index(tmp_path / "index", store, 10, 0.8, 0.95)
    assert read_evidence(opened.index)[0].trials is None
    assert isinstance(opened.work, Work)
    queries = stored_queries(store, [0, ROWS // 2 - 1])
    ids, scores = without_self(queries, search_index(in_process, opened, queries.vectors, 11), 10)
    assert ids.tolist() == [list(range(1, 11)), list(range(10))]
    assert (scores > 1 - 1e-6).all()
