"""What the driver pays before the first shard starts: planning many files, or large ones."""

import io
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.shard_stats import peak_rss
from pipeline.images.manifest import plan_manifest
from pipeline.images.source import list_source
from pipeline.lab.timing import seconds_of

A_FOLDER = 1000  # files
SMALL = 1000  # bytes of one of many files
IMAGE = 200_000  # bytes of an image in a large file
ROW_GROUP = 100  # images
LARGE = 300 * 2**20  # bytes of a Parquet file or a tar


def planning_cost(url: str) -> dict[str, Any]:
    """Plan the source at ``url`` in a process of its own, and again with what is known then.

    Returns units, seconds of each, the bytes read (all that the process asked the system for, less
    what it had asked for before) and its peak resident MiB beyond those it began with.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
        return own.submit(_planned, url).result()


def _planned(url: str) -> dict[str, Any]:
    _import_what_planning_needs()
    read, memory, manifests = _bytes_read(), peak_rss(), list[pa.Table]()
    first = seconds_of(lambda: manifests.append(_plan(url, None)))
    read = _bytes_read() - read
    again = seconds_of(lambda: manifests.append(_plan(url, manifests[0])))
    assert manifests[0].equals(manifests[1])
    facts = {"units": manifests[0].num_rows, "seconds": first, "seconds again": again}
    return facts | {"bytes read": read, "MiB": (peak_rss() - memory) / 2**20}


def _import_what_planning_needs() -> None:
    """Plan a folder of one file: libraries that are loaded with the first use count for nothing."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.jpg").touch()
        _plan(folder, None)


def _plan(url: str, known: pa.Table | None) -> pa.Table:
    return plan_manifest(list_source(url), 1000, known).manifest


def _bytes_read() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


@contextmanager
def made_source(write: Callable[[Path], int], folder: Path) -> Iterator[tuple[Path, int]]:
    """Give the folder below ``folder`` that ``write`` has filled, and its bytes; remove it then."""
    with tempfile.TemporaryDirectory(dir=folder) as root:
        yield Path(root), write(Path(root))


def many_files(count: int) -> Callable[[Path], int]:
    """Return what writes ``count`` small files in folders of A_FOLDER; they hold zeros."""

    def write(root: Path) -> int:
        for number in range(count):
            path = root / f"{number // A_FOLDER:04d}" / f"{number:07d}.jpg"
            if number % A_FOLDER == 0:
                path.parent.mkdir()
            path.write_bytes(bytes(SMALL))
        return count * SMALL

    return write


def large_parquet(size: int) -> Callable[[Path], int]:
    """Return what writes Parquet files of LARGE, ``size`` bytes in all."""

    def write(root: Path) -> int:
        image = np.random.default_rng(0).bytes(IMAGE)
        group = pa.table({"bytes": [image] * ROW_GROUP})
        for number in range(max(1, size // LARGE)):
            path = root / f"{number:04d}.parquet"
            with pq.ParquetWriter(
                path, group.schema, compression="none", use_dictionary=False
            ) as file:
                for _ in range(LARGE // (IMAGE * ROW_GROUP)):
                    file.write_table(group)
        return _size(root)

    return write


def large_tars(size: int) -> Callable[[Path], int]:
    """Return what writes tars of LARGE, ``size`` bytes in all."""

    def write(root: Path) -> int:
        image = np.random.default_rng(0).bytes(IMAGE)
        for number in range(max(1, size // LARGE)):
            with tarfile.open(root / f"{number:04d}.tar", "w") as tar:
                for member in range(LARGE // IMAGE):
                    facts = tarfile.TarInfo(f"{member:06d}.jpg")
                    facts.size = IMAGE
                    tar.addfile(facts, io.BytesIO(image))
        return _size(root)

    return write


def _size(root: Path) -> int:
    return sum(path.stat().st_size for path in root.iterdir())
