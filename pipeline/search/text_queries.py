"""Queries in words, by the text half of the model that the images were embedded with."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core.arrays import AnyArray, Vectors
from pipeline.core.errors import ConfigError, InputError
from pipeline.core.store import Store
from pipeline.embedding.encoder import has_direction, unit_rows
from pipeline.embedding.kinds.beside import OPEN_CLIP, beside_or_above, in_a_line
from pipeline.embedding.openvino import openvino_core
from pipeline.embedding.stored import weights_place
from pipeline.images.pictures import TEXT
from pipeline.search.queries import Queries

TEXT_HALF, TOKENIZER = "text_model.onnx", "tokenizer.json"
CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"  # HuggingFace's, beside or above
SIGLIPS_LENGTH = 64
OPEN_CLIPS_LENGTH = 77  # tokens, where its configuration says none


class TextRecipe(BaseModel):
    """The YAML beside a text half."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    length: int | None = Field(None, ge=1)  # tokens that every text is padded or cut to
    pad: int | None = None  # the token it is padded with; none: the tokenizer's
    output: str | None = None  # none: text_embeds, or the only one


def embed_texts(store: Store, texts: Sequence[str], half: Path | None) -> Queries:
    """Return ``texts`` as queries of ``store``, each of unit length; a key is "text:" and the text.

    half: the ONNX file of the text half, with TOKENIZER beside or above it; none: TEXT_HALF beside
    where the images' half lay. Raises ConfigError where tokenizers is not installed, InputError
    where there is no such half, or it gives no vectors of the store's dimensions.
    """
    path = half or _beside_images(store)
    recipe = _recipe(path)
    network = _network(path)
    tokens = [_tokens(path, recipe, network, text) for text in texts]
    vectors = np.concatenate([_vector(path, recipe, network, each) for each, _ in tokens])
    width = store.schema().field("embedding").type.list_size
    if vectors.shape[1] != width:
        raise InputError(
            f"{path} gives {vectors.shape[1]} numbers a text, and the images of {store.root} have "
            f"{width}; name the text half of their model in search.text_model"
        )
    unit = unit_rows(vectors)
    if not has_direction(unit).all():
        raise InputError(f"{path} gives NaN or zeros for a text; look after its weights")
    count = len(texts)
    keys = [f"{TEXT}{text}" for text in texts]
    cut = tuple(
        f"{text} ({left} tokens)" for text, (_, left) in zip(texts, tokens, strict=True) if left
    )
    return Queries(keys, np.zeros(count, np.int64), np.zeros(count, np.bool_), unit, cut=cut)


def _beside_images(store: Store) -> Path:
    place = weights_place(store)
    path = place.with_name(TEXT_HALF) if place else None
    if path is None or not path.exists():
        raise InputError(
            f"{store.identity['model']} of {store.root} has no text half ({path or TEXT_HALF} is "
            "not there); name its ONNX file in search.text_model, or ask by images"
        )
    return path


def _recipe(path: Path) -> TextRecipe:
    mine = path.with_suffix(".yaml")
    try:
        return TextRecipe.model_validate(yaml.safe_load(mine.read_text()) or {})
    except FileNotFoundError:
        return _huggingfaces(path) or _open_clips(path)
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise InputError(f"{mine} is no description of a text half: {in_a_line(error)}") from error


def _huggingfaces(path: Path) -> TextRecipe | None:
    """Return how SigLIP's texts are padded, which it was trained on; None of other models."""
    theirs = beside_or_above(path, CONFIG)
    try:
        said = json.loads(theirs.read_text()) if theirs else {}
        if not str(said.get("model_type", "")).startswith("siglip"):
            return None
        length = said.get("text_config", {}).get("max_position_embeddings", SIGLIPS_LENGTH)
        return TextRecipe(length=length, pad=_pad(path), output="pooler_output")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{theirs} is no description of a model: {in_a_line(error)}") from error


def _pad(path: Path) -> int | None:
    """Return the token that HuggingFace's own tokenizer pads with, None where it does not say."""
    theirs = beside_or_above(path, TOKENIZER_CONFIG)
    token = json.loads(theirs.read_text()).get("pad_token") if theirs else None
    said = token.get("content") if isinstance(token, dict) else token
    found: int | None = _tokenizer(path).token_to_id(said) if said else None
    return found


def _open_clips(path: Path) -> TextRecipe:
    """Return what open_clip wrote beside a text half, if it did."""
    theirs = beside_or_above(path, OPEN_CLIP)
    if theirs is None:
        return TextRecipe()
    try:
        text = json.loads(theirs.read_text())["model_cfg"]["text_cfg"]
        return TextRecipe(length=text.get("context_length", OPEN_CLIPS_LENGTH))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{theirs} is no description of a model: {in_a_line(error)}") from error


def _network(path: Path) -> Any:
    core = openvino_core()
    try:
        return core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1][:200]
        raise InputError(f"OpenVINO cannot read {path} ({reason}); name another") from error


def _tokens(path: Path, recipe: TextRecipe, network: Any, text: str) -> tuple[AnyArray, int]:
    """Return the tokens of a text and their mask, int64 (2, t), and how many were cut off.

    They are padded or cut to the length that is wanted.
    """
    tokenizer = _tokenizer(path)
    ids = next((i for i in network.inputs if "input_ids" in i.names), network.inputs[0])
    fixed = ids.partial_shape[1]
    length = recipe.length or (fixed.get_length() if fixed.is_static else None)
    if length:
        padding = tokenizer.padding or {"pad_id": 0, "pad_token": "[PAD]"}
        pad = padding["pad_id"] if recipe.pad is None else recipe.pad
        tokenizer.enable_truncation(length)
        tokenizer.enable_padding(length=length, pad_id=pad, pad_token=padding["pad_token"])
    else:
        tokenizer.no_padding()
    encoded = tokenizer.encode(text)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    left_out = max(0, len(tokenizer.encode(text).ids) - len(encoded.ids))
    return np.array([encoded.ids, encoded.attention_mask], np.int64), left_out


def _tokenizer(path: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ConfigError("queries in words need tokenizers; pip install 'sluice[text]'") from error
    found = beside_or_above(path, TOKENIZER)
    if found is None:
        raise InputError(f"{TOKENIZER} is not beside {path}; put the model's own there")
    try:
        return Tokenizer.from_file(str(found))
    except Exception as error:  # it raises a bare Exception
        raise InputError(f"{found} is no tokenizer ({error}); fetch it again") from error


def _vector(path: Path, recipe: TextRecipe, network: Any, tokens: AnyArray) -> Vectors:
    rows = {
        "mask": tokens[1:],
        "type": np.zeros_like(tokens[:1]),
        "position": np.arange(tokens.shape[1])[None],
    }
    given = {}
    for each in network.inputs:
        name = next(iter(each.names))
        row = next((row for word, row in rows.items() if word in name), tokens[:1])
        kind = np.int32 if each.element_type.get_type_name() == "i32" else np.int64
        given[name] = row.astype(kind)
    wanted = recipe.output or "text_embeds"
    outputs = [output for output in network.outputs if wanted in output.names]
    if not outputs and (recipe.output or len(network.outputs) != 1):
        names = ", ".join(next(iter(output.names), "?") for output in network.outputs)
        raise InputError(f"{path} has the outputs {names}; write output: NAME beside it")
    try:
        found = network(given)[(outputs or network.outputs)[0]]
    except RuntimeError as error:
        raise InputError(
            f"{path} fails on a text of {tokens.shape[1]} tokens; write length: 77, or what it "
            "takes, into the .yaml beside it"
        ) from error
    if found.ndim != 2:
        raise InputError(f"{path} gives {found.shape} for a text; choose the output of one row")
    vector: Vectors = np.asarray(found, np.float32)
    return vector
