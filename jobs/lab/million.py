"""`sluice lab million`: corpus, embed and search at full size, with what each took."""

import click

from jobs.cli import with_config
from jobs.config import Config
from jobs.corpus import make_corpus
from jobs.embed import embed
from jobs.search import search
from jobs.sitting import one_session
from jobs.usage import print_usage


@click.command()
@with_config
def command(config: Config) -> None:
    """Make, embed and search a corpus; break it off at will, the next sitting goes on."""
    with one_session(config.ray):
        make_corpus(config)
        embed(config)
        search(config)
    print_usage((config.corpus.output, config.embed.output, config.search.output))
