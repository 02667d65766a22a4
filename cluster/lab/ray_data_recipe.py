"""Ray Data's documented batch inference, for the benchmark beside our plan.

read_parquet -> map(preprocess) -> map_batches(torch model), as in Ray's "Image classification
batch inference with PyTorch"; pixels travel through the object store.
"""

import time
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from pipeline.embedding.settings import EncoderSettings
from pipeline.lab.embed_rivals import EagerNetwork, RivalRun, pillow_square


def embed_by_recipe(images: pa.Table, settings: EncoderSettings, workers: int) -> RivalRun:
    """Embed ``images`` (id, bytes) as the recipe does; vectors come back in the order of ids.

    The rate is taken while the model's actors worked, their start-up left out.
    """

    def preprocess(row: dict[str, Any]) -> dict[str, Any]:
        return {"id": row["id"], "pixels": pillow_square(row["bytes"], settings)}

    class Embedder:
        def __init__(self) -> None:
            self.network = EagerNetwork(settings, threads=1)

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            began = time.time()
            vectors = self.network(batch["pixels"])
            times = np.tile([began, time.time()], (len(vectors), 1))
            return {"id": batch["id"], "embedding": vectors, "times": times}

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    size = -(-images.num_rows // (4 * workers))
    blocks = [images.slice(start, size) for start in range(0, images.num_rows, size)]
    rows = ray.data.from_arrow(blocks)  # repartition's tasks want a whole CPU each
    pool = ray.data.ActorPoolStrategy(size=workers)
    # The actors hold all CPU slots; the preprocessing must find a share of them.
    embedded = rows.map(preprocess, num_cpus=0.5).map_batches(
        Embedder, batch_size=settings.batch_size, compute=pool, num_cpus=0.5
    )
    batches = list(embedded.iter_batches(batch_size=None, batch_format="numpy"))
    ids, vectors, times = (
        np.concatenate([batch[name] for batch in batches]) for name in ("id", "embedding", "times")
    )
    return RivalRun(vectors[np.argsort(ids)], len(ids) / (times[:, 1].max() - times[:, 0].min()))
