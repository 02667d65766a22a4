"""Features of a few images of a shard, from the cache or made here and now from the source."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.cascade.feature_cache import FeatureCache
from pipeline.cascade.stages import LAST, NETWORKS
from pipeline.core.arrays import Ids, Vectors
from pipeline.core.errors import InputError
from pipeline.core.folder import Place
from pipeline.core.store import Store
from pipeline.embedding.encoder import Encoder, has_direction
from pipeline.embedding.identity import embedding_identity
from pipeline.embedding.settings import Encode, EncoderSettings
from pipeline.embedding.stored import stored_encoder
from pipeline.images.manifest import read_manifest
from pipeline.images.reader import read_images
from pipeline.images.source import Source
from pipeline.images.squares import decode_squares


@dataclass(frozen=True)
class OnDemandPlan:
    """All a worker needs to make features of any image of a source.

    ``cache`` is the store of kind "features" that keeps them; ``encoders`` holds a ready-to-start
    encoder by stage.
    """

    source: Source
    manifest: pa.Table
    signatures: Place
    cache: Place
    encoders: dict[str, Encoder]

    @property
    def backend(self) -> str:
        """Return what the networks run on."""
        return self.encoders[LAST].settings.backend

    @property
    def on_gpu(self) -> bool:
        return self.backend == "cuda"

    def start(self) -> "OnDemandFeatures":
        """Return the features of this source, made on one thread."""
        return OnDemandFeatures(self)


def on_demand_plan(
    source: Source, signatures: Store, cache: Place, cnn: EncoderSettings
) -> OnDemandPlan:
    """Return what workers need to make features of the images signed; opens the store ``cache``.

    Raises StoreError where that holds another model's.
    """
    made = {name: network.settings(cnn) for name, network in NETWORKS.items()}
    identity = {name: embedding_identity(settings) for name, settings in made.items()}
    store = Store.create(cache, "features", identity)
    store.finish(0)  # what is attached is all it holds; verify takes only finished stores
    with store.lock():
        encoders = {name: stored_encoder(store, settings) for name, settings in made.items()}
    return OnDemandPlan(source, read_manifest(signatures), signatures.root, store.root, encoders)


class OnDemandFeatures:
    """Gives features by shard and ids, and counts what was made.

    A network is loaded when the first image needs it: with all features kept, none is.
    """

    def __init__(self, plan: OnDemandPlan) -> None:
        self.plan = plan
        self.kept = Store.open(plan.cache, "features")
        self.encode: dict[str, Encode] = {}
        self.made = dict.fromkeys(plan.encoders, 0)

    def get(self, name: str, shard: int, ids: Ids) -> Vectors:
        """Return f32 (n, d) features ``name`` of ``ids``, making and keeping those not there.

        Raises InputError where one of the images is no longer in the source or does not decode.
        """
        cache = FeatureCache(self.kept, name, self.plan.encoders[name].dimensions)
        features, made = cache.get(
            shard, ids, lambda missing: self.make(name, self.images(shard, missing))
        )
        self.made[name] += made
        return features

    def make(self, name: str, images: pa.Table) -> Vectors:
        """Return features ``name`` f32 (n, d) of ``images`` (id, key, bytes), kept nowhere.

        A row is NaN where the network has nothing to say of the image.
        """
        settings = self.plan.encoders[name].settings
        if name not in self.encode:
            self.encode[name] = self.plan.encoders[name].start()
        parts = [np.empty((0, self.plan.encoders[name].dimensions), np.float32)]
        for start in range(0, images.num_rows, settings.batch_size):
            batch = images.slice(start, settings.batch_size)
            squares = decode_squares(
                batch,
                settings.input_size,
                self.plan.source.max_pixels,
                fit=settings.transform.fit,
            )
            if squares.quarantine.num_rows:
                row = squares.quarantine.slice(0, 1).to_pylist()[0]
                raise InputError(
                    f"{row['key']} was signed but cannot be read now ({row['reason']}: "
                    f"{row['detail']}); put it back, or run sluice sign again"
                )
            vectors = self.encode[name](squares.pixels)
            vectors[~has_direction(vectors)] = np.nan
            parts.append(vectors)
        return np.concatenate(parts)

    def images(self, shard: int, ids: Ids) -> pa.Table:
        """Return the shard's images of ``ids`` (ascending) as read_images gives them."""
        signed = Store.open(self.plan.signatures, "signatures")
        known = signed.read(shard, ["id", "key", "checksum"])
        known = known.filter(pa.compute.is_in(known["id"], value_set=pa.array(ids)))
        return read_images(self.plan.source, self.plan.manifest, shard, known.sort_by("id"))
