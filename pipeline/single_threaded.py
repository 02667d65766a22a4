"""The good single-threaded program that a cluster has to beat (COST): no Ray, no shard files."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.embedding_column import embedding_column
from pipeline.encoder import Encoder
from pipeline.shard_embedder import decode_squares
from pipeline.source_manifest import Source
from pipeline.source_reader import read_shard
from pipeline.store import parquet_bytes, write_atomically


def embed_single_threaded(
    source: Source, manifest: pa.Table, encoder: Encoder, output: Path
) -> int:
    """Embed the images of ``manifest`` into one Parquet file ``output``; return their number.

    The same decoder and kernels as a worker's, but read, decode and encode by turns in one thread.
    """
    import torch

    torch.set_num_threads(1)
    encode, settings = encoder.start(), encoder.settings
    ids, vectors = [], []
    for shard in np.unique(manifest["shard"].to_numpy()).tolist():
        images = read_shard(source, manifest, shard)
        for start in range(0, images.num_rows, settings.batch_size):
            squares = decode_squares(images.slice(start, settings.batch_size), settings.input_size)
            if squares.rows:
                ids.append(images["id"].to_numpy()[start:][squares.rows])
                vectors.append(encode(squares.pixels))
    table = pa.table(
        {"id": np.concatenate(ids), "embedding": embedding_column(np.concatenate(vectors))}
    )
    write_atomically(output, parquet_bytes(table))
    return int(table.num_rows)
