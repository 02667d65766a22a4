"""What ``measure_loss`` has found of a store's precision, for whoever but tells of it."""

import json
from dataclasses import asdict, dataclass

from pipeline.core.store import Store

RECORD = "precision.json"
K = 10


@dataclass(frozen=True)
class PrecisionLoss:
    """``recall``: the share of f32's K nearest of each of ``images`` that are still nearest."""

    images: int
    recall: float


def precision_loss(store: Store) -> PrecisionLoss | None:
    """Return what ``measure_loss`` has kept in ``store``, None where nothing was measured."""
    data = store.attached(RECORD)
    return PrecisionLoss(**json.loads(data)) if data else None


def keep_loss(store: Store, loss: PrecisionLoss) -> None:
    """Keep ``loss`` in ``store``."""
    store.attach(RECORD, json.dumps(asdict(loss)).encode())
