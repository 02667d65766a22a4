"""Whether images that came after a calibration are such as it was made on."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Scores
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix

TESTED = 400  # images, of SHARDS shards spread evenly over those that came
SHARDS = 8
FALSE_ALARMS = 0.01  # of a calibration whose images and those that came are of one kind


@dataclass(frozen=True)
class Drift:
    """``p_value``: how likely the ``tested`` of the ``added`` images would differ so by chance."""

    added: int  # images
    tested: int
    p_value: float

    @property
    def drifted(self) -> bool:
        return self.p_value <= FALSE_ALARMS

    @property
    def told(self) -> str:
        like = "unlike" if self.drifted else "like"
        return (
            f"of {self.added:,} images that came since the calibration {self.tested} were tested, "
            f"and are {like} those it was made on (p = {self.p_value:.2g})"
        )


def drift_since(signatures: Store, sample: pa.Table, shards: int) -> Drift | None:
    """Return how images differ that came in shards after the first ``shards``; None without any.

    Every second image of ``sample``, the calibration's, is compared with: how far its nearest one
    lies, by the signature's standardised numbers, is asked of the others and of those that came.
    All that are asked are independent, as the Kolmogorov-Smirnov test of two samples wants.
    """
    came = [entry for entry in signatures.manifest() if entry.shard >= shards and entry.rows]
    if not came:
        return None
    from scipy.stats import ks_2samp  # most searches need no scipy

    table = _sampled(signatures, [entry.shard for entry in came])
    if not table.num_rows:  # all have left since
        return None
    own = _numbers(sample)
    mean, spread = own.mean(axis=0), own.std(axis=0) + 1e-6
    asked = ((own[1::2] - mean) / spread, (_numbers(table) - mean) / spread)
    alike, found = (_nearest(part, (own[::2] - mean) / spread) for part in asked)
    added = sum(entry.rows for entry in came)
    return Drift(added, table.num_rows, float(ks_2samp(found, alike).pvalue))


def _numbers(features: pa.Table) -> Scores:
    return embedding_matrix(features["signature"]).astype(np.float64)


def _nearest(asked: Scores, compared: Scores) -> Scores:
    from scipy.spatial.distance import cdist

    found: Scores = cdist(asked, compared).min(axis=1)
    return found


def _sampled(signatures: Store, shards: list[int]) -> pa.Table:
    rows = np.unique(np.linspace(0, len(shards) - 1, SHARDS).astype(int))
    tables = [signatures.read(shards[row], ["id", "signature"]) for row in rows]
    return pa.concat_tables([table.slice(0, TESTED // len(rows)) for table in tables])
