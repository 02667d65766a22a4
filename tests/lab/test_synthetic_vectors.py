from itertools import islice

import pytest

from pipeline.core.errors import InputError
from pipeline.core.run_record import RunRecord
from pipeline.core.spread import in_process
from pipeline.embedding.stored import query_encoder
from pipeline.lab.synthetic_vectors import SyntheticSettings, synthetic_store, synthetic_table

SETTINGS = SyntheticSettings(rows=250, shard_rows=100, dimensions=16, clusters=4)


def test_a_made_store_goes_on_where_it_was_broken_off(tmp_path):
    def broken_off(plan, shards):
        yield from islice(in_process(plan, shards), 2)
        raise KeyboardInterrupt

    record = RunRecord("make vectors", 0, 0)
    with pytest.raises(KeyboardInterrupt):
        synthetic_store(tmp_path, SETTINGS, broken_off, record)
    assert record.images == 250
    store = synthetic_store(tmp_path, SETTINGS, in_process, record)
    assert record.images == 50
    assert [entry.rows for entry in store.manifest()] == [100, 100, 50]
    assert all(store.read(shard).equals(synthetic_table(SETTINGS, shard)) for shard in range(3))


def test_what_no_encoder_made_needs_a_similarity_and_a_query_that_is_there(tmp_path):
    store = synthetic_store(tmp_path, SETTINGS, in_process, RunRecord("make vectors", 0, 0))
    with pytest.raises(InputError, match=r"no encoder made.*by id:NUMBER.* a --similarity"):
        query_encoder(store, None)
