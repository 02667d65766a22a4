"""The commands as functions."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.config import Config, Section
from jobs.console import console
from jobs.settings import load_config, setting_fields
from pipeline.core.errors import ConfigError
from sluice.stored import Embeddings, read_store

Paths = str | Path | Sequence[str | Path]
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Duplicates:
    """What a deduplication found: a row a pair, and a row an image of a group."""

    pairs: pa.Table
    groups: pa.Table


def embed(
    source: Paths,
    output: str | Path = "work/embeddings",
    *,
    settings: Settings | None = None,
    **flags: Any,
) -> Embeddings:
    """Embed every image of ``source`` that ``output`` lacks; return all it holds."""
    from jobs.embed import embed as job

    with _quiet():
        job(_config("embed", {"source.url": source, "embed.output": output}, flags, settings))
    return read_store(output)


def search(
    queries: Paths,
    embeddings: str | Path = "work/embeddings",
    *,
    settings: Settings | None = None,
    **flags: Any,
) -> pa.Table:
    """Return the images of ``embeddings`` most similar to each query: a row a result.

    Columns query, rank, id, key, score and the images' own; queries are files, folders, keys or
    ``id:NUMBER``.
    """
    from jobs.search import search as job

    with tempfile.TemporaryDirectory(prefix="sluice-") as folder, _quiet():
        named = {"search.queries": queries, "embed.output": embeddings, "search.output": folder}
        return job(_config("search", named, flags, settings)).results


def dedup(
    folders: Paths = (),
    embeddings: str | Path = "work/embeddings",
    output: str | Path = "work/dedup",
    *,
    settings: Settings | None = None,
    **flags: Any,
) -> Duplicates:
    """Find all near-duplicates among ``embeddings``, ``folders`` embedded into them first."""
    from jobs.dedup import deduplicate

    named = {"dedup.folders": folders, "embed.output": embeddings, "dedup.output": output}
    with _quiet():
        found = deduplicate(_config("dedup", named, flags, settings))
    return Duplicates(found.pairs, found.groups)


def _config(
    section: str, named: Settings, flags: Mapping[str, Any], settings: Settings | None
) -> Config:
    """Return the settings of a command. Raises ConfigError naming every wrong one."""
    part: type[Section] = Config.model_fields[section].annotation  # type: ignore[assignment]
    keys = [*(f"{section}.{name}" for name in part.model_fields), *part.flags]
    known = {key.partition(".")[2]: key for key in keys}
    unknown = sorted(flags.keys() - known.keys())
    if unknown:
        raise ConfigError(
            f"sluice {section} has no flag {', '.join(unknown)}; settings= has others"
        )
    said = {**named, **(settings or {}), **{known[name]: value for name, value in flags.items()}}
    unknown = sorted(said.keys() - setting_fields(Config).keys())
    if unknown:
        raise ConfigError(f"there is no setting {', '.join(unknown)}; sluice config prints them")
    return load_config(None, (), Config, {key: _text(value) for key, value in said.items()})


def _text(value: Any) -> Any:
    """Return a value as the command line says it."""
    if isinstance(value, list | tuple):
        return [str(item) for item in value]
    return value if isinstance(value, bool) else "null" if value is None else str(value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Print no tables for the length of the block; warnings stay."""
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before
