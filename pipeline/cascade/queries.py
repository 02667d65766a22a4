"""The queries of a cascade, with the features of every stage."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.cascade.on_demand import OnDemandPlan
from pipeline.cascade.sampler import SamplePlan, sample_features
from pipeline.cascade.shard_signer import sign_images
from pipeline.cascade.stages import NETWORKS
from pipeline.core.arrays import Vectors
from pipeline.core.errors import InputError
from pipeline.core.ids import NO_ID
from pipeline.core.spread import NearGpu, Spreading
from pipeline.core.store import Store, ids_by_shard
from pipeline.core.tables import embedding_column, embedding_matrix
from pipeline.search.queries import Queries, sample_ids, split_queries


@dataclass(frozen=True)
class Batch:
    """The queries of one run: what is asked for, and all their features."""

    queries: Queries
    features: pa.Table  # signature, and the columns of NETWORKS


def gather_batch(
    signatures: Store,
    plan: OnDemandPlan,
    texts: tuple[str, ...],
    sampled: int,
    spreading: Spreading,
    near_gpu: NearGpu,
) -> Batch:
    """Return the queries ``texts`` name, files before ids, then ``sampled`` of the store's own.

    Raises InputError where there are none, or one is unusable.
    """
    ids, paths = split_queries(texts)
    ids = list(dict.fromkeys(ids + sample_ids(signatures, sampled)))
    parts = [_file_features(paths, plan, near_gpu)] if paths else []
    if ids:
        parts.append(_stored_features(signatures, plan, ids, spreading))
    if not parts:
        raise InputError("the query folders hold no images; name others")
    names = ["id", "key", "signature", *(network.column for network in NETWORKS.values())]
    table = pa.concat_tables([part.select(names) for part in parts])
    vectors = embedding_matrix(table["embedding"])
    return Batch(Queries(table["key"].to_pylist(), table["id"].to_numpy(), vectors), table)


def _stored_features(
    signatures: Store, plan: OnDemandPlan, ids: Sequence[int], spreading: Spreading
) -> pa.Table:
    by_shard = ids_by_shard(signatures)
    missing = np.setdiff1d(ids, np.concatenate(list(by_shard.values())))
    if len(missing):
        root = signatures.root
        raise InputError(f"{root} holds no image with id {missing[0]}; see its id column")
    wanted = np.array(ids, np.int64)
    sampled = SamplePlan(plan, signatures.root, np.sort(wanted), np.empty(0, np.int64))
    features, _ = sample_features(sampled, by_shard, spreading)
    return features.take(pa.array(np.searchsorted(features["id"].to_numpy(), wanted)))


def _file_features(paths: Sequence[Path], plan: OnDemandPlan, near_gpu: NearGpu) -> pa.Table:
    images = pa.table(
        {
            "id": pa.array([NO_ID] * len(paths), pa.int64()),
            "key": [str(path) for path in paths],
            "bytes": pa.array([path.read_bytes() for path in paths], pa.binary()),
        }
    )
    signed, refused = sign_images([images])
    if refused.num_rows:
        lines = [f"{r['key']} ({r['reason']}: {r['detail']})" for r in refused.to_pylist()]
        raise InputError(f"unusable query image: {'; '.join(lines)}")

    def make() -> dict[str, Vectors]:
        features = plan.start()
        return {name: features.make(name, images) for name in NETWORKS}

    made = near_gpu(plan.backend, make)
    for name, network in NETWORKS.items():
        signed = signed.append_column(network.column, embedding_column(made[name]))
    return signed
