"""Which command makes which kind of store: a message that misses one names it."""

MAKERS = {
    "corpus": "sluice corpus",
    "embeddings": "sluice embed",
    "signatures": "sluice sign",
    "features": "sluice calibrate",
    "index": "sluice index",
    "partitions": "sluice dedup",
    "pairs": "sluice dedup",
    "keypoints": "sluice dedup",
    "looks": "sluice dedup",
    "scaling": "sluice lab scale",
}


def made_by(kind: str | None) -> str:
    """Return the command that makes stores of ``kind``, in words where none is known."""
    return MAKERS.get(kind or "", "the command that made it")
