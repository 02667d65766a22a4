"""The features of a shard's sampled images, and of changed versions of them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import pyarrow as pa
import simplejpeg

from pipeline.cascade.calibration import Calibration, fit_calibration
from pipeline.cascade.on_demand import OnDemandFeatures, OnDemandPlan
from pipeline.cascade.shard_signer import sign_images
from pipeline.cascade.stages import LAST, LEARNED, NETWORKS
from pipeline.core.arrays import Ids
from pipeline.core.folder import Place
from pipeline.core.run_record import RunRecord
from pipeline.core.shard_stats import shard_stats
from pipeline.core.spread import ShardFunction, Spreading
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column, embedding_matrix, ipc_bytes, ipc_table, places
from pipeline.corpus.scenes import TRANSFORMS, change
from pipeline.embedding.encoder import has_direction
from pipeline.images.decode import decode_rgb

COPY_SIDE = 256  # pixels: copies are made of the scaled decode that covers this
QUALITY = 85
RECOMPRESSED = (25, 55)
FEW = 64  # images done sooner than workers would have started


@dataclass(frozen=True)
class SamplePlan:
    """All a worker needs for the features of sampled images; ``copied`` ids get a copy each."""

    name: ClassVar[str] = "features of a sample"
    on_demand: OnDemandPlan
    signatures: Place
    sampled: Ids  # ascending
    copied: Ids  # ascending

    def start(self) -> ShardFunction:
        """Load the networks; return the function that does one shard.

        Its row holds two tables as Arrow IPC bytes: ``features`` (the signature's columns and those
        of NETWORKS) and ``copies`` (origin, transform, signature, those that filters read).
        """
        cv2.setNumThreads(1)
        features = self.on_demand.start()
        store = Store.open(self.signatures, "signatures")

        def sample_shard(shard: int) -> pa.Table:
            started = time.time()
            table = store.read(shard)
            table = table.filter(
                pa.compute.is_in(table["id"], value_set=pa.array(self.sampled))
            ).sort_by("id")
            ids = table["id"].to_numpy()
            for name, network in NETWORKS.items():
                made = embedding_column(features.get(name, shard, ids))
                table = table.append_column(network.column, made)
            copies = self._copies(features, shard, np.intersect1d(ids, self.copied))
            return shard_stats(
                shard, len(ids), started, features=ipc_bytes(table), copies=ipc_bytes(copies)
            )

        return sample_shard

    def _copies(self, features: OnDemandFeatures, shard: int, ids: Ids) -> pa.Table:
        images = features.images(shard, ids)
        made = [
            changed_copy(data, number)
            for data, number in zip(images["bytes"].to_pylist(), ids.tolist(), strict=True)
        ]
        copies = pa.table(
            {
                "id": ids,
                "key": images["key"],
                "bytes": pa.array([jpeg for jpeg, _ in made], pa.binary()),
                "transform": pa.array([transform for _, transform in made], pa.string()),
            }
        )
        signed, _ = sign_images([copies])
        columns = {
            "origin": signed["id"],
            "transform": signed["transform"],
            "signature": signed["signature"],
        }
        for name in NETWORKS.keys() & LEARNED:
            columns[NETWORKS[name].column] = embedding_column(features.make(name, copies))
        return pa.table(columns)


def sample_features(
    plan: SamplePlan, by_shard: Mapping[int, Ids], spreading: Spreading
) -> tuple[pa.Table, pa.Table]:
    """Return all features of the images sampled, and of the copies made: SamplePlan's two tables.

    ``by_shard``: the ids of each shard's images. Sorted by id and origin. FEW are done in this
    process, but for networks that run on a GPU.
    """
    shards = [shard for shard, ids in by_shard.items() if np.isin(ids, plan.sampled).any()]
    count = len(plan.sampled)
    spread = spreading(count, here=count <= FEW and not plan.on_demand.on_gpu)
    stats = list(spread(plan, shards))
    features, copies = (
        pa.concat_tables([ipc_table(table[name][0].as_py()) for table in stats])
        for name in ("features", "copies")
    )
    return features.sort_by("id"), copies.sort_by("origin")


def sample_calibration(
    signatures: Store,
    on_demand: OnDemandPlan,
    fit_ids: Ids,
    sample_ids: Ids,
    by_shard: Mapping[int, Ids],
    spreading: Spreading,
    record: RunRecord,
) -> Calibration:
    """Fit the filters on the images ``fit_ids``, and keep those of ``sample_ids`` as evidence.

    Images without an embedding are left out.
    """
    sampled = np.sort(np.concatenate([fit_ids, sample_ids]))
    plan = SamplePlan(on_demand, signatures.root, sampled, np.sort(sample_ids))
    features, copies = sample_features(plan, by_shard, spreading)
    features = with_embeddings(features)
    usable = features["id"].to_numpy()
    fit_ids, sample_ids = (ids[np.isin(ids, usable)] for ids in (fit_ids, sample_ids))
    fit, sample = (_drawn(features, "id", ids) for ids in (fit_ids, sample_ids))
    with record.stage("fit the filters"):
        return fit_calibration(fit, sample, _drawn(copies, "origin", sample_ids))


def with_embeddings(features: pa.Table) -> pa.Table:
    """Return the rows of ``features`` of which the CNN gives an embedding at all."""
    vectors = embedding_matrix(features[NETWORKS[LAST].column])
    return features.filter(pa.array(has_direction(vectors)))


def _drawn(table: pa.Table, column: str, ids: Ids) -> pa.Table:
    """Return the rows of ``ids`` in their drawn order, which shards and workers cannot change."""
    return table.take(pa.array(places(ids, table[column].to_numpy())))


def changed_copy(data: bytes, number: int) -> tuple[bytes, str]:
    """Return a JPEG of the image ``data`` under two of TRANSFORMS, and which; ``number`` draws.

    Two, for copies in a collection are often both changed: from one to the other leads what undoes
    the first change and then the second. One of the two may be "original", which changes nothing.
    """
    rng = np.random.default_rng([1, number % 2**64])
    drawn = [TRANSFORMS[i] for i in rng.choice(len(TRANSFORMS), 2, replace=False)]
    pixels = decode_rgb(data, COPY_SIDE).pixels
    for transform in drawn:
        pixels = change(pixels, transform, rng)
    quality = int(rng.integers(*RECOMPRESSED)) if "recompression" in drawn else QUALITY
    contiguous = np.ascontiguousarray(pixels)
    return simplejpeg.encode_jpeg(contiguous, quality, "RGB", "420"), "+".join(drawn)
