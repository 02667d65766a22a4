"""What "auto" is for a store of embeddings, in this process."""

import numpy as np
import pytest

from pipeline.core.store import Store
from pipeline.embedding import choice, on_openvino
from tests.helpers.command_line import run
from tests.helpers.images import jpeg_bytes
from tests.helpers.networks import FirstToken, write_onnx


@pytest.fixture
def folder(photos, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(choice.LEAST):
        y, x = divmod(number, 8)
        tile = np.ascontiguousarray(photos[number % 3][20 * y : 20 * y + 70, 20 * x : 20 * x + 70])
        (tmp_path / "photos" / f"{number:02}.jpg").write_bytes(jpeg_bytes(tile))
    write_onnx(FirstToken(), tmp_path / "vit.onnx")
    return tmp_path


def embed(folder, *more):
    said = ["--workers", 0, "--model", folder / "vit.onnx", "--output", folder / "e", *more]
    done = run("embed", folder / "photos", *said)
    return done, Store.open(folder / "e")


@pytest.mark.parametrize(("ms", "taken"), [(5.0, "bf16"), (9.9, "f32")])
def test_a_new_store_gets_the_fastest_and_keeps_it(folder, monkeypatch, ms, taken):
    """bf16 stands for itself, computed as f32: this CPU need not have it."""
    usable, run_it = ("f32", "bf16"), on_openvino.openvino_runner
    monkeypatch.setattr(
        on_openvino, "openvino_runner", lambda *network: run_it(*network[:2], "f32")
    )
    monkeypatch.setattr("pipeline.embedding.backends.usable_precisions", lambda *_: usable)
    monkeypatch.setattr(choice, "usable_precisions", lambda *_: usable)
    monkeypatch.setattr(choice, "WORTH", {"bf16": choice.LEAST})
    timed, took = choice._timed, {"f32": 10.0, "bf16": ms}
    monkeypatch.setattr(choice, "_timed", lambda made, n: (timed(made, n)[0], took[made.precision]))
    done, store = embed(folder)
    assert done.exit_code == 0, done.output
    assert store.identity["precision"] == taken
    assert [each.precision for each in choice.kept_tried(store)] == ["f32", "bf16"]
    assert "bf16, tried at first" in done.output
    monkeypatch.setattr(choice, "try_precisions", None)
    assert embed(folder)[0].exit_code == 0
    other = "f32" if taken == "bf16" else "bf16"
    assert "precision" in str(embed(folder, "--precision", other)[0].exception)
    monkeypatch.setattr("jobs.models._models", lambda _: [])
    told = run("models", "--set", f"embed.output={folder}/e").output
    assert f"openvino {taken}" in told
    assert "bf16, tried at first" in told


def test_of_few_images_nothing_is_tried(folder):
    _, store = embed(folder)
    assert store.identity["precision"] == "f32"
    assert choice.kept_tried(store) == []


def test_what_can_run_a_file_of_onnx_is_told_and_that_no_gpu_has(folder, monkeypatch):
    monkeypatch.setattr("jobs.models._models", lambda _: [])
    said = run("models", "--model", folder / "vit.onnx", "--set", f"embed.output={folder}/no")
    told = " ".join(said.output.replace("│", " ").split())
    assert "openvino f32 usable, what auto takes" in told
    assert "untried on any GPU" in told
    assert "torch f32 it cannot run this model" in told
    assert "taken for it" not in told
