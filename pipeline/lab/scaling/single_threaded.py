"""The good single-threaded programs that a cluster has to beat (COST): no Ray, no shard files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.cascade.shard_signer import sign_images
from pipeline.core.arrays import AnyArray, Ids, Vectors
from pipeline.core.files import write_atomically
from pipeline.core.tables import embedding_column, embedding_matrix, parquet_bytes
from pipeline.embedding.encoder import Encoder
from pipeline.images.reader import read_shard
from pipeline.images.source import Source
from pipeline.images.squares import decode_squares


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
            batch = images.slice(start, settings.batch_size)
            squares = decode_squares(batch, settings.input_size, fit=settings.transform.fit)
            if squares.rows:
                ids.append(images["id"].to_numpy()[start:][squares.rows])
                vectors.append(encode(squares.pixels))
    table = pa.table(
        {"id": np.concatenate(ids), "embedding": embedding_column(np.concatenate(vectors))}
    )
    write_atomically(output, parquet_bytes(table))
    return int(table.num_rows)


def sign_single_threaded(source: Source, manifest: pa.Table, output: Path) -> int:
    """Sign the images of ``manifest`` into one Parquet file ``output``; return how many were read.

    A loop over the shards with a worker's decoder and kernels.
    """
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    images, signed = 0, []
    for shard in np.unique(manifest["shard"].to_numpy()).tolist():
        table = read_shard(source, manifest, shard)
        images += table.num_rows
        signed.append(sign_images([table])[0])
    write_atomically(output, parquet_bytes(pa.concat_tables(signed)))
    return images


@dataclass(frozen=True)
class Found:
    """What a scan found among ``images`` vectors, best first."""

    images: int
    ids: Ids  # int64 (q, k), -1 beyond the number of images
    scores: AnyArray  # f32 (q, k), as FAISS's kernel gives them


def search_single_threaded(files: Sequence[Path], gone: Ids, queries: Vectors, k: int) -> Found:
    """Scan the Parquet ``files`` (id, embedding) with FAISS for the ``k`` best of each query.

    queries f32 (q, d); gone int64 (n,): ids to leave out. One file stands in memory at a time, and
    a heap keeps the best of all. Nothing is scored again, so ties are in no fixed order.
    """
    faiss.omp_set_num_threads(1)
    best, images = faiss.ResultHeap(len(queries), k, keep_max=True), 0
    for file in files:
        table = pq.read_table(file, columns=["id", "embedding"], use_threads=False)
        if len(gone):
            table = table.filter(pa.array(~np.isin(table["id"].to_numpy(), gone)))
        vectors, ids = embedding_matrix(table["embedding"]), table["id"].to_numpy()
        images += len(ids)
        m = min(k, len(ids))
        if m:
            scores, rows = faiss.knn(queries, vectors, m, metric=faiss.METRIC_INNER_PRODUCT)
            best.add_result(scores, ids[rows])
    best.finalize()
    return Found(images, best.I, best.D)


def join_single_threaded(files: Sequence[Path], similarity: float, output: Path) -> None:
    """Write every pair of at least ``similarity`` to ``output``.

    FAISS's range search of all vectors against all, of the Parquet ``files`` (id, embedding).
    """
    faiss.omp_set_num_threads(1)
    table = pa.concat_tables([pq.read_table(file, columns=["id", "embedding"]) for file in files])
    vectors, ids = embedding_matrix(table["embedding"]), table["id"].to_numpy()
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    limits, scores, found = index.range_search(vectors, similarity)
    one = np.repeat(np.arange(len(ids)), np.diff(limits).astype(np.int64))
    first = ids[one] < ids[found]
    pairs = {"a": ids[one][first], "b": ids[found][first], "score": scores[first]}
    write_atomically(output, parquet_bytes(pa.table(pairs)))
