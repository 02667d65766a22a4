import numpy as np
import pyarrow as pa
import pytest

from pipeline.cascade.drift import SHARDS, TESTED, drift_since
from pipeline.core.store import Store
from tests.helpers.features import made_samples


@pytest.fixture(scope="module")
def samples():
    table, _ = made_samples(1200)
    return table.slice(0, 800), table.slice(800)


def signed(root, *shards):
    store = Store.create(root, "signatures", {})
    for number, table in enumerate(shards):
        store.write_shard(number, table.select(["id", "signature"]))
    store.finish(len(shards))
    return store


def strange(table):
    rng = np.random.default_rng(1)
    made = rng.integers(0, 256, (table.num_rows, 244), np.uint8)
    column = pa.FixedSizeListArray.from_arrays(pa.array(made.reshape(-1)), 244)
    return table.set_column(
        table.column_names.index("signature"),
        "signature",
        column.cast(table.schema.field("signature").type),
    )


def test_images_of_the_same_kind_are_no_drift_and_others_are(tmp_path, samples):
    sample, rest = samples
    alike = drift_since(signed(tmp_path / "a", sample, rest), sample, 1)
    assert (alike.added, alike.tested, alike.drifted) == (400, TESTED, False)
    other = drift_since(signed(tmp_path / "b", sample, strange(rest)), sample, 1)
    assert other.drifted
    assert "unlike those it was made on" in other.told


def test_a_share_of_strangers_is_enough(tmp_path, samples):
    sample, rest = samples
    mixed = pa.concat_tables([rest.slice(0, 280), strange(rest.slice(280))])
    assert drift_since(signed(tmp_path, sample, mixed), sample, 1).drifted


def test_without_later_shards_nothing_is_tested_and_of_many_some_are(tmp_path, samples):
    sample, rest = samples
    assert drift_since(signed(tmp_path / "a", rest), sample, 1) is None
    parts = [rest.slice(start, 40) for start in range(0, 400, 40)]
    found = drift_since(signed(tmp_path / "b", sample, *parts), sample, 1)
    assert (found.added, found.tested) == (400, 40 * SHARDS)
