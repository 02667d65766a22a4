"""`sluice demo`: what every command of the product shows, on a corpus that it makes."""

import time
from collections.abc import Callable

from jobs import models, verify
from jobs.calibrate import calibrate
from jobs.cascade import cascade
from jobs.config import Config
from jobs.console import console
from jobs.corpus import make_corpus
from jobs.dedup import dedup
from jobs.embed import embed
from jobs.index import index
from jobs.report import report
from jobs.search import search
from jobs.sign import sign
from jobs.sitting import kept_session
from jobs.usage import print_usage
from pipeline.core.folder import Place

STEPS: dict[str, Callable[[Config], object]] = {
    "models": models.command,
    "corpus": make_corpus,
    "embed": embed,
    "search": search,
    "index": index,
    "search --index": lambda config: search(_by_index(config)),
    "sign": sign,
    "calibrate": calibrate,
    "cascade": lambda config: cascade(_with(config, "search", sample_queries=0)),
    "dedup": dedup,
    "report": report,
    "verify": lambda config: verify.command(_with(config, "verify", stores=_stores(config))),
    "usage": lambda config: print_usage(_outputs(config)),
}
BY_WORKERS = ("corpus", "embed", "index", "sign", "calibrate", "dedup")


def command(config: Config) -> None:
    """Make a corpus and show every command on it.

    Finished parts are skipped.
    """
    demo(config)


def demo(config: Config) -> None:
    """Run the jobs one after the other; say which pages to open.

    Where no number of workers is given, they do the longest of them alone, and start once.
    """
    began = time.perf_counter()
    given = "workers" in config.ray.model_fields_set
    alone = config if given else _with(config, "ray", workers=0)
    with kept_session():
        for name, step in STEPS.items():
            console.print(f"\nsluice {name}", style="bold")
            step(config if name in BY_WORKERS else alone)
    console.print(f"\ndemo: {time.perf_counter() - began:.0f} s; open", style="bold")
    for page in _pages(config):
        console.print(f"  {page}", soft_wrap=True)


def _by_index(config: Config) -> Config:
    exact = config.search.output
    return _with(config, "search", index=True, output=exact.with_name(f"{exact.name}-by-index"))


def _with(config: Config, section: str, **settings: object) -> Config:
    part = getattr(config, section).model_copy(update=settings)
    return config.model_copy(update={section: part})


def _stores(config: Config) -> tuple[Place, ...]:
    made = (config.corpus, config.embed, config.index, config.sign, config.dedup)
    return tuple(part.output for part in made)


def _outputs(config: Config) -> tuple[Place, ...]:
    by_index = _by_index(config).search.output
    answers = (config.search.output, by_index, config.cascade.features, config.cascade.output)
    return (*_stores(config), *answers)


def _pages(config: Config) -> tuple[Place, ...]:
    folders = {config.cascade.output: "funnel.html", config.dedup.output: "report.html"}
    return (config.report.output, *(folder / page for folder, page in folders.items()))
