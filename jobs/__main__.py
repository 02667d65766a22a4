"""The command line: ``sluice COMMAND``, equal to ``python -m jobs COMMAND``."""

import sys

import click

from jobs import __version__
from jobs.cli import Commands
from jobs.config import Config
from jobs.lab.config import LabConfig
from pipeline.core.errors import SluiceError

HEADINGS = {
    "Try it": ("demo", "corpus"),
    "Search": ("embed", "index", "search", "dedup", "report"),
    "Without the CNN on all": ("sign", "calibrate", "cascade"),
    "Look after": ("config", "verify", "usage", "models"),
    "Measure": ("lab", "bench"),
}


@click.group(
    cls=Commands,
    package="jobs",
    kind=Config,
    headings=HEADINGS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__)
def sluice() -> None:
    """Similar-image search and near-duplicate detection on Ray.

    Exit codes: 0 done, 1 unexpected, 2 wrong configuration or usage, 3 unusable input, 4 store
    damaged, locked or made with other settings.
    """


@sluice.group(cls=Commands, package="jobs.lab", kind=LabConfig)
def lab() -> None:
    """How the work scales: measured, fitted, planned."""


@sluice.group(cls=Commands, package="jobs.bench", kind=LabConfig, prefix="bench_")
def bench() -> None:
    """Benchmarks beside other ways, with recall."""


def main() -> None:
    """Run the command line; a user's mistake is one message on standard error, no traceback."""
    try:
        sluice(prog_name="sluice")
    except SluiceError as error:
        from jobs.console import print_error

        print_error(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
