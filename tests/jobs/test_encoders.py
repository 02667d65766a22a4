"""Everything downstream of the encoder, with two that are unlike that of all other tests."""

import os
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


def _vit(folder):
    return [str(write_onnx(FirstToken(), folder / "vit.onnx"))], 24


def _resnet(folder):
    torch.manual_seed(0)
    torch.save(resnet18(weights=None).state_dict(), folder / "resnet18.pth")
    small = ["embed.input_size=48", f"embed.weights={folder}/resnet18.pth"]
    return ["torchvision:resnet18", *small], 512


@pytest.fixture(scope="module")
def photographs(photos, tmp_path_factory):
    """IMAGES crops of photographs, the first two alike."""
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


@pytest.mark.parametrize("encoder", [_vit, _resnet])
def test_every_command_fits_itself_to_the_encoder(photographs, tmp_path, encoder):
    named, dimensions = encoder(tmp_path)
    names = ("embeddings", "index", "search", "dedup", "signatures", "cascade")
    sections = ("embed", "index", "search", "dedup", "sign", "cascade")
    folders = zip(sections, names, strict=True)
    settings = [f"{section}.output={tmp_path}/{name}" for section, name in folders]
    settings += ["ray.workers=0", "embed.precision=f32", f"cascade.features={tmp_path}/features"]
    settings += [f"embed.model={named[0]}", *named[1:], "calibrate.fit_images=66"]
    said = [word for setting in settings for word in ("--set", setting)]

    def sluice(*arguments):
        done = run(*arguments, *said)
        assert done.exit_code == 0, done.output + repr(done.exception)
        return " ".join(done.output.split())

    sluice("embed", photographs)
    store = Store.open(tmp_path / "embeddings", "embeddings")
    vectors = embedding_matrix(store.read(0)["embedding"])
    assert vectors.shape[1] == dimensions
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    exact = sluice("search", photographs / "000.jpg") and _results(tmp_path / "search")
    assert exact["key"][:2] == ["000.jpg", "copy.jpg"]
    sluice("index")
    sluice("search", photographs / "000.jpg", "--index")
    assert _results(tmp_path / "search") == exact
    sluice("dedup")
    pairs = Store.open(tmp_path / "dedup", "pairs")
    assert 0.85 <= pairs.identity["similarity"] < 1
    found = pq.read_table(tmp_path / "dedup" / "attached" / "pairs.parquet")
    assert ("000.jpg", "copy.jpg") in {
        tuple(sorted(pair.values())) for pair in found.select(["a_key", "b_key"]).to_pylist()
    }
    sluice("sign", photographs)
    sluice("calibrate", photographs)
    told = sluice("cascade", photographs / "000.jpg", "--recall", "0.5")
    assert "recall of semantic neighbours against brute force: at least 0." in told
    assert _results(tmp_path / "cascade")["key"][0] == "000.jpg"


def _results(folder):
    return pq.read_table(folder / "results.parquet", columns=["key", "score"]).to_pydict()


def test_no_command_over_onnx_imports_torch(photographs, tmp_path):
    model = write_onnx(FirstToken(), tmp_path / "vit.onnx")
    outputs = ["embed.output=e", "index.output=i", "search.output=s", "dedup.output=d"]
    said = [word for setting in [*outputs, "ray.workers=0"] for word in ("--set", setting)]
    program = f"""
import sys
from jobs.commands import sluice
for arguments in (
    ["embed", {str(photographs)!r}, "--model", {str(model)!r}],
    ["search", {str(photographs / "000.jpg")!r}],
    ["index"],
    ["search", {str(photographs / "000.jpg")!r}, "--index"],
    ["dedup"],
):
    sluice([*arguments, *{said!r}], standalone_mode=False)
    assert "torch" not in sys.modules, arguments
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )
    assert done.returncode == 0, done.stderr
