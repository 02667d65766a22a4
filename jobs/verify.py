"""`sluice verify`: are the bytes of a store those its manifest records?"""

from pathlib import Path

import click

from jobs.console import print_table
from pipeline.core.errors import StoreError
from pipeline.core.makers import made_by
from pipeline.core.store import Store


@click.command()
@click.argument("stores", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(stores: tuple[Path, ...]) -> None:
    """Check every checksum of STORES (folders that a job wrote); exit code 4 if one is wrong."""
    problems, rows, commands = [], [], []
    for root in stores:
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
