"""All commands, under their headings."""

import click

from jobs import __version__
from jobs.cli import Commands
from jobs.config import Config

HEADINGS = {
    "Try it": ("demo", "corpus"),
    "Search": ("embed", "index", "search", "report"),
    "Near-duplicates": ("dedup", "leaks", "apply", "undo"),
    "Without the CNN on all": ("sign", "calibrate", "cascade"),
    "Look after": ("config", "verify", "usage", "models"),
    "Measure": ("lab", "bench"),
}


def _lab_config() -> type[Config]:
    from jobs.lab.config import LabConfig  # here, for the other commands have no use for it

    return LabConfig


@click.group(
    cls=Commands,
    package="jobs",
    kind=lambda: Config,
    headings=HEADINGS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__)
def sluice() -> None:
    """Similar-image search and near-duplicate detection on Ray.

    Exit codes: 0 done, 1 unexpected, 2 wrong configuration or usage, 3 unusable input, 4 store
    damaged, locked or made with other settings.
    """


@sluice.group(cls=Commands, package="jobs.lab", kind=_lab_config)
def lab() -> None:
    """How the work scales: measured, fitted, planned."""


@sluice.group(cls=Commands, package="jobs.bench", kind=_lab_config, prefix="bench_")
def bench() -> None:
    """Benchmarks beside other ways, with recall."""
