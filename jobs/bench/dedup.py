"""`sluice bench-dedup`: near-duplicates our way and by imagededup, on the same photos."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.cli import with_config
from jobs.config import Config
from jobs.console import console, errors, print_table
from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.dedup.copy_quality import copy_quality, known_pairs
from pipeline.dedup.identical_sets import SetPairs, set_pairs
from pipeline.dedup.results import read_images, read_results
from pipeline.embedding.stored import encoder_settings
from pipeline.images.manifest import plan_manifest
from pipeline.images.reader import read_shard
from pipeline.images.source import open_source
from pipeline.lab.embed_rivals import write_files
from pipeline.lab.process_tree import TreeUse, run_watched

OURS, CNN, HASH = "sluice embed + dedup", "imagededup CNN, our network", "imagededup PHash"


@click.command()
@with_config
def command(config: Config) -> None:
    """Find the near-duplicates of source.url, whole jobs from image bytes to pairs, one run each.

    imagededup reads files, written before its time begins; it has ray.workers processes. Its CNN
    takes our network and dedup.similarity, since its own weights come from the network alone; its
    hash takes its own default distance.
    """
    settings = encoder_settings(**config.embed.encoder())
    with tempfile.TemporaryDirectory(prefix="sluice-") as folder:
        root = Path(folder)
        mine = _config(config, root)
        used = {OURS: _ours(mine, root)}
        _tell(OURS, used[OURS])
        found = {OURS: set_pairs(read_results(mine.dedup.output)[0], mine.dedup.similarity)}
        truth = read_images(Store.open(mine.embed.output, "embeddings"))
        if "scene" not in truth.column_names:
            raise InputError(f"{config.source.url} has no column scene that tells its copies")
        files = root / "files"
        files.mkdir()
        ids = _write_source(config, files)
        wanted = {
            "model": settings.model,
            "weights_sha256": settings.weights.sha256,
            "size": settings.input_size,
            "similarity": config.dedup.similarity,
            "workers": config.ray.workers,
        }
        for name, method in ((CNN, "cnn"), (HASH, "phash")):
            try:
                used[name], found[name] = _theirs(method, files, root, wanted, ids)
                _tell(name, used[name])
            except subprocess.CalledProcessError as error:
                last = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
                errors.print(f"[yellow]left out:[/] {name}: {' '.join(last)}", highlight=False)
    rows = [_row(name, used[name], found[name], truth) for name in used]
    header = ("way", "seconds", "peak MiB", "pairs", "precision", "recall", "micro-AP", "R@P90")
    print_table(
        f"{truth.num_rows:,} photos, {known_pairs(truth):,} known pairs of copies", header, rows
    )
    console.print("time and memory: whole processes with all their children, measured in one run")


def _tell(name: str, use: TreeUse) -> None:
    line = f"{name}: {use.seconds:.1f} s, {use.peak / 2**20:,.0f} MiB"
    errors.print(line, highlight=False)


def _config(config: Config, root: Path) -> Config:
    made = config.embed.model_copy(update={"output": root / "embeddings"})
    wanted = config.dedup.model_copy(update={"output": root / "dedup"})
    return config.model_copy(update={"embed": made, "dedup": wanted})


def _ours(config: Config, root: Path) -> TreeUse:
    """Run both jobs as a user does, each in a process of its own."""
    path = root / "settings.yaml"
    path.write_text(config.model_dump_json())
    uses = [
        run_watched([sys.executable, "-m", "jobs", job, "-c", str(path)])
        for job in ("embed", "dedup")
    ]
    return TreeUse(sum(use.seconds for use in uses), max(use.peak for use in uses))


def _write_source(config: Config, folder: Path) -> np.ndarray[Any, Any]:
    """Write the images of the source as files; return their ids in the files' order."""
    source = open_source(config.source.url, config.source.kind)
    manifest = plan_manifest(source, config.source.shard_rows)
    shards = sorted(set(manifest["shard"].to_pylist()))
    images = pa.concat_tables(
        [read_shard(source, manifest, s).select(["id", "bytes"]) for s in shards]
    )
    write_files(images["bytes"].to_pylist(), folder)
    ids: np.ndarray[Any, Any] = images["id"].to_numpy()
    return ids


def _theirs(
    method: str, files: Path, root: Path, wanted: dict[str, Any], ids: np.ndarray[Any, Any]
) -> tuple[TreeUse, SetPairs]:
    output = root / f"{method}.parquet"
    module = [sys.executable, "-m", "pipeline.lab.dedup_rivals"]
    use = run_watched([*module, method, str(files), str(output), json.dumps(wanted)])
    pairs = pq.read_table(output)
    for place, name in enumerate(("a", "b")):
        pairs = pairs.set_column(place, name, pa.array(ids[pairs[name].to_numpy()]))
    return use, set_pairs(pairs, -np.inf)


def _row(name: str, use: TreeUse, pairs: SetPairs, truth: pa.Table) -> tuple[Any, ...]:
    found = copy_quality(pairs, truth)
    return (
        name,
        use.seconds,
        use.peak / 2**20,
        found.pairs,
        found.precision,
        found.copies / found.known,
        found.micro_ap,
        found.recall_at_90,
    )
