"""`sluice demo`: corpus, embed, search and report, one after the other."""

import time

from cluster.session import ray_session
from jobs.config import Config
from jobs.console import console
from jobs.corpus import make_corpus
from jobs.embed import embed
from jobs.report import report
from jobs.search import search


def command(config: Config) -> None:
    """Make a corpus, embed it, search it, write the page.

    Finished parts are skipped.
    """
    began = time.perf_counter()
    with ray_session(config.ray.workers, config.ray.address):
        make_corpus(config)
        embed(config)
        search(config)
    report(config)
    console.print(f"demo: {time.perf_counter() - began:.0f} s; open {config.report.output}")
