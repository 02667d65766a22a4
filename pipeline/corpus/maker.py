"""A shard of a made corpus, written to its store by the worker that makes it."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import pyarrow as pa

from pipeline.core.files import checksum
from pipeline.core.folder import Place
from pipeline.core.progress import advance
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction
from pipeline.core.store import Store
from pipeline.corpus.photos import Photo, load_photos
from pipeline.corpus.scenes import CorpusSettings, make_images

CORPUS = pa.schema(
    [
        ("id", pa.int64()),
        ("bytes", pa.binary()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("label", pa.string()),
        ("source", pa.string()),  # the photo's file name
        ("scene", pa.int64()),  # images of one scene are known copies
        ("transform", pa.string()),
    ]
)


@dataclass(frozen=True)
class CorpusPlan:
    """All a worker needs to make any shard of a corpus."""

    name: ClassVar[str] = "corpus"
    found: list[tuple[Path, str]]
    output: Place
    images: int
    shard_rows: int
    settings: CorpusSettings

    def numbers(self, shard: int) -> range:
        """Return the images of a shard."""
        first = shard * self.shard_rows
        return range(first, min(first + self.shard_rows, self.images))

    def start(self) -> ShardFunction:
        """Load the photos; return the function that makes one shard and tells what it cost."""
        cv2.setNumThreads(1)
        photos, _ = load_photos(self.found)
        store = Store.open(self.output, "corpus")

        def make_shard(shard: int) -> pa.Table:
            started = time.time()
            numbers = self.numbers(shard)
            store.write_shard(shard, corpus_table(photos, self.settings, numbers))
            return shard_stats(shard, len(numbers), started)

        return make_shard


def corpus_table(photos: list[Photo], settings: CorpusSettings, numbers: range) -> pa.Table:
    """Return the images numbered ``numbers`` in CORPUS' schema."""
    made = []
    for image in make_images(photos, settings, numbers):
        made.append(image)
        advance(1)
    columns = {
        "id": [image.number for image in made],
        "bytes": [image.jpeg for image in made],
        "width": [image.width for image in made],
        "height": [image.height for image in made],
        "label": [image.photo.label for image in made],
        "source": [image.photo.name for image in made],
        "scene": [image.scene for image in made],
        "transform": [image.transform for image in made],
    }
    return pa.table(columns, schema=CORPUS)


def corpus_identity(photos: list[Photo], plan: CorpusPlan) -> dict[str, Any]:
    """Return what decides a corpus store's bytes."""
    return asdict(plan.settings) | {
        "images": plan.images,
        "shard_rows": plan.shard_rows,
        "photos": checksum("".join(photo.checksum for photo in photos).encode()),
    }
