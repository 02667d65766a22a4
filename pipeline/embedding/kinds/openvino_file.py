"""A network in a file that OpenVINO reads: ONNX, or its own IR."""

import hashlib
import re
from pathlib import Path
from typing import Any

from pipeline.core.errors import InputError
from pipeline.embedding.kinds.beside import described, scaled
from pipeline.embedding.kinds.kind import Asked, Found
from pipeline.embedding.models import Weights, file_weights, own_file
from pipeline.embedding.openvino import openvino_core
from pipeline.embedding.settings import EncoderSettings
from pipeline.embedding.transform import Layout

# ONNX tells the file of tensors that lie beside it as the pair ("location", name).
LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])", re.DOTALL)


def find(asked: Asked) -> Found:
    """Return the file with what it says of its input, and what is described beside it.

    Raises InputError where it cannot be read, or takes other than one batch of images.
    """
    path = own_file(asked.model, asked.weights)
    weights = checked_weights(path, asked.sha256)
    image = the_input(_read(path), path)
    recipe = described(path)
    layout = recipe.layout or _layout(image.partial_shape)
    size = recipe.side(path, asked.input_size, _side(image.partial_shape, layout, path))
    whole = image.element_type.get_type_name() == "u8"
    count = image.partial_shape[0]
    batch = int(count.get_length()) if count.is_static else None
    return Found(path.name, weights, size, scaled(recipe, path, layout, whole), batch=batch)


def load(settings: EncoderSettings) -> Any:
    """Return the ov.Model as the file holds it. Raises InputError."""
    return _read(settings.weights.path)


def the_input(network: Any, path: Path) -> Any:
    """Return the one input of an ov.Model. Raises InputError where it takes no batch of images."""
    if len(network.inputs) != 1:
        names = ", ".join(sorted(name for i in network.inputs for name in i.names))
        raise InputError(f"{path} takes several inputs ({names}); export the half that sees images")
    image = network.inputs[0]
    if image.partial_shape.rank.is_dynamic or len(image.partial_shape) != 4:
        raise InputError(
            f"{path} takes {image.partial_shape}, no batch of images (n, 3, s, s); export another"
        )
    return image


def _read(path: Path) -> Any:
    try:
        return openvino_core().read_model(path)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1][:200] if lines else "it is damaged"
        raise InputError(f"OpenVINO cannot read {path} ({reason}); export it again") from error


def _layout(shape: Any) -> Layout:
    last = shape[3]
    return "NHWC" if last.is_static and last.get_length() == 3 else "NCHW"


def _side(shape: Any, layout: Layout, path: Path) -> int | None:
    """Return the side that the file fixes, None where it takes any.

    Raises InputError where it takes no squares, or no three colours.
    """
    places, colours = ((2, 3), shape[1]) if layout == "NCHW" else ((1, 2), shape[3])
    if colours.is_static and colours.get_length() != 3:
        raise InputError(
            f"{path} takes {colours} colours ({shape}), and images have three; export one that "
            "takes those"
        )
    sides = {int(shape[place].get_length()) for place in places if shape[place].is_static}
    if len(sides) > 1:
        raise InputError(f"{path} takes {shape}, and images are made squares; export another")
    return sides.pop() if sides else None


def checked_weights(path: Path, sha256: str | None) -> Weights:
    """Return the file and a checksum of all that it is: tensors may lie in files beside it.

    Raises InputError where that is not ``sha256`` (hexadecimal), or a file lacks.
    """
    whole = file_weights(path)
    others = [path.with_suffix(".bin")] if path.suffix == ".xml" else _located(path)
    sums = [whole.sha256, *(file_weights(other).sha256 for other in others)]
    found = hashlib.sha256("".join(sums).encode()).hexdigest() if others else whole.sha256
    if sha256 and found != sha256:
        raise InputError(f"{path} has SHA-256 {found}, not {sha256}; fetch the weights again")
    return Weights(path, found)


def _located(path: Path) -> list[Path]:
    """Return the files that hold tensors of an ONNX file. Raises InputError where one lacks."""
    data = path.read_bytes()
    names = {data[m.end() : m.end() + m[1][0]] for m in LOCATION.finditer(data)}
    told = sorted(name.decode(errors="replace") for name in names)
    missing = [name for name in told if not (path.parent / name).is_file()]
    if missing:
        raise InputError(f"{path} keeps tensors in {missing[0]}; put that file beside it")
    return [path.parent / name for name in told]
