"""The settings of a small collection on the main way: corpus, embed, search, report."""

from jobs.settings import load_config


def config(root, *overrides):
    small = (
        "corpus.images=96",
        "corpus.size=64",
        "corpus.shard_rows=16",
        f"corpus.output={root}/corpus",
        f"source.url={root}/corpus",
        "source.shard_rows=32",
        "embed.input_size=64",
        "embed.batch_size=8",
        f"embed.output={root}/embeddings",
        "search.queries=['id:0']",
        "search.sample_queries=12",
        f"search.output={root}/search",
        f"report.growth={root}/growth",
        f"report.output={root}/report.html",
    )
    return load_config(None, [*small, *overrides])
