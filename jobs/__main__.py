"""The command line: ``sluice JOB``, equal to ``python -m jobs JOB``."""

import importlib
import sys

import click

from jobs.console import errors
from pipeline.core.errors import SluiceError

JOBS = {
    "corpus": "make a corpus of distinct JPEGs with known copies",
    "embed": "embed every image of a source with a CNN",
    "index": "sort the embeddings into the buckets of a grid, for quick searches",
    "search": "find the most similar images of each query",
    "sign": "write a cheap signature of every image",
    "calibrate": "fit the cheap filters and gather the evidence for their recall",
    "cascade": "find the most similar images with the CNN run on few",
    "dedup": "find all near-duplicate pairs, cluster them, say whom to keep",
    "report": "write one HTML page over the results",
    "demo": "corpus, embed, search and report in one go",
    "growth": "measure how the time of pairs, scans and look-ups grows with the images",
    "verify": "check every checksum of stores",
    "models": "list the models and backends that can run here",
    "usage": "print the time, disk and memory that outputs took",
    "million": "corpus, embed and search a million images, in as many sittings as it takes",
    "scale": "time the same work over a list of worker counts, and fit the laws of scaling",
    "plan": "say what workers, time and money a number of images needs (extrapolated)",
    "claims": "check the guide's numbers: their own arithmetic, and this machine",
    "lab": "write one page over the scaling runs, with sliders",
    "bench-merge": "time the driver's merge beside FAISS's and a tree of merges",
    "bench-nearest": "time finding the one closest point, by worker count",
    "bench-embed": "time embedding against the hardware's limit and common ways",
    "bench-pixels": "time making, decoding and signing images, each beside what bounds it",
    "bench-precision": "time backends and precisions, and measure their drift",
    "bench-filters": "recall against keep rate of every cheap filter",
    "bench-promise": "how often a promised recall is broken, over many calibrations",
    "bench-cascade": "time the cascade beside brute force, with its recall",
    "bench-search": "recall and time of our grids beside plain FAISS, on synthetic vectors",
    "bench-dedup": "find near-duplicates our way and by imagededup, on the same photos",
    "million-dedup": "join 1,000,000 synthetic vectors in one sitting",
}


LAB = {"growth", "million", "million-dedup", "scale", "plan", "claims"}


class JobGroup(click.Group):
    """Imports a job only when it is called, so that ``--help`` does not load torch and Ray."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(JOBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in JOBS:
            return None
        command: click.Command = importlib.import_module(_module(cmd_name)).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Jobs"):
            formatter.write_dl(list(JOBS.items()))


def _module(name: str) -> str:
    if name == "lab":
        return "jobs.lab.page"
    file = name.removeprefix("bench-").replace("-", "_")
    if name.startswith("bench-"):
        return f"jobs.bench.{file}"
    return f"jobs.lab.{file}" if name in LAB else f"jobs.{file}"


@click.group(cls=JobGroup)
def sluice() -> None:
    """Similar-image search and near-duplicate detection on Ray.

    Exit codes: 0 done, 1 unexpected, 2 wrong configuration or usage, 3 unusable input, 4 store
    damaged, locked or made with other settings.
    """


def main() -> None:
    """Run the command line; a user's mistake is one message on standard error, no traceback."""
    try:
        sluice(prog_name="sluice")
    except SluiceError as error:
        errors.print(f"[bold red]error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
