"""The store of embeddings that a job fills, and the encoder it is filled by."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.config import Config
from jobs.sitting import Sitting
from pipeline.core.folder import Place
from pipeline.core.store import Store
from pipeline.embedding.choice import (
    Tried,
    fastest,
    keep_tried,
    sampled_squares,
    try_precisions,
    worth_trying,
)
from pipeline.embedding.identity import embedding_identity
from pipeline.embedding.kinds import kind_of
from pipeline.embedding.settings import EncoderSettings
from pipeline.embedding.stored import encoder_settings
from pipeline.images.manifest import plan_manifest
from pipeline.images.source import Listed


def embeddings_store(config: Config, listed: Listed) -> tuple[EncoderSettings, Store]:
    """Return the encoder and the store ``embed.output``, begun where it is not there.

    What is "auto" is settled when it is begun, on this node, and is then the store's for good.
    """
    root, wanted = config.embed.output.resolve(), config.embed.encoder()
    begun = (root / "store.json").exists()
    if begun:
        wanted |= _settled(wanted, root)
    settings = encoder_settings(**wanted)
    tried = [] if begun or wanted["precision"] != "auto" else _tried(config, listed, settings)
    settings = replace(settings, precision=fastest(tried)) if tried else settings
    store = Store.create(root, "embeddings", embedding_identity(settings))
    if tried:
        keep_tried(store, tried)
    return settings, store


def _settled(wanted: dict[str, Any], root: Place) -> dict[str, Any]:
    """Return what "auto" was when the store was begun."""
    held = Store.open(root, "embeddings").identity
    if held.get("backend") not in kind_of(wanted["model"]).backends:
        return {}  # it is another model's, which is told with all that differs
    return {n: held[n] for n in ("backend", "precision") if wanted[n] in ("auto", held[n])}


def _tried(config: Config, listed: Listed, settings: EncoderSettings) -> list[Tried]:
    if not worth_trying(settings, 2**62):
        return []
    manifest: pa.Table = plan_manifest(listed, config.shard_rows()).manifest
    precisions = worth_trying(settings, pc.sum(manifest["rows"]).as_py() or 0)
    if not precisions:
        return []
    squares = sampled_squares(listed.source, manifest, settings)
    with Sitting("precision", 0, config.ray) as sitting:
        return sitting.near_gpu(
            settings.backend, lambda: try_precisions(settings, precisions, squares)
        )
