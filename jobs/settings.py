"""Settings from a YAML file, ``--set`` and flags, checked: all errors are told at once."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, overload

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from jobs.config import Config
from pipeline.core.errors import ConfigError
from pipeline.core.objects import ObjectPath

READY = Path(__file__).parent.parent / "configs"
FLAG = "command line"  # where a setting said by a flag comes from
Said = str | bool | Sequence[str]  # one value's text, a switch, a list's texts

C = TypeVar("C", bound=Config)


@overload
def load_config(path: Path | None, overrides: Sequence[str]) -> Config: ...
@overload
def load_config(
    path: Path | None,
    overrides: Sequence[str],
    kind: type[C],
    flags: Mapping[str, Said] | None = None,
) -> C: ...
def load_config(
    path: Path | None,
    overrides: Sequence[str],
    kind: type[Config] = Config,
    flags: Mapping[str, Said] | None = None,
) -> Config:
    """Read the YAML at ``path``, lay ``embed.batch_size=64`` overrides over it, then flags; check.

    Without a path all is as by default; a bare name finds a ready file of configs/. ``kind`` is
    Config, or one with further sections; ``flags`` is what was said of settings by their names.
    Raises ConfigError naming every wrong setting at once.
    """
    settings = _read_yaml(_found(path)) if path else {}
    fields = setting_fields(kind)
    origins = {key: str(path) for key in fields if _holds(settings, key)}
    problems = []
    for key, said, origin in [*_split(overrides), *_by_flags(flags or {})]:
        problem = _override(settings, fields, key, said)
        if problem:
            problems.append(f"{problem} ({origin})")
        origins[key] = origin
    try:
        config = kind.model_validate(settings)
        problems += _of_one_process(config)
    except ValidationError as error:
        problems += [_problem(e, fields, origins) for e in error.errors()]
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigError(f"{len(problems)} wrong setting(s):\n{lines}")
    return config.with_origins(origins)


def _of_one_process(config: Config) -> list[str]:
    """Return a line for each output in memory where several processes are to work."""
    return [
        f"{section}.{name}: {value} is in the memory of one process; say ray.workers=0"
        for section, part in config
        for name, value in part
        if isinstance(value, ObjectPath) and value.root.startswith("memory:") and config.ray.workers
    ]


def setting_fields(kind: type[Config]) -> dict[str, FieldInfo]:
    """Return every setting of ``kind`` by its name, as ``embed.batch_size``."""
    return {
        f"{section}.{name}": field
        for section, part in kind.model_fields.items()
        for name, field in part.annotation.model_fields.items()  # type: ignore[union-attr]
    }


def alternatives(annotation: Any) -> list[Any]:
    """Return the types that a setting annotated so may have: those of a union, or the one."""
    if get_origin(annotation) is Annotated:
        return alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [kind for part in get_args(annotation) for kind in alternatives(part)]
    return [annotation]


def list_item(annotation: Any) -> Any:
    """Return the type of the values in a setting that is a list; None where it is none."""
    lists = (kind for kind in alternatives(annotation) if get_origin(kind) is tuple)
    return next((get_args(kind)[0] for kind in lists), None)


def is_structure(annotation: Any) -> bool:
    """Return whether values of this type have settings of their own, as a stage has."""
    kinds = alternatives(annotation)
    return any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds)


def typed(annotation: Any, said: Said) -> Any:
    """Return what ``said`` means for a setting annotated so; the model checks it.

    Text, paths and numbers are taken as written; for what may be none, nothing and ``null`` are
    none. A list is YAML in brackets, or its one value; a structure is YAML. Raises YAMLError.
    """
    item = list_item(annotation)
    if isinstance(said, bool):
        return said
    if not isinstance(said, str):
        return [typed(item, text) for text in said]
    if said in ("", "null") and NoneType in alternatives(annotation):
        return None
    if item is not None and not said.lstrip().startswith("["):
        return [typed(item, said)]
    if is_structure(annotation if item is None else item):
        return yaml.safe_load(said)
    return said if item is None else yaml.load(said, yaml.BaseLoader)


def _found(path: Path) -> Path:
    ready = READY / path.with_suffix(".yaml")
    return ready if path.name == str(path) and not path.is_file() and ready.exists() else path


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        ready = ", ".join(sorted(file.stem for file in READY.glob("*.yaml")))
        raise ConfigError(
            f"cannot read the configuration {path}: {error.strerror}; ready ones: {ready}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path} must hold sections such as `corpus:` and `embed:`")
    return {section: {} if part is None else part for section, part in settings.items()}


def _holds(settings: Mapping[str, Any], key: str) -> bool:
    section, name = key.split(".")
    part = settings.get(section)
    return isinstance(part, dict) and name in part


def _split(overrides: Iterable[str]) -> Iterable[tuple[str, str | None, str]]:
    for text in overrides:
        key, equals, said = text.partition("=")
        yield key, said if equals else None, "--set"


def _by_flags(flags: Mapping[str, Said]) -> Iterable[tuple[str, Said, str]]:
    for key, said in flags.items():
        yield key, said, FLAG


def _override(
    settings: dict[str, Any], fields: Mapping[str, FieldInfo], key: str, said: Said | None
) -> str | None:
    """Set one setting in place; return what is wrong with it."""
    if said is None:
        return f"{key}: must look like embed.batch_size=64"
    if key not in fields:
        return _unknown(key, fields)
    section, name = key.split(".")
    try:
        value = typed(fields[key].annotation, said)
    except yaml.YAMLError:
        return f"{key}: {said!r} is not YAML"
    part = settings.setdefault(section, {})
    if isinstance(part, dict):
        part[name] = value
    return None


def _problem(
    error: ErrorDetails, fields: Mapping[str, FieldInfo], origins: Mapping[str, str]
) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return _unknown(key, fields)
    origin = origins.get(".".join(str(part) for part in error["loc"][:2]))
    got = [] if isinstance(error["input"], dict) else [f"got {error['input']!r}"]
    told = ", ".join(got + ([origin] if origin else []))
    text = error["msg"].removeprefix("Value error, ")
    if error["type"] in ("string_type", "path_type"):
        text += "; put it in quotes"
    return f"{key}: {text}" + (f" ({told})" if told else "")


def _unknown(key: str, fields: Iterable[str]) -> str:
    names = [*fields, *{name.partition(".")[0] for name in fields}]
    near = get_close_matches(key, names, n=1)
    return f"{key}: there is no such setting" + (f"; did you mean {near[0]}?" if near else "")
