"""Made features of images: three views of the same hidden facts, the signature the noisiest."""

import numpy as np
import pyarrow as pa

from pipeline.cascade.signature import LENGTH
from pipeline.core.tables import embedding_column

ROUGH = 448


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def cheap_features(rng, hidden, maps):
    noise = rng.normal(size=(len(hidden), LENGTH)) * 30
    signature = np.clip(np.rint(hidden @ maps[0] * 10 + noise + 128), 0, 255).astype(np.uint8)
    column = pa.FixedSizeListArray.from_arrays(pa.array(signature.ravel()), LENGTH)
    rough = unit(hidden @ maps[1] + 0.5 * rng.normal(size=(len(hidden), ROUGH)))
    return {"signature": column, "rough": embedding_column(rough)}


def made_samples(*counts):
    """A table of features of each count of images, and changed copies of the last one's."""
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(16, size)) for size in (LENGTH, ROUGH, 160)]
    tables = []
    for count in counts:
        hidden = rng.normal(size=(count, 16))
        vectors = unit(hidden @ maps[2] + 0.3 * rng.normal(size=(count, 160)))
        columns = cheap_features(rng, hidden, maps) | {"embedding": embedding_column(vectors)}
        names = {"id": np.arange(count), "key": [f"{number}.jpg" for number in range(count)]}
        tables.append(pa.table(names | columns))
    changed = hidden + 0.1 * rng.normal(size=hidden.shape)
    copies = pa.table({"origin": np.arange(count)} | cheap_features(rng, changed, maps))
    return *tables, copies
