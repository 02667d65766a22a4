"""The queries of a cascade, with the features of every stage."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.cascade.on_demand import OnDemandPlan
from pipeline.cascade.sampler import SamplePlan, sample_features, with_embeddings
from pipeline.cascade.shard_signer import sign_images
from pipeline.cascade.stages import NETWORKS
from pipeline.core.arrays import Vectors
from pipeline.core.errors import InputError
from pipeline.core.spread import NearGpu, Spreading
from pipeline.core.store import Store, ids_by_shard
from pipeline.core.tables import embedding_column, embedding_matrix
from pipeline.embedding.encoder import NO_EMBEDDING
from pipeline.search.queries import (
    Queries,
    refuse_nothing_to_ask,
    sample_ids,
    split_queries,
)
from pipeline.search.query_files import read_files, refused_lines


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

    Files that are no usable images are told in ``refused``. Raises InputError where no query is
    left, or one is not there.
    """
    ids, paths = split_queries(signatures, texts)
    ids = list(dict.fromkeys(ids + sample_ids(signatures, sampled)))
    images = read_files(paths)
    signed, quarantine = sign_images([images], plan.source.max_pixels)
    refused = refused_lines(quarantine)
    refuse_nothing_to_ask(signed.num_rows + len(ids), refused)
    parts = [_file_features(signed, images, plan, near_gpu)] if signed.num_rows else []
    if ids:
        parts.append(_stored_features(signatures, plan, ids, spreading))
    names = ["id", "key", "signature", *(network.column for network in NETWORKS.values())]
    table = pa.concat_tables([part.select(names) for part in parts])
    usable = with_embeddings(table)
    keys = table.filter(pc.invert(pc.is_in(table["key"], usable["key"].combine_chunks())))["key"]
    refused += tuple(f"{key} ({NO_EMBEDDING}: the model gives none)" for key in keys.to_pylist())
    table = usable
    refuse_nothing_to_ask(table.num_rows, refused)
    vectors = embedding_matrix(table["embedding"])
    stored = table["id"].is_valid().to_numpy()
    numbers = table["id"].fill_null(0).to_numpy()
    queries = Queries(table["key"].to_pylist(), numbers, stored, vectors, refused)
    return Batch(queries, table)


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


def _file_features(
    signed: pa.Table, images: pa.Table, plan: OnDemandPlan, near_gpu: NearGpu
) -> pa.Table:
    """Return the ``signed`` of ``images`` with the features of the networks."""
    images = images.filter(pa.compute.is_in(images["key"], value_set=signed["key"]))

    def make() -> dict[str, Vectors]:
        features = plan.start()
        return {name: features.make(name, images) for name in NETWORKS}

    made = near_gpu(plan.backend, make)
    for name, network in NETWORKS.items():
        signed = signed.append_column(network.column, embedding_column(made[name]))
    return signed
