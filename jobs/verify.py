"""`sluice verify`: are the bytes of a store those its manifest records?"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatch

import pyarrow as pa

from jobs.config import Config
from jobs.console import console, print_table
from jobs.sitting import Sitting
from pipeline.core.errors import ConfigError, SluiceError, StoreError
from pipeline.core.makers import made_by
from pipeline.core.mending import forget_damaged, put_back
from pipeline.core.spread import ShardPlan
from pipeline.core.store import Store


def command(config: Config) -> None:
    """Check every checksum of STORES; exit code 4 if one is wrong.

    With --mend damaged shards of embeddings and signatures are made again, and no others, and so
    are a network and the list of a source, where they come out as they were; shards of other stores
    are removed, as is what else is damaged beside shards, and the command that makes them again is
    named. What can be made again by none stays.
    """
    if not config.verify.stores:
        raise ConfigError("no stores: name outputs of jobs, as in sluice verify work/embeddings")
    problems, rows, commands = [], [], []
    for root in config.verify.stores:
        store = Store.open(root)
        entries = store.manifest()
        beside, damaged = _beside(store), store.damaged()
        if config.verify.mend:
            beside = _put_back(config, store, beside)
            stuck = damaged if "source.parquet" in beside else {}  # which tells of what images
            commands += _mend(config, store, sorted(damaged)) if damaged and not stuck else []
            removed = forget_damaged(store, beside) if beside else {}
            commands += removed.values()
            found = [line for name, line in beside.items() if name not in removed]
            found += [line for lines in stuck.values() for line in lines]
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


def _beside(store: Store) -> dict[str, str]:
    """Return a line for each file beside the shards that is damaged, or lost with its record."""
    from pipeline.images.manifest import MANIFEST, lost_manifest

    found = store.attachments.damaged()
    with suppress(StoreError):  # of a shard, which has its own line
        if store.kind in MADE_OF_IMAGES and lost_manifest(store):
            again = f"delete {store.root} and run {made_by(store.kind)} again"
            found[MANIFEST] = f"{store.attachments.folder / MANIFEST} is lost; {again}"
    return found


def _put_back(config: Config, store: Store, beside: Mapping[str, str]) -> dict[str, str]:
    """Make a network and the source's list again, as they were; return the lines of the rest."""
    left = dict(beside)
    for name in beside if store.kind in MADE_OF_IMAGES else ():
        again = next((way for like, way in AGAIN.items() if fnmatch(name, like)), None)
        if again is None:
            continue
        try:
            reason = again(config, store, name)
        except SluiceError as error:
            reason = str(error)
        if reason:
            left[name] = f"{left[name].rpartition('; ')[0]}; {reason}"
        else:
            del left[name]
            console.print(f"{store.attachments.folder / name} is made again")
    return left


def _network_again(config: Config, store: Store, name: str) -> str:
    """Put the network back; return why that cannot be, nothing where it was done."""
    from pipeline.embedding.stored import network_again

    if put_back(store, name, network_again(store, config.embed.weights).get(name, b"")):
        return ""
    return (
        "this machine converts another network than the one it was made with; mend it where it was "
        "embedded, or embed into another output"
    )


def _list_again(config: Config, store: Store, name: str) -> str:
    """Put the source's list back; return why that cannot be, nothing where it was done."""
    from pipeline.images.remake import manifests_again, remembered_source_of
    from pipeline.images.source import list_source

    asked = config.source.asked()
    if not config.source.given():
        source = remembered_source_of(store)
        if source is None:
            return "it no longer tells what it was made from: name that in source.url"
        told = {"urls": source.urls, "kind": source.kind, "column": source.column}
        asked |= told | {"max_pixels": source.max_pixels}
    listed = list_source(**asked)
    made = manifests_again(store, listed, config.shard_rows())
    if any(put_back(store, name, data) for data in made):
        return ""
    return (
        f"{listed.source.url} is no longer what it was made from; name what it was in source.url, "
        f"and its source.shard_rows, or delete {store.root} and run {made_by(store.kind)} again, "
        "for its shards hang on this file"
    )


MADE_OF_IMAGES = ("embeddings", "signatures")
AGAIN = {"networks/*": _network_again, "source.parquet": _list_again}


def _remedy(config: Config, again: str) -> str:
    if not config.verify.mend:
        return f"delete them with their entries and run {again} again, or say --mend"
    made = f"; what else was damaged is removed: run {again} again" if again else ""
    return f"nothing makes these again in their place: do what their lines say{made}"


def _mend(config: Config, store: Store, shards: Sequence[int]) -> list[str]:
    """Make ``shards`` of ``store`` again; return the command that is to be run where none was."""
    from pipeline.images.remake import remake_shards

    if store.kind not in MADE_OF_IMAGES:
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
