"""What a store keeps beside its shards and is damaged: removed where a command makes it again."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath

from pipeline.core.makers import made_by
from pipeline.core.row_map import ROW_MAPS
from pipeline.core.store import Store


@dataclass(frozen=True)
class Remade:
    """Attachments that ``command`` (none: the store's own) makes again, with what hangs on them."""

    like: str
    hanging: tuple[str, ...] = ()
    command: str | None = None
    finishes: bool = True  # whether the command leaves the store finished
    of_shard: bool = False  # whether a shard of the attachment's number is made with it


REMADE = {
    "pairs": (Remade("*"),),
    "index": (
        Remade("rows/*", of_shard=True),
        Remade("trained.npy", ("cells.npy", "calibration.parquet")),
        Remade("codes.npz", ("cells.npy", "calibration.parquet")),
        Remade("*", ("calibration.parquet",)),
    ),
    "embeddings": (
        Remade("tombstones.parquet"),
        Remade("precision.json"),
        Remade(ROW_MAPS, finishes=False),
    ),
    "signatures": (
        Remade(ROW_MAPS, finishes=False),
        Remade("tombstones.parquet"),
        Remade("calibration*", ("calibration", "calibration.parquet"), "sluice calibrate", False),
        Remade("*s.parquet", ("calibration", "calibration.parquet"), "sluice calibrate", False),
        Remade("filters.*", ("calibration", "calibration.parquet"), "sluice calibrate", False),
    ),
    "features": (
        Remade("*/*/*", (), "sluice cascade", False),
        Remade("networks/*", (), "sluice cascade", False),
    ),
}


def put_back(store: Store, name: str, data: bytes) -> bool:
    """Keep ``data`` in place of the damaged attachment ``name`` if it is what was there.

    Return whether it is. Raises StoreError where another job holds the store.
    """
    if not store.attachments.was(name, data):
        return False
    with store.lock():
        store.attach(name, data)
    return True


def forget_damaged(store: Store, names: Iterable[str]) -> dict[str, str]:
    """Remove those of the damaged attachments ``names`` that can be made again.

    Return the command that does it, by name. What hangs on them goes too, and so does the manifest
    of a store that is not whole without them. Raises StoreError where another job holds the store.
    """
    found = {name: way for name in names if (way := _way(store.kind, name))}
    with store.lock():
        for name, way in found.items():
            for each in (name, *way.hanging):
                store.attachments.remove(each)
            shards = [int(PurePosixPath(name).stem)] if way.of_shard else []
            if way.finishes:
                store.drop(shards)
    return {name: way.command or made_by(store.kind) for name, way in found.items()}


def _way(kind: str, name: str) -> Remade | None:
    ways = REMADE.get(kind, ())
    return next((way for way in ways if fnmatch(name, way.like)), None)
