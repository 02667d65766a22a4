"""An encoder for batches of somebody else's pipeline."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.core.arrays import AnyArray, Mask, Pixels, Vectors
from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column
from pipeline.embedding.encoder import NO_DIRECTION, NO_EMBEDDING, has_direction
from pipeline.embedding.models import DEFAULT
from pipeline.embedding.settings import BackendName, Precision
from pipeline.embedding.stored import built_encoder, encoder_settings, query_encoder
from pipeline.images.decoded import UndecodableImage, refuse_shape, upright
from pipeline.images.jpeg import orientation_of
from pipeline.images.resize import resize_square
from pipeline.images.squares import decode_squares
from pipeline.images.tones import rgb


class Embedder:
    """Embeds the images of a batch: ``dataset.map_batches(Embedder, concurrency=2)``.

    store: embed as that store's vectors were, whatever else is said; else ``model`` and the others
    are those of the settings ``embed``. column: the images, as files' bytes, alone or under "bytes"
    as HuggingFace's datasets hold them; as Pillow's images; or as uint8 (h, w) or (h, w, c) of 1, 3
    or 4 channels.
    Raises what ``sluice embed`` would before its work.
    """

    def __init__(
        self,
        model: str = DEFAULT,
        *,
        store: str | Path | None = None,
        column: str = "bytes",
        weights: str | Path | None = None,
        backend: BackendName | None = None,
        precision: Precision | None = None,
        input_size: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        path = Path(weights) if weights else None
        if store is not None:
            encoder = query_encoder(Store.open(Path(store).absolute(), "embeddings"), path)
        else:
            wanted = (path, None, backend or "auto", precision or "auto", input_size, batch_size)
            encoder = built_encoder(encoder_settings(model, *wanted))
        self.column, self.encoder, self.encode = column, encoder, encoder.start()

    def __call__(self, batch: Any) -> Any:
        """Return the batch, a mapping of arrays (n, ...) or an Arrow table, with two columns more.

        embedding: f32 (n, d) of unit length, NaN where there is none; refused: why not, else null.
        Raises InputError where ``column`` is not there.
        """
        names = batch.column_names if isinstance(batch, pa.Table) else list(batch)
        if self.column not in names:
            raise InputError(f"no column {self.column} among {', '.join(names)}; set column=")
        images = batch[self.column]
        vectors, refused = self._embedded(
            images.to_pylist() if isinstance(images, pa.ChunkedArray) else images
        )
        if isinstance(batch, pa.Table):
            table = batch.append_column("embedding", embedding_column(vectors))
            return table.append_column("refused", pa.array(refused, pa.string()))
        told = np.array(refused, object)
        return {**_columns(batch), "embedding": vectors, "refused": told}

    def _embedded(self, images: Any) -> tuple[Vectors, list[str | None]]:
        size, fit = self.encoder.settings.input_size, self.encoder.settings.transform.fit
        images = [image.get("bytes") if isinstance(image, Mapping) else image for image in images]
        refused: list[str | None] = [None] * len(images)
        squares = np.zeros((len(images), size, size, 3), np.uint8)
        files = [row for row, image in enumerate(images) if _is_file(image)]
        for row in set(range(len(images))) - set(files):
            try:
                squares[row] = resize_square(_rgb(images[row]), size, fit)
            except UndecodableImage as error:
                refused[row] = str(error)
        data = [images[row] for row in files]
        table = pa.table(
            {"id": files, "key": [""] * len(files), "bytes": pa.array(data, pa.binary())}
        )
        decoded = decode_squares(table, size, fit=fit)
        squares[np.array(files, np.int64)[decoded.rows]] = decoded.pixels
        for told in decoded.quarantine.to_pylist():
            refused[told["id"]] = f"{told['reason']}: {told['detail']}"
        return self._vectors(squares, refused), refused

    def _vectors(self, squares: Pixels, refused: list[str | None]) -> Vectors:
        vectors = np.full((len(squares), self.encoder.dimensions), np.nan, np.float32)
        usable: Mask = np.array([why is None for why in refused], np.bool_)
        if usable.any():
            vectors[usable] = self.encode(squares[usable])
        for row in np.flatnonzero(usable & ~has_direction(vectors)).tolist():
            refused[row] = f"{NO_EMBEDDING}: {NO_DIRECTION}"
        return vectors


def _columns(batch: Mapping[str, AnyArray]) -> dict[str, Any]:
    return {name: batch[name] for name in batch}


def _is_file(image: Any) -> bool:
    return image is None or isinstance(image, bytes | bytearray | memoryview)


def _rgb(image: Any) -> Pixels:
    """Return an image's pixels upright, uint8 (h, w, 3). Raises UndecodableImage for no image."""
    if isinstance(image, Image.Image):
        refuse_shape(*image.size)
        return upright(rgb(image), orientation_of(image))
    pixels = np.asarray(image)
    channels = pixels.shape[2:]
    if pixels.dtype != np.uint8 or pixels.ndim < 2 or channels not in ((), (1,), (3,), (4,)):
        told = f"{type(image).__name__} of {pixels.dtype} {pixels.shape}"
        raise UndecodableImage("unreadable", f"{told}, and not a file's bytes or uint8 (h, w, 3)")
    if not pixels.size:
        raise UndecodableImage("empty", "it has no pixels")
    refuse_shape(pixels.shape[1], pixels.shape[0])
    if channels == (3,):
        return np.ascontiguousarray(pixels)
    return rgb(Image.fromarray(pixels[..., 0] if channels == (1,) else pixels))
