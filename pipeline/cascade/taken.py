"""The CNN's features that a store of embeddings holds already, taken into the cache of features."""

from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.cascade.feature_cache import FeatureCache
from pipeline.cascade.on_demand import OnDemandPlan
from pipeline.cascade.stages import LAST
from pipeline.core.arrays import Ids
from pipeline.core.folder import Place
from pipeline.core.row_map import rows_with
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix, rows_of
from pipeline.embedding.identity import embedding_identity


def take_embedded(
    plan: OnDemandPlan, embeddings: Place, by_shard: dict[int, Ids], wanted: Ids
) -> int:
    """Keep the CNN features of ``wanted`` ids that the store ``embeddings`` has; return how many.

    They are of the same bytes and by the same encoder, so they are those that would be made. Those
    kept before, which count, are left. by_shard: the signed ids of each shard. Raises StoreError
    where ``embeddings`` is damaged.
    """
    encoder = plan.encoders[LAST]
    if not (embeddings / "manifest.json").exists():  # none, or one that is being filled
        return 0
    store = Store.open(embeddings, "embeddings")
    if store.identity != embedding_identity(encoder.settings):
        return 0
    known = rows_with(store, "id", pa.array(wanted), ["id", "checksum", "embedding"])
    cache = FeatureCache(Store.open(plan.cache, "features"), LAST, encoder.dimensions)
    signed = Store.open(plan.signatures, "signatures")
    taken = 0
    for shard, ids in by_shard.items():
        mine = known.filter(pc.is_in(known["id"], value_set=pa.array(ids)))
        if not mine.num_rows:  # of many shards a sample has images in few
            continue
        mine = mine.filter(_same(mine, signed, shard)).sort_by("id")
        found, vectors = mine["id"].to_numpy(), embedding_matrix(mine["embedding"])
        cache.get(shard, found, partial(rows_of, known=found, values=vectors))
        taken += len(found)
    return taken


def _same(images: pa.Table, signed: Store, shard: int) -> pa.ChunkedArray:
    """Return bool (n,): whether images (id, checksum) have the bytes that were signed."""
    known = signed.read(shard, ["id", "checksum"])
    known = known.take(pc.index_in(images["id"], value_set=known["id"].combine_chunks()))
    return pc.equal(images["checksum"], known["checksum"])
