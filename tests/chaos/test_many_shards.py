"""What a store of many shards costs the driver: on a disk, and where each page of a list is asked.

Its entries are made, CHAOS_SHARDS of them, and a process of its own goes on with it.
"""

import json
import os
import subprocess
import sys
from bisect import bisect_left, bisect_right
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pyarrow as pa
import pytest

from jobs.console import print_table
from pipeline.core.entries import ShardEntry
from pipeline.core.folder import place
from pipeline.core.header import compact_entries
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.images.manifest import MANIFEST, UNITS
from tests.helpers.object_store import object_store

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]
SHARDS = int(os.environ.get("CHAOS_SHARDS", "200000"))
GOING_ON = """
import json, sys, time
import pyarrow as pa
from pipeline.core.folder import place
from pipeline.core.shard_stats import peak_rss
from pipeline.core.store import Store
from pipeline.images.listing import FILES
from pipeline.images.manifest import kept_manifest, pending_units

seconds = {}
def lap(name):
    global began
    seconds[name], began = [time.time() - began[0], time.process_time() - began[1]], now()
def now():
    return time.time(), time.process_time()
began = now()
store = Store.open(place(sys.argv[1]))
with store.lock(), store.followed():
    done = {entry.shard for entry in store.entries()}
    lap("resume")
    manifest = kept_manifest(store)
    files = manifest.select(["path", "bytes", "version"]).append_column("suffix", manifest["path"])
    assert pending_units(manifest, files.cast(FILES), done).num_rows == 0
    lap("plan")
    store.finish(len(done))
    lap("finish")
again = Store.open(place(sys.argv[1]))
began = now()
assert again.rows() == 5000 * len(done) > 0
lap("read the manifest")
print(json.dumps([len(done), seconds, peak_rss()]))
"""


class Lists:
    """Passes on to moto what is no list of shards or entries; those it tells itself, by pages.

    Moto sorts all names anew for each page, which is what would be measured.
    """

    def __init__(self, app, keys):
        self.app, self.keys, self.asked = app, sorted(keys), 0

    def __call__(self, environ, start):
        self.asked += 1
        query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
        prefix = query.get("prefix", "")
        if "list-type" not in query or not prefix.startswith(("made/shards/", "made/entries/")):
            return self.app(environ, start)
        after = query.get("continuation-token") or query.get("start-after")
        first = bisect_right(self.keys, after) if after else bisect_left(self.keys, prefix)
        last = bisect_left(self.keys, prefix + "~")
        page = self.keys[first : min(last, first + 1000)]
        more = first + 1000 < last
        body = "".join(map(_listed, page)) + f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        body += f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if more else ""
        start("200 OK", [("Content-Type", "application/xml")])
        told = f"<ListBucketResult><Name>bucket</Name><KeyCount>{len(page)}</KeyCount>{body}"
        return [f"{told}</ListBucketResult>".encode()]


def _listed(key):
    return (
        f"<Contents><Key>{key}</Key><LastModified>2025-01-01T00:00:00.000Z</LastModified>"
        '<ETag>"e"</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>'
    )


def begun(root):
    """Make a store of SHARDS entries that are compacted, with a file of a source for each."""
    store, count = Store.create(root, "embeddings", {}), np.arange(SHARDS)
    paths = pa.array([f"{number:06d}.parquet" for number in count])
    columns = {name: pa.array(np.zeros(SHARDS, np.int64)) for name in UNITS.names}
    columns |= {"shard": pa.array(count), "path": paths, "version": paths}
    units = pa.table(columns).cast(UNITS)
    store.attach(MANIFEST, parquet_bytes(units.replace_schema_metadata({"source": "{}"})))
    compact_entries(root, [ShardEntry(n, 5000, 1, f"{n:032x}", f"{n:032x}") for n in range(SHARDS)])
    return store


def gone_on_with(root):
    """Go on with the store in a process of its own, as an interrupted job would be."""
    command = [sys.executable, "-c", GOING_ON, str(root)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    shards, seconds, peak = json.loads(done.stdout)
    assert shards == SHARDS
    for name, (wall, cpu) in seconds.items():
        yield name, wall, cpu
    yield "peak memory, MB", peak / 1e6, ""


def test_a_store_of_many_shards_in_a_folder(tmp_path):
    store = begun(tmp_path)
    for shard in range(SHARDS):
        for path in (store.shards.path(shard), store.shards.entry_path(shard)):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"x")
            os.utime(path, (0, 0))
    header = ("in a folder", "seconds", "of the processor")
    print_table(f"a store of {SHARDS:,} shards", header, gone_on_with(tmp_path))


def test_a_store_of_many_shards_on_an_object_store():
    with object_store() as server:
        numbers = [f"{number:06d}" for number in range(SHARDS)]
        keys = [f"made/shards/{n}.parquet" for n in numbers]
        server.asked.app = lists = Lists(
            server.asked.app, keys + [f"made/entries/{n}.json" for n in numbers]
        )
        begun(place("s3://bucket/made"))
        before = lists.asked
        rows = list(gone_on_with("s3://bucket/made"))
        rows.append(("requests", lists.asked - before, ""))
    header = ("on an object store", "seconds", "of the processor")
    print_table(f"a store of {SHARDS:,} shards", header, rows)
