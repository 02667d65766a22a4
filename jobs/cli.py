"""The options every job takes."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jobs.config import load_config


def with_config(command: Callable[..., None]) -> Callable[..., None]:
    """Give a click command --config and --set, and pass it the checked Config first."""

    @click.option("--config", "-c", type=click.Path(path_type=Path), help="A YAML file.")
    @click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one setting."
    )
    @functools.wraps(command)
    def run(config: Path | None, overrides: tuple[str, ...], **arguments: Any) -> None:
        command(load_config(config, list(overrides)), **arguments)

    return run
