"""`sluice lab million`: corpus, embed and search at full size, with what each took."""

from jobs.corpus import make_corpus
from jobs.embed import embed
from jobs.lab.config import LabConfig
from jobs.search import search
from jobs.sitting import one_session
from jobs.usage import print_usage


def command(config: LabConfig) -> None:
    """Make, embed and search 1,000,000 images, in as many sittings as it takes.

    Break it off at will, the next sitting goes on.
    """
    with one_session(config.ray):
        make_corpus(config)
        embed(config)
        search(config)
    print_usage((config.corpus.output, config.embed.output, config.search.output))
