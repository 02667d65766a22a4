"""`sluice search`: the k most similar images of each query, exactly or by an index."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

from cluster.gpu_call import call_near_gpu
from cluster.session import ray_session
from cluster.shard_map import map_shards
from jobs.cli import with_config
from jobs.config import Config, EmbedConfig
from jobs.console import console, print_table, track
from pipeline.core.errors import ConfigError, InputError, StoreError
from pipeline.core.files import write_atomically
from pipeline.core.run_record import RunRecord
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.embedding.models import find_weights
from pipeline.embedding.settings import EncoderSettings
from pipeline.embedding.shard_embedder import embedding_identity
from pipeline.embedding.stored import stored_encoder
from pipeline.index.grid import Grid
from pipeline.index.probes import (
    Probing,
    choose_probes,
    probe_recall,
    probing_loss,
    read_calibration,
)
from pipeline.index.shard_prober import ProbePlan
from pipeline.search.answers import known_copies, recall_table, result_table, without_self
from pipeline.search.copy_recall import CopyRecall
from pipeline.search.exact_topk import ShardTopK
from pipeline.search.merge import Merged, search_certified
from pipeline.search.queries import (
    Queries,
    embed_files,
    sample_ids,
    split_queries,
    stored_queries,
)
from pipeline.search.shard_searcher import SearchPlan, read_part

SHOWN = 5
QUERIES_AT_ONCE = 1024


@click.command()
@click.argument("queries", nargs=-1)
@click.option("--index", is_flag=True, help="Probe the index at index.output, not every image.")
@with_config
def command(config: Config, queries: tuple[str, ...], index: bool) -> None:
    """Find the images most similar to QUERIES: image files, folders, or id:NUMBER."""
    wanted: dict[str, Any] = {"queries": queries} if queries else {}
    wanted |= {"index": True} if index else {}
    search(config.model_copy(update={"search": config.search.model_copy(update=wanted)}))


def search(config: Config) -> None:
    """Run the job: gather the queries, search every shard, merge, write the results."""
    refuse_no_queries(config)
    store = Store.open(config.embed.output.resolve(), "embeddings")
    images = store.images()
    record = RunRecord("search", images, config.ray.workers)
    probing = open_probing(config, store) if config.search.index else None
    with record.stage("queries"):
        queries = gather_queries(config, store)
    with ray_session(config.ray.workers, config.ray.address):
        merged = search_shards(config, store, queries, record, probing)
    ids, scores = without_self(queries.ids, merged, config.search.k)
    with record.stage("write"):
        output = config.search.output.resolve()
        results = result_table(store, queries, ids, scores)
        results = results.replace_schema_metadata({"loss": probing_loss(probing)})
        recall = known_copies(store, queries.ids, ids)
        write_atomically(output / "results.parquet", parquet_bytes(results))
        write_atomically(output / "recall.parquet", parquet_bytes(recall_table(recall)))
    record.save(output)
    _print_results(results, recall, output, len(queries.ids), images)
    console.print(probing_loss(probing))
    console.print(f"all results: {output}/results.parquet")


def refuse_no_queries(config: Config) -> None:
    """Raise ConfigError where the configuration names no queries."""
    if not config.search.queries and not config.search.sample_queries:
        raise ConfigError(
            "no queries: name image files, folders or id:NUMBER on the command line or in "
            "search.queries, or set search.sample_queries"
        )


def gather_queries(config: Config, store: Store) -> Queries:
    """Return the queries of the config in its order: ids, files, then the sampled ones."""
    ids, paths = split_queries(config.search.queries)
    ids = list(dict.fromkeys(ids + sample_ids(store, config.search.sample_queries)))
    parts = [stored_queries(store, ids)] if ids else []
    if paths:
        encoder = stored_encoder(store, stored_settings(config.embed, store))
        settings = encoder.settings

        def encode(squares: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return call_near_gpu(
                settings.backend, lambda: encoder.start()(squares), config.ray.address
            )

        parts.insert(0, embed_files(paths, encode, settings.input_size))
    if not parts:
        raise InputError("the query folders hold no images; name others")
    return Queries(
        [key for part in parts for key in part.keys],
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.vectors for part in parts]),
    )


def stored_settings(embed: EmbedConfig, store: Store) -> EncoderSettings:
    """Return the settings the store was made with, so that queries are embedded alike.

    Raises StoreError where the decoder or resizer installed here is another.
    """
    made = store.identity
    model = made["model"]
    weights = find_weights(model, embed.weights, made["weights_sha256"])
    settings = EncoderSettings(
        model, weights, made["backend"], made["precision"], made["input_size"], made["batch_size"]
    )
    Store.create(store.root, "embeddings", embedding_identity(settings))
    return settings


def open_probing(config: Config, store: Store) -> Probing:
    """Open the index of ``store`` and choose the probes for search.recall.

    Raises StoreError where the index is of other embeddings or lacks some, ConfigError where its
    recall at search.k is not known.
    """
    root = config.index.output.resolve()
    index = Store.open(root, "index")
    made, there = index.manifest(), store.manifest()
    if (index.identity["embeddings"], index.identity["first_shard"]) != (
        store.identity,
        there[0].checksum,
    ):
        raise StoreError(f"{root} is the index of other embeddings; mend index.output")
    if [entry.rows for entry in made] != [entry.rows for entry in there]:
        raise StoreError(f"{root} does not cover all of {store.root}; run sluice index --add")
    known = index.identity["calibration"][1]
    if config.search.k > known:
        raise ConfigError(
            f"search.k is {config.search.k}, but the index knows its recall up to {known}; "
            "make another index with a larger index.calibration_k"
        )
    choosing, measuring = (places[:, : config.search.k] for places in read_calibration(index))
    grid, confidence = Grid.required(index), config.search.confidence
    probes = choose_probes(choosing, grid.buckets, config.search.recall, confidence)
    return Probing(index, grid, probe_recall(measuring, np.array([probes]), confidence)[0])


def search_shards(
    config: Config,
    store: Store,
    queries: Queries,
    record: RunRecord,
    probing: Probing | None = None,
) -> Merged:
    """Return the certified top k + 1 of every query: one of them may be the query itself.

    With ``probing`` it is the top k + 1 of what is in the probed buckets.
    """
    shards = [entry.shard for entry in store.manifest()]

    def ask(rows: np.ndarray[Any, Any], depth: int) -> Iterator[ShardTopK]:
        vectors = queries.vectors[rows]
        plan: SearchPlan | ProbePlan = SearchPlan(store.root, vectors, depth)
        if probing is not None:
            plan = probing.plan(store.root, vectors, depth)
        results = map_shards(plan.start, shards, config.ray.workers)
        with record.pool() as stats:
            for table in track(results, f"search {len(rows)} queries", record.images, "img"):
                stats.append(table)
                with record.stage("merge on the driver, meanwhile"):
                    yield read_part(table)

    parts = []
    for start in range(0, len(queries.ids), QUERIES_AT_ONCE):
        stop = min(start + QUERIES_AT_ONCE, len(queries.ids))
        chosen = np.arange(start, stop)

        def ask_chosen(
            rows: np.ndarray[Any, Any], depth: int, chosen: np.ndarray[Any, Any] = chosen
        ) -> Iterator[ShardTopK]:
            return ask(chosen[rows], depth)

        parts.append(search_certified(ask_chosen, stop - start, config.search.k + 1))
    return Merged(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.certified for part in parts]),
    )


def _print_results(
    results: pa.Table, recall: list[CopyRecall], output: Path, queries: int, images: int
) -> None:
    first = results.filter(pa.compute.is_in(results["query"], results["query"].unique()[:SHOWN]))
    columns = ("query", "rank", "id", "key", "score")
    rows = zip(*(first[name].to_pylist() for name in columns), strict=True)
    print_table(f"the first {SHOWN} of {queries} queries, {images} images", columns, rows)
    if recall:
        lines = [(r.transform, r.found, r.known, r.recall, *r.interval()) for r in recall]
        header = ("copies by", "found", "known", f"recall@{recall[0].k}", "95 % low", "high")
        print_table("known copies", header, lines)
