import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import InputError
from pipeline.corpus.photos import find_photos, load_photos
from pipeline.corpus.scenes import CorpusSettings
from pipeline.images.source import list_source
from pipeline.lab.decoders import decodable, psnr
from pipeline.lab.pixel_timing import time_decoders, time_making, time_signing
from pipeline.lab.source_images import first_shard, whole_source
from tests.helpers.command_line import run


def ordered(row):
    return 0 < row["least"] <= row["median"] <= row["most"]


def test_every_way_to_decode_is_timed_and_comes_close_to_pillow(jpegs):
    rows = {row["way"]: row for row in time_decoders(jpegs[:3], 64, 2).to_pylist()}
    assert len(rows) == 7
    assert all(ordered(row) for row in rows.values())
    close = {way: row["PSNR to Pillow, dB"] for way, row in rows.items()}
    assert close["Pillow whole, bilinear"] == 99
    assert close["torchvision whole, torch antialiased"] > 35
    assert min(close.values()) > 25


def test_the_peak_signal_is_255():
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black, black + np.uint8(255)) == 0
    assert psnr(black, black + np.uint8(1)) == pytest.approx(48.13, abs=0.01)


def test_signing_is_timed_with_its_decode(jpegs):
    decode, sign, ratio = time_signing(jpegs[:4], 3).to_pylist()
    assert ordered(decode)
    assert ordered(sign)
    assert ordered(ratio)
    assert ratio["most"] > 1


def test_making_is_timed_with_its_encoder():
    photos, _ = load_photos(find_photos(None)[:1])
    table = time_making(photos, CorpusSettings(0, 4, 64, 85), 4, 2)
    assert all(ordered(row) for row in table.to_pylist())


@pytest.fixture
def source(tmp_path, jpegs):
    for row, data in enumerate(jpegs[:5]):
        (tmp_path / f"{row}.jpg").write_bytes(data)
    (tmp_path / "6.jpg").write_bytes(b"no image")
    return tmp_path


def test_images_are_read_as_a_job_reads_them(source, jpegs):
    listed = list_source(str(source))
    assert first_shard(listed, 2)["bytes"].to_pylist() == jpegs[:2]
    whole = whole_source(listed, 2)
    assert whole["bytes"].to_pylist() == [*jpegs[:5], b"no image"]
    assert decodable(whole, 64) == jpegs[:5]


def bench(folder, *sets):
    ran = run("bench", "pixels", folder, "--rounds", 1, *(f"--set={text}" for text in sets))
    if ran.exception:
        raise ran.exception
    return ran.output


def test_the_command_prints_three_tables(source, monkeypatch):
    monkeypatch.setattr("jobs.bench.pixels.MADE", 8)
    printed = bench(source, "embed.input_size=64")
    for title in ("5 JPEGs to 64 px", "signing 5 images, 244 bytes", "making 8 images"):
        assert title in printed


def test_a_source_of_other_images_is_signed_alone_and_one_of_none_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.bench.pixels.MADE", 8)
    Image.new("RGB", (70, 70), "red").save(tmp_path / "red.png")
    printed = bench(tmp_path)
    assert "signing 1 images" in printed
    assert "JPEGs to" not in printed
    (tmp_path / "red.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="name another source"):
        bench(tmp_path)
