"""Odd images, one by one and through whole jobs: decoded as Pillow does, or told why not."""

import io
import struct
import zlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from jobs.embed import embed
from jobs.sign import sign
from pipeline.cascade.shard_signer import sign_images
from pipeline.core.store import Store
from pipeline.embedding.shard_embedder import embed_images
from pipeline.images.decode import decode_rgb
from pipeline.images.decoded import UndecodableImage
from tests.helpers.main_way import config

WHOLE = 1 << 30  # a least side no image has: nothing is scaled down
REASONS = {"empty", "not-an-image", "truncated", "damaged", "too-large", "extreme-shape"}


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png(width, height, depth, colour, pixels, *more):
    """A PNG of any header around what ``pixels`` (with its filter bytes) deflates to."""

    def chunk(name, body):
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), *(chunk(*part) for part in more)]
    chunks += [chunk(b"IDAT", zlib.compress(pixels, 9)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def with_exif(jpeg, orientation):
    """Put an EXIF block with one entry, an orientation of any type, before a JPEG's segments."""
    entry = struct.pack(">HHI4s", 0x0112, *orientation)
    body = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def patched(jpeg, offset, value):
    """Change bytes of a JPEG's frame header, counted from its marker."""
    data, frame = bytearray(jpeg), jpeg.index(b"\xff\xc0")
    data[frame + offset : frame + offset + len(value)] = value
    return bytes(data)


def as_ycck(cmyk_jpeg):
    """Say that a CMYK JPEG's first three channels are luma and chroma."""
    data = bytearray(cmyk_jpeg)
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


@pytest.fixture(scope="module")
def cat(photos):
    return Image.fromarray(photos[0])


@pytest.fixture(scope="module")
def decodable(cat):
    jpeg, cmyk = encoded(cat, "JPEG"), encoded(cat.convert("CMYK"), "JPEG")
    ramp = Image.linear_gradient("L").resize(cat.size)
    veiled = cat.copy()
    veiled.putalpha(ramp)
    clear = cat.quantize(64)
    clear.info["transparency"] = clear.getpixel((40, 40))
    frames = {"save_all": True, "append_images": [ImageOps.invert(cat)]}
    tall, wide = cat.resize((1, 10_000)), cat.resize((10_000, 1))
    text = (b"zTXt", b"a\0\0" + zlib.compress(bytes(500_000)))
    return {
        "progressive": encoded(cat, "JPEG", progressive=True),
        "grey": encoded(cat.convert("L"), "JPEG"),
        "cmyk": cmyk,
        "ycck": as_ycck(cmyk),
        "turned": with_exif(jpeg, (3, 1, b"\0\6\0\0")),
        "orientation-twice": with_exif(jpeg, (3, 2, b"\0\6\0\6")),
        "orientation-text": with_exif(jpeg, (2, 4, b"abc\0")),
        "orientation-infinite": with_exif(jpeg, (11, 1, struct.pack(">f", np.inf))),
        "orientation-99": with_exif(jpeg, (3, 1, b"\0\x63\0\0")),
        "png": encoded(cat, "PNG"),
        "png-rgb16": png(2, 2, 16, 2, (b"\0" + bytes(range(0, 240, 20))) * 2),
        "png-palette": encoded(cat.quantize(64), "PNG"),
        "png-palette-clear": encoded(clear, "PNG"),
        "png-veiled": encoded(veiled, "PNG"),
        "png-grey-veiled": encoded(veiled.convert("LA"), "PNG"),
        "png-animated": encoded(veiled, "PNG", **frames),
        "png-much-data": png(2, 2, 8, 2, bytes(30_000_000)),
        "png-much-text": png(2, 2, 8, 2, bytes(14), text),
        "gif-animated": encoded(cat.quantize(64), "GIF", **frames),
        "gif-clear": encoded(clear, "GIF", transparency=clear.info["transparency"]),
        "webp-animated": encoded(veiled, "WEBP", lossless=True, **frames),
        "one-pixel": encoded(cat.resize((1, 1)), "JPEG"),
        "tall": encoded(tall, "JPEG"),
        "wide": encoded(wide, "JPEG"),
        "tall-png": encoded(tall, "PNG"),
    }


@pytest.fixture(scope="module")
def undecodable(cat):
    jpeg, whole = encoded(cat, "JPEG"), encoded(cat, "PNG")
    side = struct.pack(">HH", 30_000, 30_000)
    bomb_text = (b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000)))
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    return {
        "nothing": (b"", "empty"),
        "text": (b"no image, whatever its name says", "not-an-image"),
        "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not-an-image"),
        "heic": (heic + bytes(500), "damaged"),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not-an-image"),
        "half": (jpeg[: len(jpeg) // 2], "truncated"),
        "half-png": (whole[: len(whole) // 2], "truncated"),
        "only-a-head": (jpeg[:200], "damaged"),
        "bomb": (patched(jpeg, 5, side), "damaged"),
        "bomb-png": (png(30_000, 30_000, 8, 2, b""), "too-large"),
        "bomb-text": (png(2, 2, 8, 2, bytes(14), bomb_text), "damaged"),
        "twelve-bits": (patched(jpeg, 4, b"\x0c"), "damaged"),
        "no-height": (patched(jpeg, 5, bytes(2)), "damaged"),
        "no-width-png": (png(0, 5, 8, 2, bytes(5)), "damaged"),
        "bad-checksum": (whole[:20] + b"\1" + whole[21:], "damaged"),
        "gif-of-nothing": (b"GIF89a\5\0\5\0\x80\0\0" + bytes(6) + b";", "damaged"),
    }


def as_pillow_does(data):
    """Return upright RGB float (h, w, 3) by Pillow's conversions, transparency over white."""
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
    rgba = np.asarray(upright.convert("RGBA")).astype(float)
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


def test_what_pillow_reads_has_pillows_colours(decodable):
    for name, data in decodable.items():
        image, wanted = decode_rgb(data, WHOLE), as_pillow_does(data)
        assert image.pixels.shape == (image.height, image.width, 3) == wanted.shape, name
        assert image.pixels.flags.writeable, name
        lossy = data[:2] == b"\xff\xd8"
        difference = np.abs(image.pixels - wanted)
        assert difference.max() <= (12 if lossy else 1), name
        assert difference.mean() <= (1 if lossy else 0.51), name


def test_the_odd_images_are_what_they_are_called(decodable):
    opened = {name: Image.open(io.BytesIO(data)) for name, data in decodable.items()}
    assert opened["cmyk"].mode == opened["ycck"].mode == "CMYK"
    assert opened["png-grey-veiled"].mode == "LA"
    assert {opened[n].mode for n in ("png-palette", "png-palette-clear", "gif-clear")} == {"P"}
    assert all(opened[n].n_frames == 2 for n in opened if n.endswith("-animated"))
    assert all(opened[n].has_transparency_data for n in opened if n.endswith(("veiled", "clear")))
    upright, turned = (decode_rgb(decodable[n], WHOLE) for n in ("png", "turned"))
    assert (upright.width, upright.height) == (turned.height, turned.width)


def test_what_cannot_be_read_has_its_reason(undecodable):
    for name, (data, reason) in undecodable.items():
        with pytest.raises(UndecodableImage) as caught:
            decode_rgb(data, 64)
        assert caught.value.reason == reason, name
        assert caught.value.detail, name


def test_a_grey_that_is_not_a_number_is_black():
    grey = Image.fromarray(np.array([[np.nan, 100], [-np.inf, 255]], np.float32))
    assert decode_rgb(encoded(grey, "TIFF"), 8).pixels[..., 0].tolist() == [[0, 100], [0, 255]]


@pytest.mark.parametrize(("width", "height", "scale"), [(4800, 3200, 8), (7, 5, 1), (900, 450, 2)])
def test_scaled_decodes_are_pillows_reduced(cat, width, height, scale):
    data = encoded(cat.resize((width, height), Image.Resampling.BICUBIC), "JPEG", quality=95)
    image = decode_rgb(data, 224)
    assert (image.width, image.height) == (width, height)
    assert image.pixels.shape == (-(-height // scale), -(-width // scale), 3)
    wanted = Image.open(io.BytesIO(data)).reduce(scale)
    assert np.abs(image.pixels - np.asarray(wanted).astype(float)).mean() < 2


def table(data):
    keys = [f"{number}.jpg" for number in range(len(data))]
    images = pa.table({"id": range(len(data)), "key": keys})
    return images.append_column("bytes", pa.array(data, pa.binary()))


def mean_colour(squares):
    return squares.mean(axis=(1, 2)).astype(np.float32)


def test_whole_jobs_keep_the_one_and_quarantine_the_other(tmp_path, decodable, undecodable):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, data in decodable.items():
        (folder / f"{name}.jpg").write_bytes(data)  # all by this name, whatever they are
    for name, (data, _) in undecodable.items():
        (folder / f"{name}.jpg").write_bytes(data)
    signatures = f"sign.output={tmp_path}/signatures"
    wanted = config(tmp_path, f"source.url={folder}", signatures, "ray.workers=0")
    for job, output in ((embed, "embeddings"), (sign, "signatures")):
        job(wanted)
        store = Store.open(tmp_path / output)
        kept = [key for e in store.manifest() for key in store.read(e.shard)["key"].to_pylist()]
        assert sorted(kept) == sorted(f"{name}.jpg" for name in decodable)
        told = {row["key"]: row["reason"] for row in store.read_quarantine().to_pylist()}
        assert told == {f"{name}.jpg": reason for name, (_, reason) in undecodable.items()}


@settings(max_examples=150, deadline=None)
@given(choice=st.data())
def test_no_damage_raises_anything_but_a_reason(decodable, jpegs, choice):
    whole = [*jpegs[:4], *(d for d in decodable.values() if d[:2] == b"\xff\xd8")]
    pick = st.sampled_from(whole)
    data = bytearray(choice.draw(pick))
    for _ in range(choice.draw(st.integers(1, 6))):
        place = choice.draw(st.integers(0, len(data)))
        how = choice.draw(st.sampled_from(["flip", "head", "cut", "splice"]))
        if how == "cut":
            del data[place:]
        elif how == "splice":
            other = choice.draw(pick)
            start = choice.draw(st.integers(0, len(other)))
            data[place:place] = other[start : start + choice.draw(st.integers(0, 2000))]
        elif data:  # most bytes are pixels; what decides is in the head
            place %= min(len(data), 700) if how == "head" else len(data)
            data[place] ^= 1 << choice.draw(st.integers(0, 7))
    images = table([bytes(data), jpegs[0]])
    for kept, refused in (
        embed_images([images], mean_colour, 32, dimensions=3),
        sign_images([images]),
    ):
        assert kept["id"].to_pylist()[-1] == 1
        assert kept.num_rows + refused.num_rows == 2
        assert set(refused["reason"].to_pylist()) <= REASONS
