"""The settings that decide the runs of a scaling experiment, with their defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

WorkloadName = Literal["emulated", "embed", "sign", "search", "join"]


@dataclass(frozen=True)
class ScaleSettings:
    """What decides the runs, beside the inputs of real work: the store of runs keeps it."""

    workloads: tuple[WorkloadName, ...] = ("emulated",)
    workers: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12)
    repeats: int = 2
    ms: float = 50.0  # an image, emulated
    shard_images: int = 8  # emulated
    images: int = 640  # of every strong-scaling run; of real work, at most
    images_a_worker: int = 160  # of a weak-scaling run
    queries: int = 100
    k: int = 10
    seed: int = 0  # of the order of the runs

    @classmethod
    def kept(cls, identity: Mapping[str, Any]) -> "ScaleSettings":
        """Return those in a store's ``identity``; one added since it was made has its default."""
        names = [field.name for field in fields(cls) if field.name in identity]
        values = {name: identity[name] for name in names}
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**values | lists)
