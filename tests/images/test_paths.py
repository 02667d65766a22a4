"""A table of paths or URLs is a source: relative ones lie beside it, dead ones are told."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from jobs.settings import load_config
from pipeline.core.errors import ConfigError, InputError
from pipeline.core.store import Store
from pipeline.images.manifest import extend_manifest, plan_manifest
from pipeline.images.reader import read_shard
from pipeline.images.source import list_source


@pytest.fixture
def root(tmp_path, jpegs):
    (tmp_path / "photos").mkdir()
    for number, data in enumerate(jpegs):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(data)
    return tmp_path


def write(root, table, suffix):
    if suffix == ".parquet":
        pq.write_table(table, root / "list.parquet", row_group_size=4)
    else:
        options = pyarrow.csv.WriteOptions(delimiter="\t" if suffix == ".tsv" else ",")
        pyarrow.csv.write_csv(table, root / f"list{suffix}", options)


def everything(url, column, shard_rows=5):
    listed = list_source(str(url), "paths", column=column)
    manifest = plan_manifest(listed, shard_rows).manifest
    shards = manifest["shard"].unique().to_pylist()
    return pa.concat_tables(read_shard(listed.source, manifest, shard) for shard in shards)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv"])
def test_the_images_that_a_table_names(root, jpegs, suffix):
    paths = [f"photos/{n}.jpg" for n in range(11)] + [str(root / "photos" / "11.jpg")]
    captions = [f'a "cat",\nno {n}\t' for n in range(12)]
    write(root, pa.table({"file_path": paths, "caption": captions}), suffix)
    found = everything(root, "file_path")
    assert found["bytes"].to_pylist() == jpegs
    assert found["key"].to_pylist() == paths
    assert found["caption"].to_pylist() == captions
    assert set(found["file"].to_pylist()) == {f"list{suffix}"}
    assert len(set(found["id"].to_pylist())) == 12


def test_what_cannot_be_fetched_is_told_by_row(root, jpegs):
    rows = ["photos/0.jpg", "photos/none.jpg", "", "photos", "nosuch://x.jpg", "photos/0.jpg"]
    write(root, pa.table({"id": range(-2, 4), "key": list("abcdef"), "where": rows}), ".parquet")
    found = everything(root / "list.parquet", "where")
    assert found["refused"].to_pylist() == [
        None,
        "unreadable: not there",
        "empty: its row names no image",
        "unreadable: Is a directory",
        "unreadable: Protocol not known: nosuch",
        None,
    ]
    assert found["bytes"].to_pylist() == [jpegs[0], None, None, None, None, jpegs[0]]
    assert found["id"].to_pylist() == [-2, -1, 0, 1, 2, 3]
    assert found["key"].to_pylist() == list("abcdef")


class Server(SimpleHTTPRequestHandler):
    busy = 2

    def do_GET(self):
        if self.path.endswith("busy.jpg") and Server.busy:
            Server.busy -= 1
            self.send_error(503)
        elif self.path.endswith("forbidden.jpg"):
            self.send_error(410)
        else:
            self.path = self.path.replace("busy", "1")
            super().do_GET()

    def log_message(self, *arguments):
        pass


def test_urls_that_are_dead_are_told_and_busy_ones_waited_for(root, jpegs, monkeypatch):
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=root / "photos"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    names = ("0.jpg", "none.jpg", "forbidden.jpg", "busy.jpg")
    urls = [f"http://127.0.0.1:{server.server_port}/{name}" for name in names]
    (root / "photos" / "a::b [1].jpg").write_bytes(jpegs[5])
    urls.insert(4, f"http://127.0.0.1:{server.server_port}/a::b [1].jpg")
    nowhere = ["http://no-such-host.invalid/a.jpg", "http:///a.jpg", "http://[/a.jpg"]
    write(root, pa.table({"url": [*urls, *nowhere]}), ".csv")
    try:
        found = everything(root / "list.csv", "url")
    finally:
        server.shutdown()
    there = [jpegs[0], None, None, jpegs[1], jpegs[5]]
    assert found["bytes"].to_pylist() == [*there, None, None, None]
    assert found["key"].to_pylist() == [*urls, *nowhere]
    told = found["refused"].to_pylist()
    assert told[1] == "unreadable: not there"
    assert told[2].startswith("unreadable: 410")
    assert all(reason.startswith("unreadable: ") for reason in told[5:])


def test_a_table_that_is_no_such_list_is_told(root):
    store = Store.create(root / "store", "embeddings", {})
    write(root, pa.table({"url": ["a.jpg"]}), ".csv")
    with pytest.raises(InputError, match=r"no column path among \['url'\]; mend source.path_col"):
        extend_manifest(store, list_source(str(root / "list.csv"), "paths", column="path"), 5)
    (root / "list.csv").write_text("url,n\na.jpg,1\nb.jpg\n")
    with pytest.raises(InputError, match=r"list\.csv cannot be read .*Expected 2 columns, got 1"):
        extend_manifest(store, list_source(str(root / "list.csv"), "paths", column="url"), 5)
    with pytest.raises(InputError, match=r"name the column of paths with source\.path_column"):
        list_source(str(root / "list.csv"))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (("source.kind=paths",), "the kind paths needs path_column"),
        (("source.path_column=url", "source.kind=folder"), "of the kind paths, not folder"),
        (("source.path_column=url", "source.image_column=a"), "cannot both be read"),
    ],
)
def test_settings_that_contradict_are_told(settings, told):
    with pytest.raises(ConfigError, match=told):
        load_config(None, settings)
