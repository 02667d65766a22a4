"""`sluice dedup`: every pair of near-duplicates, their groups, and the one to keep of each."""

from dataclasses import replace
from pathlib import PurePath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.config import Config, DedupConfig
from jobs.console import console, print_not_taken, print_table, warn
from jobs.embeddings import embeddings_store
from jobs.settings import FLAG
from jobs.sitting import Sitting, kept_session, print_more_workers
from pipeline.core.errors import ConfigError, InputError
from pipeline.core.files import write_atomically
from pipeline.core.folder import Place
from pipeline.core.paths import refuse_unwritable
from pipeline.core.store import Store
from pipeline.core.tables import csv_bytes, flat_column
from pipeline.dedup.asked import Kept
from pipeline.dedup.copy_quality import copies_by_transform, copy_quality
from pipeline.dedup.groups import to_drop
from pipeline.dedup.hash_join import FEW as ALL_COMPARED
from pipeline.dedup.hash_join import HashPlan, require_hashes
from pipeline.dedup.identical_sets import set_pairs
from pipeline.dedup.join import join_partitions
from pipeline.dedup.judged import drawn_pairs, judged_precision, verdicts_on
from pipeline.dedup.looked import Looked
from pipeline.dedup.made_copies import copy_scores, recognised
from pipeline.dedup.pair_recall import measure_recall
from pipeline.dedup.partitions import PartitionSettings, dedup_identity, grown_partitions
from pipeline.dedup.results import (
    Deduplicated,
    Joined,
    facts,
    gather_pairs,
    gather_results,
    missed_text,
    read_images,
    with_keys,
)
from pipeline.dedup.second_look import NEAREST, look_at_candidates
from pipeline.dedup.similarity import keep_similarity, kept_similarity, measured_similarity
from pipeline.dedup.verdicts import keep_verdicts, verdicts_of_file
from pipeline.embedding.embed_source import embed_source
from pipeline.embedding.settings import EncoderSettings
from pipeline.embedding.stored import query_encoder
from pipeline.images.manifest import has_manifest, stored_source
from pipeline.images.source import Listed, list_source
from pipeline.index.sort_shard import sort_shards, unsorted
from pipeline.pages.groups import GroupPageData, group_page, group_review, render_groups
from pipeline.pages.review import serve_review

TO_JUDGE = "to_judge.csv"


def command(config: Config) -> None:
    """Find all near-duplicates of FOLDERS, and say whom to keep.

    What is not embedded yet is embedded first. Finished parts are skipped.
    """
    deduplicate(config)


def deduplicate(config: Config) -> Deduplicated:
    """Embed what ``dedup.folders`` name, where they do, and run the job."""
    config = _beside_others(config)
    made = config.dedup
    if made.add and not (made.output / "store.json").exists():
        raise InputError(f"{made.output} holds no pairs to add to; leave --add out")
    if not (made.output / "store.json").exists():
        refuse_unwritable(made.output)
    if not made.folders:
        if made.against:
            raise ConfigError("--against needs the folders to compare with it: sluice dedup NEW")
        return dedup(config)
    folders = (*([made.against] if made.against else []), *made.folders)
    source = config.source.model_copy(update={"url": folders})
    config = config.model_copy(update={"source": source})
    return embed_and_dedup(config, list_source(**config.source.asked()))


def _beside_others(config: Config) -> Config:
    """Return the settings with embeddings of their own for an encoder that a flag names.

    They lie beside ``embed.output``, unless that holds this encoder's already.
    """
    if config.origin("embed.model") != FLAG:
        return config
    name, output = PurePath(config.embed.model).name, config.embed.output
    if (output / "store.json").exists():
        held = Store.open(output.resolve(), "embeddings").identity["model"]
        if held in (config.embed.model, name):
            return config
    beside = output.with_name(f"{output.name}-{name.replace(':', '_')}")
    embed = config.embed.model_copy(update={"output": beside})
    return config.model_copy(update={"embed": embed})


def embed_and_dedup(config: Config, listed: Listed, within: bool = False) -> Deduplicated:
    """Embed what is not embedded of ``listed``, then run the job. within: as of ``dedup``."""
    settings, store = embeddings_store(config, listed)
    with kept_session():
        _embed(config, listed, settings, store)
        return dedup(config, within)


def _embed(config: Config, listed: Listed, settings: EncoderSettings, store: Store) -> None:
    on_gpu = settings.backend == "cuda"
    with Sitting("embed", 0, config.ray, store.root, further=True, on_gpu=on_gpu) as sitting:
        rows = config.shard_rows()
        filled = embed_source(
            store,
            listed,
            rows,
            settings,
            sitting.spread,
            sitting.record,
            config.embed.seconds_an_image,
        )
    print_not_taken(filled, store.root)


def dedup(config: Config, within: bool = False) -> Deduplicated:
    """Run the job: sort the shards by partition, join the partitions, group, measure.

    within: with ``dedup.against``, whether to keep in the store the pairs on either side too.
    """
    embeddings = Store.open(config.embed.output.resolve(), "embeddings")
    made, root = fitted(config, embeddings).dedup, config.dedup.output.resolve()
    settings = PartitionSettings(**made.partitions())
    across = made.against is not None and not within
    nearest = NEAREST if config.dedup.similarity is None and has_manifest(embeddings) else 0
    if nearest:
        require_hashes(embeddings)
    identity = dedup_identity(embeddings, made.cosine, settings, made.doubtful, across, nearest)
    store = Store.create(root, "pairs", identity)
    sitting = Sitting("dedup", embeddings.images(), config.ray, root, further=True)
    with store.lock(), kept_session(), sitting:
        buckets = _join(made, embeddings, store, sitting, across, nearest)
        if made.verdicts:
            keep_verdicts(store, verdicts_of_file(made.verdicts, embeddings))
        against = made.against is not None
        images, left_out = read_images(embeddings, made.doubtful, made.prefer, against)
        joined = Joined(images, left_out, gather_pairs(store, images), buckets)
        looked = None
        if nearest:
            looked = _look_again(made, config, embeddings, store, joined, sitting, across)
        with sitting.stage("group"):
            found = gather_results(embeddings, store, made.rule, joined, against, looked)
        if buckets > 1:
            found = _measured(made, embeddings, found, joined, sitting)
    _print(made, found)
    if made.copies and found.looked:
        _print_recognised(config, embeddings, found, found.looked.kept)
    shown = _write(made, config, embeddings, found)
    print_more_workers(sitting.record)
    if not (made.review and shown):
        return found
    return _reviewed(made, config, embeddings, store, found, joined, shown)


def _write(
    made: DedupConfig, config: Config, embeddings: Store, found: Deduplicated
) -> GroupPageData | None:
    """Write the lists and the page; return what it shows, None where no source has pictures."""
    root = made.output.resolve()
    _write_lists(found, root)
    if not has_manifest(embeddings):
        return None
    source = stored_source(embeddings, config.source.given())
    wanted = (made.rule, _least(made, found), made.shown)
    shown = group_page(found, embeddings, source, *wanted)
    page = render_groups(shown).encode()
    write_atomically(root / "report.html", page)
    console.print(f"report: {made.output}/report.html ({len(page):,} bytes)")
    return shown


def _reviewed(
    made: DedupConfig,
    config: Config,
    embeddings: Store,
    store: Store,
    found: Deduplicated,
    joined: Joined,
    shown: GroupPageData,
) -> Deduplicated:
    """Serve the page until the user is done; group anew without the pairs that were rejected."""
    source = stored_source(embeddings, config.source.given())
    with store.lock():
        serve_review(group_review(shown, store, embeddings, source), _tell_address)
    against = made.against is not None
    again = gather_results(embeddings, store, made.rule, joined, against, found.looked)
    again = replace(again, recall=found.recall)
    rows = facts(again, made.cosine, made.rule)
    print_table(f"after {again.verdicts.num_rows:,} verdicts", ("what", "value"), rows)
    _print_judged(made, again)
    _write(made, config, embeddings, again)
    return again


def _tell_address(url: str) -> None:
    console.print(f"judge pairs at {url} and press its last button, done", soft_wrap=True)
    console.print("verdicts are kept at once; after Ctrl-C the same command takes them in")


def _look_again(
    made: DedupConfig,
    config: Config,
    embeddings: Store,
    store: Store,
    joined: Joined,
    sitting: Sitting,
    across: bool,
) -> Looked:
    source = stored_source(embeddings, config.source.given())
    shards = [entry.shard for entry in embeddings.manifest()]
    plan = HashPlan(embeddings.root, made.doubtful)
    count = embeddings.images()
    hashes = list(sitting.spreading(count, here=count <= ALL_COMPARED)(plan, shards))
    columns = {n: np.concatenate([flat_column(t, n) for t in hashes]) for n in ("a", "b")}
    reference = None
    if across:
        reference = joined.images.filter(joined.images["preferred"])["id"].to_numpy()
    wanted = (config.dedup.kept_precision, made.recall, made.confidence)
    where = (sitting.spreading, embeddings, source, store.root)
    found = (joined.pairs, pa.table(columns), joined.images)
    return look_at_candidates(*where, *found, reference, *wanted, made.cosine)


def fitted(config: Config, embeddings: Store) -> Config:
    """Return the settings with the similarity that fits the encoder, where none is set."""
    if config.dedup.similarity is not None:
        return config
    similarity = kept_similarity(embeddings)
    if similarity is None:
        with Sitting("similarity", 0, config.ray) as sitting:
            encoder = query_encoder(embeddings, config.embed.weights)
            backend = encoder.settings.backend
            similarity = sitting.near_gpu(backend, lambda: measured_similarity(encoder))
        keep_similarity(embeddings, similarity)
    joined = config.dedup.model_copy(update={"similarity": similarity})
    return config.model_copy(update={"dedup": joined})


def _join(
    made: DedupConfig,
    embeddings: Store,
    store: Store,
    sitting: Sitting,
    across: bool,
    nearest: int,
) -> int:
    """Bring the pairs up to ``embeddings``; return the number of buckets they were joined by."""
    parts = Store.create(store.root / "partitions", "partitions", store.identity)
    settings = PartitionSettings(**made.partitions())
    grid_from = made.grid_from and made.grid_from.resolve()
    with sitting.stage("train the grid"):
        partitions = grown_partitions(store, embeddings, settings, grid_from)
    shards = range(partitions.generations[-1])
    rows = sum(entry.rows for entry in unsorted(embeddings, parts, shards))
    in_one = partitions.grid.buckets == 1  # all by one worker: others would start for nothing
    with sitting.stage("sort by partition"), Sitting("sort", rows, sitting.ray) as alone:
        wanted = (partitions, made.assignments, shards, made.doubtful, across)
        sort_shards(alone.spreading(rows, here=in_one), embeddings, parts, *wanted)
        parts.finish(len(shards))
    sitting.record.add_pools(alone.record)
    missing = len(partitions.missing(store))
    spread = sitting.spreading(missing, "partitions", here=in_one)
    join_partitions(spread, parts, store, partitions, made.cosine, nearest)
    return partitions.grid.buckets


def _measured(
    made: DedupConfig, embeddings: Store, found: Deduplicated, joined: Joined, sitting: Sitting
) -> Deduplicated:
    """Return ``found`` with the recall of the join: that of the candidates, if looked at."""
    alone = Sitting("recall", found.images.num_rows, sitting.ray)
    with sitting.stage("measure the recall"), alone:
        ids = found.images["id"].to_numpy()
        wanted = (made.recall_sample, made.cosine, made.confidence, made.seed, made.doubtful)
        sets = set_pairs(joined.pairs) if found.looked else found.joined
        sets = replace(sets, reference=found.joined.reference)
        recall = measure_recall(alone.spread, embeddings, sets, ids, *wanted)
    sitting.record.add_pools(alone.record)
    return replace(found, recall=recall)


def _write_lists(found: Deduplicated, root: Place) -> None:
    write_atomically(root / "groups.csv", csv_bytes(found.groups))
    if found.verdicts.num_rows:
        told = with_keys(found.verdicts, found.images, {"a": "a_key", "b": "b_key"})
        write_atomically(root / "verdicts.csv", csv_bytes(told))
    if "path" in found.groups.column_names:
        _write_drop(to_drop(found.groups)["path"], root)
    if found.looked:
        drawn = drawn_pairs(found.looked.looks)
        said = verdicts_on(drawn, found.verdicts, found.joined)
        judge = pa.table({"a": drawn["a"], "b": drawn["b"], "duplicate": said})
        judge = with_keys(judge, found.images, {"a": "a_key", "b": "b_key"})
        write_atomically(root / TO_JUDGE, csv_bytes(judge))


def _write_drop(paths: pa.ChunkedArray, root: Place) -> None:
    broken = pc.match_substring(paths, "\n")
    lines = "".join(f"{path}\n" for path in paths.filter(pc.invert(broken)).to_pylist())
    write_atomically(root / "drop.txt", lines.encode())
    console.print(f"what to drop: {root}/drop.txt; sluice apply {root} acts on it")
    count = pc.sum(broken).as_py()
    if count:
        warn(f"{count:,} whose names hold a line break are not in drop.txt; sluice apply drops all")


def _least(made: DedupConfig, found: Deduplicated) -> float:
    return found.looked.kept.least if found.looked else made.cosine


def _print(made: DedupConfig, found: Deduplicated) -> None:
    rows = facts(found, made.cosine, made.rule)
    print_table(f"near-duplicates: {made.output}", ("what", "value"), rows)
    for line in missed_text(found):
        console.print(line)
    _print_judged(made, found)
    if found.buckets == 1 and found.images.num_rows > made.brute_force_up_to:
        console.print(
            "this output was begun with few images and compares all pairs for good; "
            "a new dedup.output gets buckets"
        )
    if "scene" in found.images.column_names:
        _print_copies(found)


def _print_judged(made: DedupConfig, found: Deduplicated) -> None:
    """Print what verdicts prove, or which pairs they are needed of."""
    if not found.looked:
        return
    known = (found.looked.looks, found.verdicts, found.joined)
    judged = judged_precision(*known, made.confidence)
    if judged.judged < judged.drawn:
        console.print(
            f"not proven: judge the {judged.drawn} pairs of {made.output}/{TO_JUDGE}, drawn at "
            f"random ({judged.judged} are judged), by true or false, and hand it to --verdicts",
            soft_wrap=True,
        )
    elif judged.drawn:
        console.print(
            f"proven by your verdicts on {judged.drawn} pairs drawn at random, of which "
            f"{judged.right} are copies: at least {judged.precision:.4f} of the pairs kept are, "
            f"with {judged.confidence:.0%} confidence",
            soft_wrap=True,
        )


def _print_recognised(config: Config, embeddings: Store, found: Deduplicated, kept: Kept) -> None:
    """Make copies of images under many changes, and print which would be found."""
    source, made = stored_source(embeddings, config.source.given()), config.dedup
    encoder, ids = query_encoder(embeddings, config.embed.weights), found.images["id"].to_numpy()
    with Sitting("copies", 0, config.ray) as alone:
        copies = alone.near_gpu(
            encoder.settings.backend,
            lambda: copy_scores(source, embeddings, ids, made.copies, encoder, made.seed, True),
        )
    named = recognised(copies, fitted(config, embeddings).dedup.cosine, kept)
    rows = [
        (kind.transform, kind.made, sure.share, kind.share)
        for kind, sure in zip(named, recognised(copies, -1.0, kept), strict=True)
    ]
    header = ("copies of images by", "made", "sure enough", "and named by cosine or hash")
    print_table("what would be found", header, rows)
    console.print("further ones are named where the image is among a copy's nearest")


def _print_copies(found: Deduplicated) -> None:
    lines = [
        (r.transform, r.pairs, r.copies, r.precision, r.found, r.known, r.recall)
        for r in copies_by_transform(found.sets, found.images)
    ]
    header = ("transform", "pairs", "copies", "precision", "of original", "known", "recall")
    print_table("pairs against known copies", header, lines)
    measures = copy_quality(found.sets, found.images).measures()
    print_table("as in the DISC21 benchmark", ("measure", "value"), measures)
