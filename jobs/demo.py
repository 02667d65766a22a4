"""`sluice demo`: corpus, embed, search and report, one after the other."""

import time

import click

from cluster.session import ray_session
from jobs.cli import with_config
from jobs.config import Config
from jobs.console import console
from jobs.corpus import make_corpus
from jobs.embed import embed
from jobs.report import report
from jobs.search import search


@click.command()
@with_config
def command(config: Config) -> None:
    """Make a corpus, embed it, search it and write the page; finished parts are skipped."""
    began = time.perf_counter()
    with ray_session(config.ray.workers, config.ray.address):
        make_corpus(config)
        embed(config)
        search(config)
    report(config)
    console.print(f"demo: {time.perf_counter() - began:.0f} s; open {config.report.output}")
