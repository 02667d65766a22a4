"""Common ways to embed the same images with the same weights, for the benchmark beside ours."""

import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from pipeline.core.arrays import Pixels, Vectors
from pipeline.embedding.kinds import load_model
from pipeline.embedding.settings import EncoderSettings
from pipeline.images.resize import resize_square


@dataclass(frozen=True)
class RivalRun:
    """Vectors f32 (n, d), and images a second once the first batch was there."""

    vectors: Vectors
    rate: float


def pillow_square(data: bytes, settings: EncoderSettings) -> Pixels:
    """Return uint8 (s, s, 3): the usual Pillow decode and resize, of the whole file's pixels."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return resize_square(np.asarray(image), settings.input_size, settings.transform.fit)


class EagerNetwork:
    """The f32 network as torch runs it unprepared, on ``threads`` threads."""

    def __init__(self, settings: EncoderSettings, threads: int) -> None:
        torch.set_num_threads(threads)
        self.module, made = load_model(settings), settings.transform
        self.mean = torch.tensor(made.mean).view(1, 3, 1, 1)
        self.deviation = torch.tensor(made.deviation).view(1, 3, 1, 1)

    @torch.inference_mode()
    def __call__(self, pixels: Pixels) -> Vectors:
        """Return f32 (n, d) of unit length for uint8 (n, s, s, 3)."""
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().contiguous()
        found = self.module((images - self.mean) / self.deviation)
        unit: Vectors = torch.nn.functional.normalize(found).numpy()
        return unit


class _Images(Dataset[Pixels]):
    def __init__(self, images: list[bytes], settings: EncoderSettings) -> None:
        self.images, self.settings = images, settings

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Pixels:
        return pillow_square(self.images[row], self.settings)


def embed_by_data_loader(images: list[bytes], settings: EncoderSettings, workers: int) -> RivalRun:
    """Embed with a plain torch DataLoader: ``workers`` decode, the network has as many threads."""
    network = EagerNetwork(settings, workers)
    loader = DataLoader(
        _Images(images, settings),
        settings.batch_size,
        num_workers=workers,
        multiprocessing_context="spawn",
        collate_fn=np.stack,
    )
    parts, began = [], 0.0
    for batch in loader:
        began = began or time.perf_counter()
        parts.append(network(batch))
    return RivalRun(np.concatenate(parts), len(images) / (time.perf_counter() - began))


def imagededup_encoder(settings: EncoderSettings) -> Any:
    """Return imagededup's CNN with our network. Raises ImportError where it is not installed."""
    from imagededup.methods import CNN
    from imagededup.utils import CustomModel
    from torchvision import transforms

    made = settings.transform
    side = (settings.input_size, settings.input_size)
    transform = transforms.Compose(
        [
            transforms.Resize(side),
            transforms.ToTensor(),
            transforms.Normalize([m / 255 for m in made.mean], [d / 255 for d in made.deviation]),
        ]
    )
    network = load_model(settings)
    wanted = CustomModel(name="ours", model=network, transform=transform)
    return CNN(verbose=False, model_config=wanted)


def write_files(images: list[bytes], folder: Path) -> list[str]:
    """Write ``images`` as files for what reads no Parquet; return their names, in order."""
    names = [f"{row:08d}.jpg" for row in range(len(images))]
    for name, data in zip(names, images, strict=True):
        (folder / name).write_bytes(data)
    return names


def embed_by_imagededup(images: list[bytes], settings: EncoderSettings, folder: Path) -> RivalRun:
    """Embed with imagededup's CNN encoder given our network; it reads files, written first.

    Raises ImportError where imagededup is not installed.
    """
    encoder = imagededup_encoder(settings)
    names = write_files(images, folder)
    began = time.perf_counter()
    found = encoder.encode_images(image_dir=str(folder))
    seconds = time.perf_counter() - began
    vectors = np.stack([found[name].reshape(-1) for name in names])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return RivalRun(unit.astype(np.float32), len(images) / seconds)
