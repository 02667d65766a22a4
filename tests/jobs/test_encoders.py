"""Everything downstream of the encoder, with two that are unlike that of all other tests."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torchvision.models import resnet18

from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix
from tests.helpers.command_line import run
from tests.helpers.images import jpeg_bytes
from tests.helpers.networks import FirstToken, write_onnx

IMAGES = 132
OUTPUTS = ("embed", "index", "search", "dedup", "sign", "cascade")
# Runs commands, each a list of words, and fails with the first after which torch is imported.
WITHOUT_TORCH = """
import json, sys
from jobs.commands import sluice
for arguments in json.loads(sys.argv[1]):
    sluice(arguments, standalone_mode=False)
    assert "torch" not in sys.modules, arguments
"""


@pytest.fixture(scope="module")
def photographs(photos, tmp_path_factory):
    """IMAGES crops of photographs, the first of them twice."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        photo = photos[number % 3]
        y, x = (int(rng.integers(0, side - 120)) for side in photo.shape[:2])
        tile = np.ascontiguousarray(photo[y : y + 120, x : x + 110])
        (folder / f"{number:03}.jpg").write_bytes(jpeg_bytes(tile))
        if not number:
            (folder / "copy.jpg").write_bytes(jpeg_bytes(tile, quality=60))
    return folder


def settings(folder, *others):
    wanted = [f"{section}.output={folder}/{section}" for section in OUTPUTS]
    wanted += ["ray.workers=0", "embed.precision=f32", f"cascade.features={folder}/features"]
    return [w for setting in (*wanted, *others) for w in ("--set", setting)]


def results(folder):
    table = pq.read_table(folder / "results.parquet", columns=["key", "score"])
    return table.to_pydict()


def check_vectors(folder, dimensions):
    vectors = embedding_matrix(Store.open(folder / "embed").read(0)["embedding"])
    assert vectors.shape[1] == dimensions
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def check_copy(folder):
    found = pq.read_table(folder / "dedup" / "attached" / "pairs.parquet")
    pairs = found.select(["a_key", "b_key"]).to_pylist()
    assert ("000.jpg", "copy.jpg") in {tuple(sorted(pair.values())) for pair in pairs}


def test_everything_over_an_onnx_file_of_few_dimensions_and_torch_where_it_must(
    photographs, tmp_path
):
    model = write_onnx(FirstToken(), tmp_path / "vit.onnx")
    said = settings(tmp_path, f"embed.model={model}", "calibrate.fit_images=66")
    asked = str(photographs / "000.jpg")
    indexed = [asked, "--index", "--output", f"{tmp_path}/indexed"]
    first = (["embed", str(photographs)], ["search", asked], ["index"])
    commands = [[*words, *said] for words in (*first, ["search", *indexed], ["dedup"])]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, json.dumps(commands)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )
    assert done.returncode == 0, done.stderr
    check_vectors(tmp_path, 24)
    assert results(tmp_path / "search")["key"][:2] == ["000.jpg", "copy.jpg"]
    assert results(tmp_path / "indexed") == results(tmp_path / "search")
    check_copy(tmp_path)
    for words in (["sign", photographs], ["calibrate", photographs]):
        assert run(*words, *said).exit_code == 0
    told = run("cascade", asked, "--recall", "0.5", *said).output
    promise = "recall of semantic neighbours against brute force: at least 0."
    assert promise in " ".join(told.split())
    assert results(tmp_path / "cascade")["key"][0] == "000.jpg"


def test_a_network_of_torchvision_is_searched_and_deduplicated(photographs, tmp_path):
    torch.manual_seed(0)
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "w.pth")
    named = ("embed.model=torchvision:resnet18", f"embed.weights={tmp_path}/w.pth")
    said = settings(tmp_path, *named, "embed.input_size=48")
    asked = photographs / "000.jpg"
    for words in (["embed", photographs], ["search", asked], ["dedup"]):
        done = run(*words, *said)
        assert done.exit_code == 0, done.output + repr(done.exception)
    check_vectors(tmp_path, 512)
    assert results(tmp_path / "search")["key"][:2] == ["000.jpg", "copy.jpg"]
    check_copy(tmp_path)


SAYS_NOTHING_OF_THE_DARK = """
import numpy as np

def corners():
    def encode(pixels):
        cells = pixels[:, 4::8, 4::8].reshape(len(pixels), -1).astype(np.float32)
        centred = cells - cells.mean(axis=1, keepdims=True)
        return np.where(pixels.mean(axis=(1, 2, 3))[:, None] < 9, 0, centred)
    return encode
"""


@pytest.fixture
def corners(tmp_path, monkeypatch):
    (tmp_path / "corners.py").write_text(SAYS_NOTHING_OF_THE_DARK)
    monkeypatch.syspath_prepend(tmp_path)
    yield "corners:corners"
    sys.modules.pop("corners")


def test_deduplication_may_have_an_encoder_of_its_own(photographs, tmp_path, corners):
    said = settings(tmp_path, "embed.input_size=32")
    own = ("--model", corners, "--similarity", "0.97")
    for words in (["embed"], ["dedup", *own]):
        done = run(words[0], photographs, *words[1:], *said)
        assert done.exit_code == 0, done.output
    assert Store.open(tmp_path / "embed").identity["model"] == "efficientnet_lite0"
    beside = Store.open(tmp_path / "embed-corners_corners")
    assert beside.identity["model"] == corners
    check_copy(tmp_path)
    again = settings(tmp_path, "embed.input_size=32", f"embed.output={beside.root}")
    assert run("dedup", *own, *again).exit_code == 0
    assert sorted(p.name for p in tmp_path.glob("embed*")) == ["embed", "embed-corners_corners"]


def test_a_cascade_goes_on_past_images_of_which_the_network_has_nothing_to_say(
    photographs, tmp_path, corners
):
    mine = tmp_path / "mine"
    shutil.copytree(photographs, mine)
    for number in range(6):
        dark = np.full((60 + number, 60, 3), 3 + number, np.uint8)
        (mine / f"dark{number}.jpg").write_bytes(jpeg_bytes(dark))
    said = settings(tmp_path, f"embed.model={corners}", "embed.input_size=32")
    said += ["--set", "calibrate.fit_images=70", "--set", "calibrate.calibration_images=66"]
    for words in (["sign", mine], ["calibrate", mine]):
        done = run(*words, *said)
        assert done.exit_code == 0, done.output
    asked = [mine / "000.jpg", mine / "dark0.jpg", "--set", "cascade.stages=[{stage: cnn}]"]
    told = run("cascade", *asked, *said)
    assert "dark0.jpg (no-embedding: the model gives none)" in told.output
    assert results(tmp_path / "cascade")["key"][:2] == ["000.jpg", "copy.jpg"]
    left = pq.read_table(tmp_path / "cascade" / "quarantine.parquet").to_pydict()
    assert sorted(left["key"]) == [f"dark{number}.jpg" for number in range(6)]
    assert set(left["reason"]) == {"no-embedding"}
    assert run("embed", mine, *said).exit_code == 0
    with_vectors = "cascade.stages=[{stage: pca, keep: 0.5}, {stage: cnn}]"
    again = run("cascade", asked[0], "--set", with_vectors, *said)
    assert again.exit_code == 0, again.output
    found = results(tmp_path / "cascade")
    assert len(found["key"]) == 10
    assert not [key for key in found["key"] if key.startswith("dark")]
