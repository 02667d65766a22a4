"""`sluice bench changes`: copies under changes that no corpus maker makes; who finds them?"""

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.console import console, errors, print_arrow, warn
from jobs.lab.config import LabConfig
from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.corpus.photos import find_photos
from pipeline.dedup.results import read_results
from pipeline.embedding.stored import encoder_settings
from pipeline.lab.changed_photos import (
    PRECISE,
    Found,
    at_precision,
    photos_kept,
    quality_by_way,
    share_by_change,
    similar_pairs,
    told_by_change,
    write_copies,
)
from pipeline.lab.dedup_ways import USUAL, rival_settings, run_in_turn, run_rival_files

OURS, VECTORS = "sluice dedup", "vectors alone"
RIVALS = {"imagededup CNN": "cnn", "imagededup PHash": "phash"}
# Cosine and distance from which on pairs are asked for, to know where a precision of .99 ends.
LOOSE, FAR = 0.5, 24


def command(config: LabConfig) -> None:
    """Make copies of some PHOTOS under many changes, and find them among all PHOTOS.

    Whole jobs over files, one run each: sluice dedup as it is, by its vectors alone, and imagededup
    where it is installed, by our network, whose weights are here. They are compared at imagededup's
    default distance for hashes and our cosine for vectors, then each at a precision of .99.
    """
    made = config.bench_changes
    if not made.photos:
        raise InputError("name a folder of photographs: sluice bench changes PHOTOS")
    photos = [path for path, _ in find_photos(made.photos)]
    with tempfile.TemporaryDirectory(prefix="sluice-") as folder:
        root = Path(folder)
        drawn = np.random.default_rng(config.dedup.seed).permutation(len(photos))[: made.changed]
        wanted = (config.dedup.seed, made.each)
        copies = write_copies([photos[n] for n in drawn], root / "copies", *wanted)
        files = [*map(str, photos), *copies["file"].to_pylist()]
        ways = _ours(config, root) | (_rivals(config, root, files) if made.rivals else {})
        kept, groups = photos_kept(_groups(config, root), copies)
        told = told_by_change(_named(read_results(root / _folder(OURS))[0], config), copies)
        shares = share_by_change(ways, copies)
        found = pc.if_else(pc.equal(told["found"], 0), None, told["found"])
        right = pc.divide(told["told"].cast(pa.float64()), found)
        shares = shares.append_column("why is right", right)
        print_arrow("copies paired with their photo", shares)
        precise = {way: at_precision(found, copies) for way, found in ways.items()}
        title = f"copies paired with their photo, by each way's pairs of precision {PRECISE}"
        print_arrow(title, share_by_change(precise, copies))
        title = f"{len(photos):,} photos, {copies.num_rows:,} copies of {len(drawn)} of them"
        print_arrow(title, quality_by_way(ways, copies))
        right, found = (pc.sum(told[name]).as_py() for name in ("told", "found"))
        console.print(f"{OURS} tells what was done to {right} of the {found} copies it finds")
        console.print(f"{OURS} keeps the photo itself in {kept} of {groups} groups of its copies")
    console.print("time and memory: whole processes with all their children, measured in one run")


def _ours(config: LabConfig, root: Path) -> dict[str, Found]:
    """Run the job as a user does, over files; then again by its vectors, which are there."""
    ways = {}
    vectors = ["--set", f"dedup.similarity={config.dedup.cosine}"]
    for name, more in ((OURS, []), (VECTORS, vectors)):
        output = root / _folder(name)
        command = [sys.executable, "-m", "jobs", "dedup", config.bench_changes.photos or ""]
        command += [str(root / "copies"), "--output", str(output)]
        command += ["--set", f"embed.output={root}/embeddings"]
        given = "workers" in config.ray.model_fields_set
        command += [*(["--workers", str(config.ray.workers)] if given else []), *more]
        use = run_in_turn([command])
        ways[name] = _told(name, Found(use, _named(read_results(output)[0], config)))
    wide = similar_pairs(Store.open(root / "embeddings", "embeddings"), LOOSE)
    wide = _named(wide, config)
    return ways | {VECTORS: replace(ways[VECTORS], pairs=wide, least=config.dedup.cosine)}


def _folder(name: str) -> str:
    return name.replace(" ", "_")


def _groups(config: LabConfig, root: Path) -> pa.Table:
    groups = read_results(root / _folder(OURS))[1]
    files = _files(groups["key"], config)
    return pa.table({"file": files, "group": groups["group"], "survivor": groups["survivor"]})


def _files(keys: pa.ChunkedArray, config: LabConfig) -> list[str]:
    """Return the files of ``keys``: paths below the first folder, or whole."""
    first = Path(config.bench_changes.photos or "").resolve()
    return [str(Path(key) if key.startswith("/") else first / key) for key in keys.to_pylist()]


def _named(pairs: pa.Table, config: LabConfig) -> pa.Table:
    one, other = (_files(pairs[name], config) for name in ("a_key", "b_key"))
    why = pairs["why"] if "why" in pairs.column_names else pa.nulls(pairs.num_rows, pa.string())
    return pa.table({"one": one, "other": other, "score": pairs["score"], "why": why})


def _rivals(config: LabConfig, root: Path, files: list[str]) -> dict[str, Found]:
    folder = root / "files"
    folder.mkdir()
    for number, file in enumerate(files):
        (folder / f"{number}{Path(file).suffix}").symlink_to(Path(file).resolve())
    settings = encoder_settings(**config.embed.encoder())
    wanted = rival_settings(settings, LOOSE, config.ray.workers) | {"distance": FAR}
    ways, usual = {}, {"cnn": config.dedup.cosine, "phash": float(-USUAL)}
    for name, method in RIVALS.items():
        try:
            use, pairs = run_rival_files(method, folder, root / f"{method}.parquet", wanted)
        except subprocess.CalledProcessError as error:
            last = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
            warn(f"left out: {name}: {' '.join(last)}")
            continue
        one, other = ([files[n] for n in pairs[end].to_pylist()] for end in ("a", "b"))
        named = pa.table({"one": one, "other": other, "score": pairs["score"]})
        ways[name] = _told(name, Found(use, named, usual[method]))
    return ways


def _told(name: str, found: Found) -> Found:
    errors.print(f"{name}: {found.use.seconds:.1f} s, {found.use.peak / 2**20:,.0f} MiB")
    return found
