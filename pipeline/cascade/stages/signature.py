"""The stage that knows images by what `sluice sign` has written of them."""

from typing import TYPE_CHECKING

from pipeline.cascade.stages.stage import Stage

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.core.arrays import AnyArray


def _numbers(features: "pa.Table") -> "AnyArray":
    from pipeline.core.tables import embedding_matrix

    return embedding_matrix(features["signature"])


STAGE = Stage("signature", numbers=_numbers)
