"""The libraries that speak to S3, side by side at one server: puts, ranges and lists."""

import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import obstore
import pytest
import s3fs
from obstore.store import S3Store
from pyarrow import fs

from jobs.console import print_table
from tests.helpers.object_store import SECRET, object_store

pytestmark = pytest.mark.chaos
OBJECTS, TURNS = 200, 5
DATA, SPAN = bytes(2**20), 2**16  # bytes


def by_obstore(url):
    store = S3Store("bucket", endpoint=url, client_options={"allow_http": True})
    return {
        "put": lambda key: obstore.put(store, key, DATA, use_multipart=False),
        "range": lambda key: obstore.get_range(store, key, start=SPAN, length=SPAN),
        "list": lambda prefix: sum(map(len, obstore.list(store, prefix))),
    }


def by_s3fs(url):
    store = s3fs.S3FileSystem(client_kwargs={"endpoint_url": url}, use_listings_cache=False)
    return {
        "put": lambda key: store.pipe_file(f"bucket/{key}", DATA),
        "range": lambda key: store.cat_file(f"bucket/{key}", start=SPAN, end=2 * SPAN),
        "list": lambda prefix: len(store.find(f"bucket/{prefix}")),
    }


def by_pyarrow(url):
    store = fs.S3FileSystem(
        access_key="tests", secret_key=SECRET, region="us-east-1", endpoint_override=url
    )

    def put(key):
        with store.open_output_stream(f"bucket/{key}") as file:
            file.write(DATA)

    def read(key):
        with store.open_input_file(f"bucket/{key}") as file:
            return file.read_at(SPAN, SPAN)

    def count(prefix):
        return len(store.get_file_info(fs.FileSelector(f"bucket/{prefix}", recursive=True)))

    return {"put": put, "range": read, "list": count}


def timed(work, keys, at_once):
    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(work, keys))
    return 1000 * (time.perf_counter() - began) / len(keys)


def test_obstore_beside_s3fs_and_pyarrow():
    """Milliseconds each, of one thread and of eight; the median of TURNS, by turns."""
    with object_store() as server:
        ways = {"obstore": by_obstore, "s3fs": by_s3fs, "pyarrow.fs": by_pyarrow}
        asked = {name: way(server.url) for name, way in ways.items()}
        taken, requests = {}, {}
        for turn in range(TURNS):
            for name, does in asked.items():
                keys = [f"{name}/{turn}/{number}" for number in range(OBJECTS)]
                for work, at_once in (("put", 8), ("range", 1), ("range", 8)):
                    before = sum(server.asked.requests.values())
                    spent = timed(does[work], keys, at_once)
                    taken.setdefault((work, at_once, name), []).append(spent)
                    spent = (sum(server.asked.requests.values()) - before) / OBJECTS
                    requests[work, at_once, name] = spent
                before = sum(server.asked.requests.values())
                taken.setdefault(("list", 1, name), []).append(
                    timed(does["list"], [f"{name}/{turn}"], 1)
                )
                requests["list", 1, name] = sum(server.asked.requests.values()) - before
                assert does["list"](f"{name}/{turn}") == OBJECTS
    rows = [
        (*what, statistics.median(times), np.ptp(times), requests[what])
        for what, times in sorted(taken.items())
    ]
    header = ("what", "threads", "library", "ms each", "spread", "requests each")
    print_table(f"{OBJECTS} objects of 1 MiB, {os.cpu_count()} cores", header, rows)
