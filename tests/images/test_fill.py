"""What is told of a store that was brought up to its source, by the cheapest job that does it."""

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.sign import sign
from pipeline.core.store import Store
from tests.helpers.main_way import config


def signed(root, *settings):
    wanted = config(root, f"sign.output={root}/signatures", "ray.workers=0", *settings)
    sign(wanted)
    store = Store.open(root / "signatures")
    return [row for entry in store.manifest() for row in store.read(entry.shard).to_pylist()]


def test_keys_of_several_images_are_told(tmp_path, jpegs, capsys):
    (tmp_path / "source").mkdir()
    names = ["a.jpg", "image.jpg", "image.jpg", "image.jpg"]
    table = pa.table(
        {"image": [{"bytes": d, "path": n} for d, n in zip(jpegs, names, strict=False)]}
    )
    pq.write_table(table, tmp_path / "source" / "a.parquet")
    rows = signed(tmp_path, f"source.url={tmp_path}/source")
    assert [row["key"] for row in rows] == names
    assert len({row["id"] for row in rows}) == 4
    assert "keys of several images: 1; the ids tell these apart" in capsys.readouterr().err
