"""`sluice dedup`: every pair of near-duplicates, their clusters, and the one to keep of each.

Of images with the same vector the lowest id stands for all: attached/pairs.parquet (PAIRS) holds
the pairs of those that stand for their group, and each further image beside the one that stands
for it. Everything counted is counted over all pairs of images.
"""

import io
from dataclasses import dataclass
from math import ceil, isqrt
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.session import ray_session
from cluster.shard_map import map_shards
from jobs.config import Config
from jobs.console import console, print_table, track
from jobs.report import read_pictures
from pipeline.core.errors import StoreError
from pipeline.core.files import write_atomically
from pipeline.core.run_record import RunRecord
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.dedup.clusters import cluster_pairs
from pipeline.dedup.copy_quality import copies_by_transform, copy_quality
from pipeline.dedup.join_shard import JoinPlan, PartnersPlan, SortPlan
from pipeline.dedup.pair_groups import PAIRS, PairGroups, gather_groups, pair_groups
from pipeline.dedup.pair_recall import PairRecall, pair_recall, true_pairs
from pipeline.dedup.steps import connected_groups, slider_steps
from pipeline.images.manifest import has_manifest
from pipeline.index.grid import Grid, whole_space
from pipeline.index.ivf import train_ivf
from pipeline.index.vector_sample import sample_vectors
from pipeline.pages.clusters import ClusterPageData, render_clusters
from pipeline.search.queries import stored_queries

GENERATIONS = "generations.npy"
LARGEST_SHOWN = 24
RESULTS = ("pairs.parquet", "clusters.parquet")


def command(config: Config) -> None:
    """Find all near-duplicates, and say whom to keep.

    Finished parts are skipped.
    """
    if config.dedup.add and not (config.dedup.output / "store.json").exists():
        raise StoreError(f"{config.dedup.output} holds no pairs to add to; leave --add out")
    dedup(config)


@dataclass(frozen=True)
class Deduplicated:
    """What the job found."""

    pairs: pa.Table  # PAIRS: of images that stand for their group, and who is in it
    groups: PairGroups  # the same pairs, to count and to cluster
    clusters: pa.Table  # CLUSTERS
    images: pa.Table  # id, pixels and, where known, scene and transform
    recall: PairRecall | None  # None where all pairs were compared
    grid: Grid


def dedup(config: Config) -> Deduplicated:
    """Run the job: sort the shards by partition, join the partitions, cluster, measure."""
    source = Store.open(config.embed.output.resolve(), "embeddings")
    root = config.dedup.output.resolve()
    identity = dedup_identity(config, source)
    store = Store.create(root, "pairs", identity)
    parts = Store.create(root / "partitions", "partitions", identity)
    record = RunRecord("dedup", source.images(), config.ray.workers)
    with store.lock(), ray_session(config.ray.workers, config.ray.address):
        try:
            grid, partitions = _grid(config, store, source, record)
            ends = _generations(store, len(source.manifest()))
            _sort(config, source, parts, grid, partitions, record)
            _join(config, parts, store, grid, partitions, ends, record)
            with record.stage("cluster"):
                images = read_images(source)
                pairs = gather_pairs(store, images)
                groups = pair_groups(pairs, config.dedup.similarity)
                clusters = cluster_pairs(groups, images, config.dedup.rule)
                for name, table in zip(RESULTS, (pairs, clusters), strict=True):
                    store.attach(name, parquet_bytes(table))
            recall = None
            if grid.buckets > 1:
                recall = _sampled_recall(config, source, pairs, groups, images, record)
        finally:
            record.save(root, further=True)
    result = Deduplicated(pairs, groups, clusters, images, recall, grid)
    _print(config, result)
    if has_manifest(source):
        _write_page(config, source, result)
    return result


def dedup_identity(config: Config, source: Store) -> dict[str, Any]:
    """Return what decides the pairs, beside the embeddings added."""
    made = config.dedup
    return {
        "pairs": PAIRS.names,
        "embeddings": source.identity,
        "first_shard": source.manifest()[0].checksum,
        "similarity": made.similarity,
        "buckets": made.buckets,
        "brute_force_up_to": made.brute_force_up_to,
        "assignments": made.assignments,
        "partition_rows": made.partition_rows,
        "sample": made.sample,
        "seed": made.seed,
    }


def _grid(config: Config, store: Store, source: Store, record: RunRecord) -> tuple[Grid, int]:
    """Return the grid and the number of partitions, fixed by the images there at first."""
    known = Grid.attached(store)
    if known is None:
        with record.stage("train the grid"):
            known = _new_grid(config, source)
            known.attach(store)
    images = sum(entry.rows for entry in source.manifest())
    if store.attached("partitions.npy") is None:
        wanted = ceil(images * config.dedup.assignments / config.dedup.partition_rows)
        _attach_numbers(store, "partitions.npy", [min(known.buckets, wanted)])
    return known, _numbers(store, "partitions.npy")[0]


def _new_grid(config: Config, source: Store) -> Grid:
    wanted, images = config.dedup, source.images()
    if wanted.grid_from is not None:
        return Grid.required(Store.open(wanted.grid_from.resolve()))
    buckets = wanted.buckets or (1 if images <= wanted.brute_force_up_to else isqrt(images))
    if buckets == 1:
        vectors = source.read_whole(source.manifest()[0].shard, ["embedding"])["embedding"]
        return whole_space(vectors.type.list_size)
    return train_ivf(sample_vectors(source, buckets * wanted.sample), buckets, wanted.seed)


def _attach_numbers(store: Store, name: str, numbers: list[int]) -> None:
    out = io.BytesIO()
    np.save(out, np.array(numbers, np.int64), allow_pickle=False)
    store.attach(name, out.getvalue())


def _numbers(store: Store, name: str) -> list[int]:
    data = store.attached(name)
    return np.load(io.BytesIO(data), allow_pickle=False).tolist() if data else []


def _generations(store: Store, shards: int) -> tuple[int, ...]:
    """Return where each generation of shards ends; shards new since the last run are one more."""
    ends = _numbers(store, GENERATIONS)
    if not ends or ends[-1] < shards:
        ends.append(shards)
        _attach_numbers(store, GENERATIONS, ends)
    return tuple(ends)


def _sort(
    config: Config, source: Store, parts: Store, grid: Grid, partitions: int, record: RunRecord
) -> None:
    done = {entry.shard for entry in parts.entries()}
    entries = [entry for entry in source.manifest() if entry.shard not in done]
    plan = SortPlan(source.root, parts.root, grid, config.dedup.assignments, partitions)
    with record.stage("sort by partition"):
        results = map_shards(plan, [entry.shard for entry in entries], config.ray.workers)
        for _ in track(results, "sort", sum(entry.rows for entry in entries), "img"):
            pass
    parts.finish(len(source.manifest()))


def _join(
    config: Config,
    parts: Store,
    store: Store,
    grid: Grid,
    partitions: int,
    ends: tuple[int, ...],
    record: RunRecord,
) -> None:
    done = {entry.shard for entry in store.entries()}
    count = len(ends) * partitions
    pending = [number for number in range(count) if number not in done]
    similarity = config.dedup.similarity
    plan = JoinPlan(parts.root, store.root, grid.buckets, partitions, ends, similarity)
    with record.pool() as stats:
        results = map_shards(plan, pending, config.ray.workers)
        stats.extend(track(results, "join", len(pending), "partitions"))
    store.finish(count)


def read_images(source: Store) -> pa.Table:
    """Return (id, pixels, scene and transform where the store has them) of images still there."""
    names = source.columns()
    extra = [name for name in ("scene", "transform") if name in names]
    columns = ["id", "width", "height", *extra]
    table = pa.concat_tables([source.read(entry.shard, columns) for entry in source.manifest()])
    pixels = table["width"].to_numpy().astype(np.int64) * table["height"].to_numpy()
    kept = {"id": table["id"], "pixels": pixels} | {name: table[name] for name in extra}
    return pa.table(kept)


def gather_pairs(store: Store, images: pa.Table) -> pa.Table:
    """Return PAIRS of images still there, by a, then b."""
    tables = [store.read(entry.shard) for entry in store.manifest()]
    joined = pa.concat_tables([PAIRS.empty_table(), *tables])
    return gather_groups(joined, images["id"].to_numpy())


def _sampled_recall(
    config: Config,
    source: Store,
    pairs: pa.Table,
    groups: PairGroups,
    images: pa.Table,
    record: RunRecord,
) -> PairRecall:
    """Compare images drawn at random with all, and look their pairs up in ``groups``."""
    wanted = config.dedup
    rng = np.random.default_rng([wanted.seed, 1])
    ids = np.sort(images["id"].to_numpy())
    ids = np.sort(rng.choice(ids, min(wanted.recall_sample, len(ids)), replace=False))
    queries = stored_queries(source, np.unique(groups.groups_of(ids)[0]).tolist())
    further = pairs.filter(pairs["identical"])["b"].to_numpy()
    plan = PartnersPlan(source.root, queries.ids, queries.vectors, further, wanted.similarity)
    shards = [entry.shard for entry in source.manifest()]
    with record.stage("measure the recall"):
        results = map_shards(plan, shards, config.ray.workers)
        tables = list(track(results, "compare a sample with all", images.num_rows, "img"))
    columns = {
        name: np.concatenate([table[name].combine_chunks().flatten() for table in tables])
        for name in ("image", "partner")
    }
    true = true_pairs(ids, pa.table(columns), groups)
    return pair_recall(true, groups, len(ids), wanted.confidence)


def _print(config: Config, found: Deduplicated) -> None:
    survivors = int(np.count_nonzero(found.clusters["survivor"].to_numpy()))
    counts = found.groups.counts
    within = counts[found.groups.one == found.groups.other]
    rows: list[tuple[str, Any]] = [
        ("images", found.images.num_rows),
        ("images identical to another", found.groups.identical_images),
        (f"pairs, similarity >= {config.dedup.similarity}", int(counts.sum())),
        ("of them between identical images", int(within.sum())),
        ("rows of pairs.parquet, which stand for them", found.pairs.num_rows),
        ("clusters", survivors),
        ("images to drop", found.clusters.num_rows - survivors),
        ("rule", config.dedup.rule),
        ("kept of a cluster", "the most pixels, of equal ones the lowest id"),
        ("buckets", found.grid.buckets),
    ]
    print_table(f"near-duplicates: {config.dedup.output}", ("what", "value"), rows)
    console.print(recall_text(found.recall))
    if found.grid.buckets == 1 and found.images.num_rows > config.dedup.brute_force_up_to:
        console.print(
            "this output was begun with few images and compares all pairs for good; "
            "a new dedup.output gets buckets"
        )
    if "scene" in found.images.column_names:
        _print_copies(found.groups, found.images)


def recall_text(recall: PairRecall | None) -> str:
    """Return what is known of the pairs that were not found."""
    if recall is None:
        return "all pairs were compared: none is missing"
    if not recall.drawn:
        return f"recall is unknown: none of {recall.images} sampled images has a partner"
    return (
        f"pair recall {recall.recall:.4f} ({recall.found} of {recall.true} pairs of "
        f"{recall.images} sampled images, each compared with all images), at least "
        f"{recall.low:.4f} with {recall.confidence:.0%} confidence"
    )


def _write_page(config: Config, source: Store, found: Deduplicated) -> None:
    """Write report.html, with the pictures of some groups, beside the pairs."""
    wanted = config.dedup
    groups = connected_groups(found.groups, found.images, wanted.shown, LARGEST_SHOWN)
    ids = {number for group in groups for number in group.ids}
    kept = found.images.filter(pa.compute.is_in(found.images["id"], pa.array(ids, pa.int64())))
    pixels = dict(zip(kept["id"].to_pylist(), kept["pixels"].to_pylist(), strict=True))
    data = ClusterPageData(
        title="Sluice: near-duplicates",
        facts=[
            ("images", f"{found.images.num_rows:,}"),
            ("identical to another", f"{found.groups.identical_images:,}"),
            ("similarity from", f"{wanted.similarity}"),
            ("rule", wanted.rule),
            ("buckets", f"{found.grid.buckets:,}"),
        ],
        recall=recall_text(found.recall).capitalize(),
        shown=f"Shown are the {len(groups)} largest groups of up to {LARGEST_SHOWN} images.",
        rule=wanted.rule,
        steps=slider_steps(found.groups, found.images, wanted.rule, wanted.similarity),
        groups=groups,
        pictures=read_pictures(config, source, ids),
        pixels=pixels,
    )
    page = render_clusters(data).encode()
    write_atomically(wanted.output.resolve() / "report.html", page)
    console.print(f"report: {wanted.output}/report.html ({len(page):,} bytes)")


def _print_copies(pairs: PairGroups, truth: pa.Table) -> None:
    rows = copies_by_transform(pairs, truth)
    lines = [
        (r.transform, r.pairs, r.copies, r.precision, r.found, r.known, r.recall) for r in rows
    ]
    header = ("transform", "pairs", "copies", "precision", "of original", "known", "recall")
    print_table("pairs against known copies", header, lines)
    quality = copy_quality(pairs, truth)
    measures = [
        ("known pairs", quality.known),
        ("pairs found", quality.pairs),
        ("micro-AP, of the pairs above the similarity", quality.micro_ap),
        ("recall at precision 0.9", quality.recall_at_90),
    ]
    print_table("as in the DISC21 benchmark", ("measure", "value"), measures)


def read_results(config: Config) -> tuple[pa.Table, pa.Table]:
    """Return the pairs and clusters of a finished job. Raises StoreError where they are missing."""
    store = Store.open(config.dedup.output.resolve(), "pairs")
    found = [store.attached(name) for name in RESULTS]
    if not all(found):
        raise StoreError(f"{store.root} is not finished; run sluice dedup again: it resumes")
    pairs, clusters = (pq.read_table(pa.BufferReader(data)) for data in found)
    return pairs, clusters
