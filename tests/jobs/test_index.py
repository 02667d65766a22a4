"""`sluice index` and `sluice search --index` on a synthetic embedding store."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.index import command, index
from jobs.search import search
from pipeline.core.errors import ConfigError, InputError, StoreError
from pipeline.core.store import Store
from tests.helpers.clustered import config, synthetic
from tests.helpers.files import digests


def found(root):
    table = pq.read_table(root / "results.parquet")
    return {
        query: set(table.filter(pa.compute.equal(table["query_id"], query))["id"].to_pylist())
        for query in table["query_id"].unique().to_pylist()
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("index")
    synthetic(root / "embeddings")
    index(config(root))
    search(config(root, f"search.output={root}/exact"))
    search(config(root, f"search.output={root}/probed", "search.index=true"))
    return root


def test_an_index_is_whole_and_in_bucket_order(done):
    store = Store.open(done / "index", "index")
    assert list(store.problems()) == []
    for entry in store.manifest():
        buckets = store.read(entry.shard)["bucket"].to_numpy()
        assert (np.diff(buckets) >= 0).all()


@pytest.mark.parametrize("grid", ["ivf", "hash"])
def test_the_recall_asked_for_is_reached(done, tmp_path, grid):
    outputs = (f"index.output={tmp_path}/index", f"search.output={tmp_path}/search")
    here = config(done, f"index.grid={grid}", "search.index=true", *outputs)
    index(here)
    search(here)
    truth, answer = found(done / "exact"), found(tmp_path / "search")
    hits = sum(len(truth[query] & answer[query]) for query in truth)
    assert 0.93 <= hits / (10 * len(truth)) <= 1
    loss = pq.read_table(tmp_path / "search" / "results.parquet").schema.metadata[b"loss"].decode()
    assert 1 <= int(loss.split()[1]) < 16


@pytest.mark.parametrize("vectors", ["f16", "int8"])
def test_coded_vectors_change_no_bit_of_the_answer(done, tmp_path, vectors):
    outputs = (f"index.output={tmp_path}/index", f"search.output={tmp_path}/search")
    here = config(done, f"index.vectors={vectors}", "search.index=true", *outputs)
    index(here)
    search(here)
    answers = [pq.read_table(p / "results.parquet") for p in (done / "probed", tmp_path / "search")]
    assert answers[0].equals(answers[1])


def test_tombstoned_images_are_not_found(done, tmp_path):
    shutil.copytree(done / "embeddings", tmp_path / "embeddings")
    gone = sorted(set().union(*found(done / "probed").values()))[:50]
    Store.open(tmp_path / "embeddings").bury(gone)
    search(config(tmp_path, f"index.output={done}/index", "search.index=true"))
    assert not set(gone) & set().union(*found(tmp_path / "search").values())


def test_added_shards_give_what_a_rebuild_with_the_same_grid_gives(tmp_path):
    synthetic(tmp_path / "embeddings", shards=2)
    index(config(tmp_path))
    grown = config(tmp_path, f"index.grid_from={tmp_path}/index", f"index.output={tmp_path}/whole")
    synthetic(tmp_path / "embeddings")
    with pytest.raises(StoreError, match="does not cover all"):
        search(config(tmp_path, "search.index=true"))
    index(config(tmp_path))
    index(grown)
    assert digests(tmp_path / "index") == digests(tmp_path / "whole")


def test_a_resumed_index_has_the_same_bytes(done, tmp_path):
    shutil.copytree(done / "index", tmp_path / "index")
    (tmp_path / "index" / "entries" / "000002.json").unlink()
    (tmp_path / "index" / "manifest.json").unlink()
    index(config(done, f"index.output={tmp_path}/index"))
    assert digests(tmp_path / "index") == digests(done / "index")


def test_a_deeper_search_than_calibrated_is_refused(done):
    with pytest.raises(ConfigError, match=r"index\.calibration_k"):
        search(config(done, "search.index=true", "search.k=11"))


def test_adding_to_no_index_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no index to add to; leave --add out"):
        command(config(tmp_path, "index.add=true"))
