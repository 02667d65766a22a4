"""`sluice verify`: are the bytes of a store those its manifest records?"""

from jobs.config import Config
from jobs.console import print_table
from pipeline.core.errors import ConfigError, StoreError
from pipeline.core.makers import made_by
from pipeline.core.store import Store


def command(config: Config) -> None:
    """Check every checksum of STORES; exit code 4 if one is wrong."""
    if not config.verify.stores:
        raise ConfigError("no stores: name outputs of jobs, as in sluice verify work/embeddings")
    problems, rows, commands = [], [], []
    for root in config.verify.stores:
        store = Store.open(root)
        entries = store.manifest()
        found = list(store.problems())
        problems += found
        commands += [made_by(store.kind)] if found else []
        images = sum(entry.rows for entry in entries)
        rows.append((str(root), store.kind, len(entries), images, len(found)))
    print_table("stores", ("store", "kind", "shards", "rows", "problems"), rows)
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise StoreError(
            f"{len(problems)} damaged file(s):\n{lines}\n"
            f"delete them with their entries and run {' and '.join(dict.fromkeys(commands))} again"
        )
