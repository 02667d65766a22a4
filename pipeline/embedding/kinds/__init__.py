"""What embed.model may name: a kind each."""

import re
from pathlib import PurePath
from pkgutil import resolve_name
from typing import Any

from pipeline.core.errors import ConfigError
from pipeline.embedding.kinds.kind import Asked, Found, ModelKind
from pipeline.embedding.models import EMBEDDERS, MODELS
from pipeline.embedding.settings import BackendName, EncoderSettings

_HERE = "pipeline.embedding.kinds"
BUILT_IN = ModelKind(
    " or ".join(EMBEDDERS),
    ("cuda", "openvino", "torch"),
    f"{_HERE}.built_in:find",
    f"{_HERE}.built_in:load",
)
PREFIXES = {
    name: ModelKind(
        f"{name}:NAME",
        ("cuda", "openvino", "torch"),
        f"{_HERE}.of_{name}:find",
        f"{_HERE}.of_{name}:load",
    )
    for name in ("torchvision", "timm")
}
_FILE = (f"{_HERE}.openvino_file:find", f"{_HERE}.openvino_file:load")
_ONNXS: tuple[BackendName, ...] = ("openvino", "onnxruntime", "cuda")
ONNX = ModelKind("FILE.onnx", _ONNXS, *_FILE)
IR = ModelKind("FILE.xml", ("openvino",), *_FILE)
TORCHSCRIPT = ModelKind(
    "FILE.pt (TorchScript)",
    ("cuda", "openvino", "torch"),
    f"{_HERE}.torchscript:find",
    f"{_HERE}.torchscript:load",
)
SUFFIXES = {".onnx": ONNX, ".xml": IR, ".pt": TORCHSCRIPT, ".ts": TORCHSCRIPT}
COPY_MODELS = ("sscd", "sscd_distilled")
COPIES = ModelKind(
    " or ".join(COPY_MODELS),
    _ONNXS,
    f"{_HERE}.copies:find",
    f"{_HERE}.openvino_file:load",
    kept=False,
)
FUNCTION = ModelKind(
    "package.module:function", ("python",), f"{_HERE}.function:find", f"{_HERE}.function:load"
)
EXAMPLES = [k.example for k in (BUILT_IN, COPIES, *PREFIXES.values(), ONNX, TORCHSCRIPT, FUNCTION)]


def kind_of(model: str) -> ModelKind:
    """Return the kind of a model by its name. Raises ConfigError where no kind is named so."""
    prefix, colon, _ = model.partition(":")
    if model in MODELS:
        return BUILT_IN
    if model in COPY_MODELS:
        return COPIES
    if colon and prefix in PREFIXES:
        return PREFIXES[prefix]
    suffix = PurePath(model).suffix.lower()
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    if re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", model):
        return FUNCTION
    raise ConfigError(f"{model} is no model; name {', '.join(EXAMPLES)}")


def find_model(asked: Asked) -> Found:
    """Return the model that the settings ask for. Raises as ``ModelKind.find`` does."""
    found: Found = resolve_name(kind_of(asked.model).find)(asked)
    return found


def load_model(settings: EncoderSettings) -> Any:
    """Return what ``ModelKind.load`` gives."""
    return resolve_name(kind_of(settings.model).load)(settings)
