"""`sluice verify`: are the bytes of a store those its manifest records?"""

from collections.abc import Sequence

import pyarrow as pa

from jobs.config import Config
from jobs.console import console, print_table
from jobs.sitting import Sitting
from pipeline.core.errors import ConfigError, StoreError
from pipeline.core.makers import made_by
from pipeline.core.mending import forget_damaged
from pipeline.core.spread import ShardPlan
from pipeline.core.store import Store


def command(config: Config) -> None:
    """Check every checksum of STORES; exit code 4 if one is wrong.

    With --mend damaged shards of embeddings and signatures are made again, and no others; those of
    other stores are removed, as is what is damaged beside shards, and the command that makes them
    again is named. What can be made again by none stays.
    """
    if not config.verify.stores:
        raise ConfigError("no stores: name outputs of jobs, as in sluice verify work/embeddings")
    problems, rows, commands = [], [], []
    for root in config.verify.stores:
        store = Store.open(root)
        entries = store.manifest()
        beside, damaged = store.attachments.damaged(), store.damaged()
        if config.verify.mend:
            commands += _mend(config, store, sorted(damaged)) if damaged else []
            removed = forget_damaged(store, beside) if beside else {}
            commands += removed.values()
            found = [line for name, line in beside.items() if name not in removed]
        else:
            found = [*beside.values(), *(line for lines in damaged.values() for line in lines)]
            commands += [made_by(store.kind)] if found else []
        problems += found
        images = sum(entry.rows for entry in entries)
        state = (len(damaged), len(found))
        rows.append((str(root), store.kind, len(entries), images, *state))
    header = ("store", "kind", "shards", "rows", "damaged shards", "problems left")
    print_table("stores", header, rows)
    again = " and ".join(dict.fromkeys(commands))
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise StoreError(f"{len(problems)} damaged file(s):\n{lines}\n{_remedy(config, again)}")
    if commands:
        raise StoreError(f"what was damaged is removed; run {again} again to make that alone")


def _remedy(config: Config, again: str) -> str:
    if not config.verify.mend:
        return f"delete them with their entries and run {again} again, or say --mend"
    made = f"; what else was damaged is removed: run {again} again" if again else ""
    return f"nothing makes these again in their place: do what their lines say{made}"


def _mend(config: Config, store: Store, shards: Sequence[int]) -> list[str]:
    """Make ``shards`` of ``store`` again; return the command that is to be run where none was."""
    from pipeline.images.remake import remake_shards

    if store.kind not in ("embeddings", "signatures"):
        with store.lock():
            store.drop(shards)
        return [made_by(store.kind)]
    with Sitting("mend", 0, config.ray) as sitting:
        remake_shards(store, shards, lambda units: _plan(config, store, units), sitting.spread)
    console.print(f"{len(shards)} shards of {store.root} are made again")
    return []


def _plan(config: Config, store: Store, units: pa.Table) -> ShardPlan:
    from pipeline.images.manifest import stored_source

    source = stored_source(store, config.source.given())
    if store.kind == "signatures":
        from pipeline.cascade.shard_signer import SignPlan

        return SignPlan(source, units, store.root)
    from pipeline.embedding.shard_embedder import EmbedPlan
    from pipeline.embedding.stored import query_encoder

    encoder = query_encoder(store, config.embed.weights)
    return EmbedPlan(source, units, store.root, encoder)
