"""A calibration kept beside the signatures, with what it was made of."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from pipeline.cascade.calibration import Calibration, StageFilters
from pipeline.cascade.filters import EmbeddingSpace, LearnedFilter
from pipeline.cascade.planner import StageCosts
from pipeline.cascade.stages import LEARNED
from pipeline.core.arrays import Ids
from pipeline.core.errors import StoreError
from pipeline.core.files import checksum
from pipeline.core.store import Store, ids_by_shard
from pipeline.core.tables import parquet_bytes, table_of
from pipeline.embedding.identity import embedding_identity
from pipeline.embedding.settings import EncoderSettings

RECORD = "calibration"
FILTERS, SAMPLE, COPIES = "filters.safetensors", "calibration.parquet", "copies.parquet"

STALE = (
    "calibrated before images came or went: what is said of recall holds for the images of that "
    "time; run sluice calibrate again"
)


@dataclass(frozen=True)
class StoredCalibration:
    """A calibration as it was kept."""

    calibration: Calibration
    costs: StageCosts
    current: bool  # made of the images that are signed now
    shards: int  # that there were: images that came since are in later ones


def calibrated_of(
    ids: Ids, fit_images: int, calibration_images: int, cnn: EncoderSettings
) -> dict[str, Any]:
    """Return what decides a calibration of the images ``ids`` (n,), in any order."""
    return {
        "images": _images(ids),
        "fit_images": fit_images,
        "calibration_images": calibration_images,
        "filters": list(LEARNED),
        "cnn": embedding_identity(cnn),
    }


def is_calibrated(store: Store, of: dict[str, Any]) -> bool:
    """Return whether ``store`` holds the calibration that ``of`` decides."""
    return (_record(store) or {}).get("of") == of


def keep_calibration(
    store: Store, calibration: Calibration, costs: StageCosts, of: dict[str, Any]
) -> None:
    """Keep ``calibration`` beside the signatures, each file with its checksum."""
    filters = calibration.filters
    arrays = {"mean": filters.space.mean, "basis": filters.space.basis}
    for stage, learned in filters.learned.items():
        arrays |= {f"{stage}.{n}": np.ascontiguousarray(v) for n, v in vars(learned).items()}
    store.attach(SAMPLE, parquet_bytes(calibration.sample))
    store.attach(COPIES, parquet_bytes(calibration.copies))
    store.attach(FILTERS, save(arrays))
    shards = len(store.manifest())
    record = {"of": of, "milliseconds": dict(costs.milliseconds), "shards": shards}
    store.attach(RECORD, json.dumps(record, indent=1).encode())


def stored_calibration(store: Store, cnn: EncoderSettings) -> StoredCalibration:
    """Return what keep_calibration kept.

    Raises StoreError where there is none, or where it was made for other stages than there are or
    another network than ``cnn``.
    """
    filters, sample, copies = (store.attached(name) for name in (FILTERS, SAMPLE, COPIES))
    record = _record(store)
    if filters is None or sample is None or copies is None or record is None:
        raise StoreError(f"{store.root} is not calibrated; run sluice calibrate first")
    of = record["of"]
    if of.get("filters") != list(LEARNED):
        raise StoreError(f"{store.root} is calibrated for other stages; run sluice calibrate again")
    if of["cnn"] != embedding_identity(cnn):
        raise StoreError(
            f"{store.root} is calibrated for another CNN; use the same embed settings, or run "
            "sluice calibrate again"
        )
    images = _images(np.concatenate(list(ids_by_shard(store).values())))
    tables = (table_of(data) for data in (sample, copies))
    calibration = Calibration(_filters(filters), *tables)
    costs = StageCosts(record["milliseconds"])
    return StoredCalibration(calibration, costs, of["images"] == images, record["shards"])


def _images(ids: Ids) -> str:
    return checksum(np.sort(ids).tobytes())


def _filters(data: bytes) -> StageFilters:
    arrays = load(data)
    learned = {
        stage: LearnedFilter(*(arrays[f"{stage}.{n}"] for n in ("weights", "step", "offset")))
        for stage in LEARNED
    }
    return StageFilters(EmbeddingSpace(arrays["mean"], arrays["basis"]), learned)


def _record(store: Store) -> dict[str, Any] | None:
    data = store.attached(RECORD)
    record: dict[str, Any] | None = json.loads(data) if data else None
    return record
