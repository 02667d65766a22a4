"""`sluice leaks`: how many test images have a copy in train, and a split in which none has."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.config import Config
from jobs.console import console, print_table, warn
from jobs.dedup import embed_and_dedup, fitted
from jobs.sitting import Sitting, kept_session
from pipeline.core.arrays import Ids
from pipeline.core.errors import ConfigError, InputError, SluiceError
from pipeline.core.files import write_atomically
from pipeline.core.folder import Place, place
from pipeline.core.paths import refuse_unwritable
from pipeline.core.store import Store
from pipeline.core.tables import csv_bytes
from pipeline.dedup.identical_sets import across, set_pairs
from pipeline.dedup.leaks import (
    LeakEvidence,
    by_kind,
    found_evidence,
    leaked_images,
    met_images,
    missed_images,
)
from pipeline.dedup.made_copies import Recognised, copy_scores, recognised
from pipeline.dedup.results import Deduplicated, gather_pairs
from pipeline.dedup.sides import same_files, sided_images, with_names
from pipeline.dedup.split import label_numbers, split_change, split_tables
from pipeline.dedup.verdicts import without_rejected
from pipeline.embedding.stored import query_encoder
from pipeline.images.manifest import stored_source
from pipeline.images.source import list_source

WITHIN = 0.01  # by which sides and labels' shares may change unsaid


def command(config: Config) -> None:
    """Count the images of TEST that have a copy in TRAIN; write a split in which none has.

    What is not embedded yet is embedded first. Finished parts are skipped.
    """
    leaks(config)


def leaks(config: Config) -> LeakEvidence:
    """Run the job. Raises SluiceError where more leaks were found than ``leaks.at_most``."""
    train, test = _folders(config)
    made = config.leaks
    source = config.source.model_copy(update={"url": (train, test)})
    joined = config.dedup.model_copy(update={"output": made.output, "against": train})
    config = config.model_copy(update={"source": source, "dedup": joined})
    asked = source.asked()
    listed = list_source(**asked)
    shared = same_files(listed, test, **{k: v for k, v in asked.items() if k != "urls"})
    refuse_unwritable(made.output)
    with kept_session():
        found = embed_and_dedup(config, listed, within=True)
        embeddings = Store.open(config.embed.output.resolve(), "embeddings")
        config = fitted(config, embeddings)
        evidence, leaked, kinds = _evidence(config, embeddings, found, shared)
    images = sided_images(embeddings, stored_source(embeddings, source.given()))
    root = made.output.resolve()
    write_atomically(root / "leaks.csv", csv_bytes(with_names(leaked, images, shared)))
    _print(config, evidence, leaked, kinds, shared.num_rows)
    _split(config, images, found, root)
    share = evidence.found / max(1, evidence.images)
    if share > made.at_most:
        raise SluiceError(
            f"{evidence.found:,} of {evidence.images:,} test images ({share:.3%}) have a copy in "
            f"train, more than --at-most {made.at_most:g}; {root}/split.csv is a split without them"
        )
    return evidence


def _folders(config: Config) -> tuple[str, str]:
    if len(config.leaks.folders) != 2:
        raise ConfigError("name two folders: sluice leaks TRAIN TEST")
    train, test = config.leaks.folders
    for one, other in ((train, test), (test, train)):
        if _is_below(place(one).resolve(), place(other).resolve()):
            raise InputError(f"{one} lies in {other}; name two folders apart from each other")
    return train, test


def _is_below(one: Place, other: Place) -> bool:
    return f"{one}/".startswith(f"{other}/")


def _evidence(
    config: Config, embeddings: Store, found: Deduplicated, shared: pa.Table
) -> tuple[LeakEvidence, pa.Table, list[Recognised]]:
    """Return what is known of the test images, those that leaked, and of the copies made."""
    made = config.dedup
    sides = found.images["preferred"]
    train, test = (found.images.filter(s)["id"].to_numpy() for s in (sides, pc.invert(sides)))
    for url, ids in zip(config.source.url, (train, test), strict=True):
        if not len(ids) and not shared.num_rows:
            raise InputError(f"{url} holds no image that can be compared; name another folder")
    leaked = leaked_images(found.sets, found.pairs)
    evidence, unfound = found_evidence(leaked, test, found.verdicts, shared.num_rows)
    if found.buckets > 1:
        joined = set_pairs(gather_pairs(Store.open(made.output.resolve(), "pairs"), found.images))
        met = met_images(across(joined.at_least(made.cosine), train), test)
        unmet = np.setdiff1d(unfound, met)
        with Sitting("recall", found.images.num_rows, config.ray) as alone:
            wanted = (made.recall_sample, made.cosine, made.seed, made.doubtful)
            asked, missed = missed_images(alone.spread, embeddings, unmet, train, *wanted)
        evidence = replace(evidence, unmet=len(unmet), asked=asked, missed=missed)
    copies = _copies(config, embeddings, train)
    kinds = recognised(copies, made.cosine, found.looked.kept if found.looked else None)
    seen, of = sum(kind.found for kind in kinds), sum(kind.made for kind in kinds)
    return replace(evidence, copies=of, recognised=seen), leaked, kinds


def _copies(config: Config, embeddings: Store, train: Ids) -> pa.Table:
    source = stored_source(embeddings, config.source.given())
    encoder = query_encoder(embeddings, config.embed.weights)
    wanted = (config.leaks.copies, encoder, config.dedup.seed)
    with Sitting("copies", 0, config.ray) as alone:
        backend = encoder.settings.backend
        return alone.near_gpu(backend, lambda: copy_scores(source, embeddings, train, *wanted))


def _print(
    config: Config,
    evidence: LeakEvidence,
    leaked: pa.Table,
    kinds: list[Recognised],
    shared: int,
) -> None:
    confidence, images = config.dedup.confidence, max(1, evidence.images)
    low, high = evidence.interval(confidence)
    rows: list[tuple[str, Any]] = [
        ("test images compared", evidence.images),
        ("of them with a copy in train, as found", evidence.found),
        ("sure: identical, or judged to be copies", evidence.sure),
        ("judged to be none", evidence.judged - evidence.right),
        ("files of train and test alike", shared),
        *((f"found, {kind}", count) for kind, count in by_kind(leaked)),
    ]
    print_table(f"leaks: {config.leaks.output}", ("what", "value"), rows)
    if kinds:
        header = ("copies of train images by", "found", "of", "share")
        print_table("what would be found", header, kinds)
    console.print(
        f"{low:,} to {high:,} of {evidence.images:,} test images ({low / images:.3%} to "
        f"{high / images:.3%}) have a copy in train, with {confidence:.0%} confidence"
    )
    console.print(evidence.told())


def _split(config: Config, images: pa.Table, found: Deduplicated, root: Place) -> None:
    """Write the corrected split and the labels that disagree, and say what they hold."""
    pairs = without_rejected(found.standing, found.verdicts)
    split, labels, new = split_tables(images, pairs, config.dedup.seed)
    for name, table in (("split", split), ("labels", labels)):
        write_atomically(root / f"{name}.csv", csv_bytes(table))
    test = images["test"].to_numpy()
    size, share = split_change(test, new, label_numbers(images))
    console.print(
        f"a split without leaks: {root}/split.csv ({int((new != test).sum()):,} images moved; "
        f"a side's size changes by {size:.2%} at most, a label's share by {share:.2%})"
    )
    if max(size, share) > WITHIN:
        warn(
            f"the split is not within {WITHIN:.0%} of what it was: too few images of a label are "
            "in no group; add some, or leave images of the largest groups out"
        )
    if labels.num_rows:
        groups = len(labels["group"].unique())
        console.print(f"groups whose labels disagree: {groups:,}, in {root}/labels.csv")
