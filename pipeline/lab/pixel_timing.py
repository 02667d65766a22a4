"""What making, decoding and signing images costs on one thread, each beside what bounds it."""

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
import pyarrow as pa
import simplejpeg
import torch

from pipeline.cascade.signature import SIDE, signature
from pipeline.corpus.photos import Photo
from pipeline.corpus.scenes import CorpusSettings, make_images
from pipeline.images.decode import decode_rgb
from pipeline.images.resize import resize_square
from pipeline.lab.decoders import WAYS, Square, by_pillow, psnr
from pipeline.lab.timing import in_turn, middle_and_ends

COMPARED = 100  # images whose pixels are compared with Pillow's


def on_one_thread() -> None:
    """Have OpenCV and torch compute on one thread of this process."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def time_decoders(jpegs: Sequence[bytes], size: int, rounds: int) -> pa.Table:
    """Return ms an image and the PSNR to Pillow, dB, of each way to squares of ``size`` pixels."""

    def all_by(way: Square) -> None:
        for data in jpegs:
            way(data, size)

    taken = in_turn({name: partial(all_by, way) for name, way in WAYS.items()}, rounds)
    rows = []
    for name, way in WAYS.items():
        median, least, most = _milliseconds(taken[name], len(jpegs))
        close = [psnr(way(data, size), by_pillow(data, size)) for data in jpegs[:COMPARED]]
        row = {"way": name, "median": median, "least": least, "most": most}
        rows.append(row | {"PSNR to Pillow, dB": float(np.mean(close))})
    return pa.Table.from_pylist(rows)


def time_signing(photos: Sequence[bytes], rounds: int) -> pa.Table:
    """Return ms an image of the scaled decode alone and of the signature, and their ratio."""

    def decode() -> None:
        for data in photos:
            decode_rgb(data, SIDE)

    def sign() -> None:
        for data in photos:
            image = decode_rgb(data, SIDE)
            signature(resize_square(image.pixels, SIDE), image.width, image.height, len(data))

    taken = in_turn({"decode": decode, "sign": sign}, rounds)
    ratios = [sign / decode for decode, sign in zip(*taken.values(), strict=True)]
    return _table(
        {
            "scaled decode alone, ms": _milliseconds(taken["decode"], len(photos)),
            "decode, resize and sign, ms": _milliseconds(taken["sign"], len(photos)),
            "times the decode": middle_and_ends(ratios),
        }
    )


def time_making(
    photos: list[Photo], settings: CorpusSettings, images: int, rounds: int
) -> pa.Table:
    """Return images a second of making ``images`` and of encoding them alone, and their ratio."""
    numbers = range(images)
    made = [image.jpeg for image in make_images(photos, settings, numbers)]
    pixels = [simplejpeg.decode_jpeg(jpeg) for jpeg in made]

    def make() -> None:
        for _ in make_images(photos, settings, numbers):
            pass

    def encode() -> None:
        for image in pixels:
            simplejpeg.encode_jpeg(image, settings.quality, "RGB", "420")

    taken = in_turn({"make": make, "encode": encode}, rounds)
    rates = {name: [images / seconds for seconds in values] for name, values in taken.items()}
    ratios = [whole / alone for whole, alone in zip(*taken.values(), strict=True)]
    return _table(
        {
            "make, images/s on one core": middle_and_ends(rates["make"]),
            "encode alone, images/s on one core": middle_and_ends(rates["encode"]),
            "make / encode alone, ratio of times": middle_and_ends(ratios),
        }
    )


def _milliseconds(seconds: Sequence[float], images: int) -> tuple[float, float, float]:
    return middle_and_ends([1000 * value / images for value in seconds])


def _table(rows: dict[str, tuple[float, float, float]]) -> pa.Table:
    columns = zip(*rows.values(), strict=True)
    return pa.table(
        {"what": list(rows)} | dict(zip(("median", "least", "most"), columns, strict=True))
    )
