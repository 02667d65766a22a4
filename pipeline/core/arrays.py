"""Arrays by their dtype; shapes are told where they are used."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]  # (n, d): embeddings, one a row
Scores = NDArray[np.float64]
Reals = NDArray[np.float64]  # seconds, rates and shares
Ids = NDArray[np.int64]  # also rows, shards and counts
Numbers = NDArray[np.int32]  # buckets and places among them
Pixels = NDArray[np.uint8]  # (h, w, 3), or (n, s, s, 3) for squares
Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
AnyArray = NDArray[Any]  # where several dtypes will do
