import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.core.errors import ConfigError, InputError
from pipeline.core.store import Store
from pipeline.core.tables import embedding_column, embedding_matrix
from pipeline.search.text_queries import embed_texts
from tests.helpers.command_line import run
from tests.helpers.networks import FirstToken, Words, write_onnx, write_text_half

WORDS = ("blue", "cat", "cup")


@pytest.fixture(scope="module")
def pair(tmp_path_factory, jpegs):
    """A folder with both halves, and photos embedded by one of them."""
    folder = tmp_path_factory.mktemp("pair")
    write_onnx(FirstToken(), folder / "vision_model.onnx")
    write_text_half(folder, WORDS)
    (folder / "photos").mkdir()
    for number, data in enumerate(jpegs):
        (folder / "photos" / f"{number}.jpg").write_bytes(data)
    said = ("--output", folder / "e", "--model", folder / "vision_model.onnx", "--workers", 0)
    assert run("embed", folder / "photos", *said).exit_code == 0
    return folder


def spoken(*tokens):
    numbers = torch.tensor([tokens])
    with torch.inference_mode():
        vector = Words()(numbers, torch.ones_like(numbers), torch.arange(len(tokens))[None]).numpy()
    return vector / np.linalg.norm(vector, axis=1, keepdims=True)


def search(pair, tmp_path, *arguments):
    said = ("--set", f"embed.output={pair}/e", "--output", tmp_path / "s", "--workers", 0)
    done = run("search", *arguments, *said)
    assert done.exit_code == 0, done.output + repr(done.exception)
    return pq.read_table(tmp_path / "s" / "results.parquet").to_pydict()


def test_images_are_found_by_words(pair, tmp_path):
    table = Store.open(pair / "e").read(0)
    scores = dict(
        zip(
            table["key"].to_pylist(),
            embedding_matrix(table["embedding"]) @ spoken(2, 3)[0],
            strict=True,
        )
    )
    best = sorted(scores, key=scores.get, reverse=True)[:3]
    found = search(pair, tmp_path, "--text", "blue cat", "--k", 3)
    assert found["query"] == ["text:blue cat"] * 3
    assert found["key"] == best
    assert found["score"] == pytest.approx([scores[key] for key in best], abs=1e-6)
    search(pair, tmp_path, "--text", "blue <cat>", "--open")
    page = (tmp_path / "s" / "results.parquet.html").read_text()
    assert "blue &lt;cat&gt;" in page
    mixed = search(pair, tmp_path, "3.jpg", "--text", "blue cat", "--text", "cup", "--k", 3)
    assert mixed["query"] == ["3.jpg"] * 3 + ["text:blue cat"] * 3 + ["text:cup"] * 3
    assert mixed["key"][3:6] == best
    said = ("--set", f"embed.output={pair}/e", "--set", f"index.output={tmp_path}/i")
    assert run("index", *said, "--workers", 0).exit_code == 0
    indexed = ("--index", "--set", f"index.output={tmp_path}/i")
    assert search(pair, tmp_path, "--text", "blue cat", "--k", 3, *indexed) == found


def test_a_text_is_padded_or_cut_to_a_fixed_length(pair, tmp_path):
    store = Store.open(pair / "e")
    half = write_text_half(tmp_path, WORDS, length=2)
    texts = ["blue", "blue cat cup"]
    found = embed_texts(store, texts, half)
    assert found.keys == ["text:blue", "text:blue cat cup"]
    assert found.cut == ("blue cat cup (1 tokens)",)
    assert found.vectors == pytest.approx(np.concatenate([spoken(2), spoken(2, 3)]), abs=1e-6)
    half.with_suffix(".yaml").write_text("length: 1\npad: 1\n")
    with pytest.raises(InputError, match="fails on a text of 1 tokens; write length: 77"):
        embed_texts(store, texts, half)


def test_the_length_that_open_clip_wrote_beside_a_text_half_is_read(pair, tmp_path):
    half = write_text_half(tmp_path, WORDS, length=2)
    said = {"model_cfg": {"text_cfg": {"context_length": 3}}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match="fails on a text of 3 tokens"):
        embed_texts(Store.open(pair / "e"), ["blue"], half)


def test_siglips_texts_are_padded_as_it_was_trained(pair, tmp_path):
    """With [UNK] (1), as its tokenizer's own settings say, and no attention to what is padding."""
    named = {"input_names": ["input_ids"], "output_names": ["last_hidden_state", "pooler_output"]}
    (tmp_path / "onnx").mkdir()
    half = write_text_half(tmp_path / "onnx", WORDS)
    torch.onnx.export(
        Siglip(),
        (torch.zeros(1, 4, dtype=torch.int64),),
        str(half),
        dynamo=False,
        dynamic_axes={"input_ids": {1: "t"}},
        **named,
    )
    said = {"model_type": "siglip", "text_config": {"max_position_embeddings": 3}}
    (tmp_path / "config.json").write_text(json.dumps(said))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[UNK]"}))
    found = embed_texts(Store.open(pair / "e"), ["blue"], half)
    assert found.vectors == pytest.approx(spoken(2, 1, 1), abs=1e-6)


class Siglip(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words = Words()

    def forward(self, input_ids):
        tokens = input_ids[:, :, None].float().expand(-1, -1, 24)
        places = torch.arange(input_ids.shape[1])[None]
        return tokens, self.words(input_ids, torch.ones_like(input_ids), places)


def test_what_a_text_half_lacks_is_told(pair, tmp_path, monkeypatch):
    store = Store.open(pair / "e")
    half = write_onnx(FirstToken(), tmp_path / "images.onnx", beside="size: 3\n")
    with pytest.raises(InputError, match=r"images.yaml is no description .*size: Extra inputs"):
        embed_texts(store, ["cat"], half)
    half.with_suffix(".yaml").unlink()
    with pytest.raises(InputError, match=r"tokenizer.json is not beside .*images.onnx"):
        embed_texts(store, ["cat"], half)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": 3}))
    with pytest.raises(InputError, match=r"tokenizer.json is no tokenizer"):
        embed_texts(store, ["cat"], half)
    (pair / "text_model.onnx").rename(pair / "away.onnx")
    with pytest.raises(InputError, match=r"vision_model.onnx of .* has no text half"):
        embed_texts(store, ["cat"], None)
    (pair / "away.onnx").rename(pair / "text_model.onnx")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match=r"pip install 'sluice\[text\]'"):
        embed_texts(store, ["cat"], None)


def test_a_text_half_of_another_model_is_told(tmp_path):
    vectors = np.eye(8, dtype=np.float32)
    store = Store.create(tmp_path / "narrow", "embeddings", {"model": "efficientnet_lite0"})
    store.write_shard(0, pa.table({"id": range(8), "embedding": embedding_column(vectors)}))
    store.finish(1)
    half = write_text_half(tmp_path, WORDS)
    with pytest.raises(InputError, match=r"gives 24 numbers a text, and the images of .* have 8"):
        embed_texts(store, ["cat"], half)
