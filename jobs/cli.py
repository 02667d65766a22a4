"""The options every job takes."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jobs.config import Config, load_config

Command = Callable[..., None]


def with_config_of(kind: type[Config]) -> Callable[[Command], Command]:
    """Give a click command --config and --set, and pass it the checked config of ``kind`` first."""

    def decorated(command: Command) -> Command:
        @click.option("--config", "-c", type=click.Path(path_type=Path), help="A YAML file.")
        @click.option(
            "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one setting."
        )
        @functools.wraps(command)
        def run(config: Path | None, overrides: tuple[str, ...], **arguments: Any) -> None:
            command(load_config(config, list(overrides), kind), **arguments)

        return run

    return decorated


with_config = with_config_of(Config)
