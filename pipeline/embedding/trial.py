"""A batch that tells whether a network gives embeddings at all, before any work."""

import numpy as np

from pipeline.core.arrays import Pixels, Vectors
from pipeline.core.errors import InputError, SluiceError
from pipeline.embedding.settings import Encode, EncoderSettings


def trial_batch(batch_size: int, size: int) -> Pixels:
    """Return uint8 (b, s, s, 3), b >= 2: unlike images of coarse and of fine noise."""
    rng = np.random.default_rng(0)
    cell = -(-size // 4)
    coarse = np.kron(rng.integers(0, 256, (1, 4, 4, 3)), np.ones((1, cell, cell, 1)))
    fine = rng.integers(0, 256, (max(1, batch_size - 1), size, size, 3))
    return np.concatenate([coarse[:, :size, :size], fine]).astype(np.uint8)


def tried_dimensions(run: Encode, settings: EncoderSettings) -> int:
    """Return the dimensions of what ``run`` gives for a batch.

    Raises InputError where that is no embedding: of another shape, not finite, of no length, or
    the same of unlike images, or another of the same image beside others.
    """
    batch, name = settings.batch_size, settings.model
    images = trial_batch(batch, settings.input_size)
    parts = [_part(run, images[row : row + batch], name) for row in range(0, len(images), batch)]
    found = np.concatenate(parts)
    if not np.isfinite(found).all():
        raise InputError(
            f"{name} gives NaN or infinite numbers for images of noise; look after its weights, "
            f"how its pixels are scaled, or embed.precision ({settings.precision})"
        )
    if not found.any(axis=1).all():
        raise InputError(f"{name} gives rows of no length (all zeros); look after its weights")
    if np.array_equal(found[0], found[1]):
        raise InputError(f"{name} gives the same row for unlike images; choose another output")
    if batch > 1 and not np.array_equal(_beside_nothing(run, images[0], batch, name), found[0]):
        raise InputError(
            f"{name} gives an image another row beside other images, as networks do that scale by "
            "a whole batch; set embed.batch_size=1"
        )
    return int(found.shape[1])


def _beside_nothing(run: Encode, image: Pixels, batch_size: int, name: str) -> Vectors:
    """Return the row of an image that stands last in a batch of black ones."""
    images = np.zeros((batch_size, *image.shape), np.uint8)
    images[-1] = image
    row: Vectors = _part(run, images, name)[-1]
    return row


def _part(run: Encode, images: Pixels, name: str) -> Vectors:
    try:
        found = run(images)
    except SluiceError:
        raise
    except Exception as error:  # the network is the user's: it may raise anything
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(
            f"{name} fails on {len(images)} images of {images.shape[1]} x {images.shape[2]} pixels "
            f"({reason}); set embed.input_size and embed.batch_size to what it takes"
        ) from error
    if found.ndim != 2 or len(found) != len(images) or not found.shape[1]:
        raise InputError(
            f"{name} gives {found.shape} for {len(images)} images; it must give a row an image, "
            f"({len(images)}, d)"
        )
    return found
