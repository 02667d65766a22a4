"""`sluice bench dedup`: near-duplicates our way and by imagededup, on the same photos."""

import subprocess
import sys
import tempfile
from pathlib import Path

from jobs.config import Config
from jobs.console import console, errors, print_arrow, warn
from jobs.lab.config import LabConfig
from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.dedup.copy_quality import known_pairs
from pipeline.dedup.identical_sets import set_pairs
from pipeline.dedup.results import read_images, read_results
from pipeline.embedding.stored import encoder_settings
from pipeline.images.shard_rows import MOST
from pipeline.images.source import list_source
from pipeline.lab.dedup_ways import (
    DedupRun,
    quality_table,
    rival_settings,
    run_in_turn,
    run_rival,
)
from pipeline.lab.embed_rivals import write_files
from pipeline.lab.source_images import whole_source

OURS = "sluice embed + dedup"
RIVALS = {"imagededup CNN, our network": "cnn", "imagededup PHash": "phash"}


def command(config: LabConfig) -> None:
    """Find near-duplicates our way and by imagededup, on the same photos.

    Whole jobs from image bytes to pairs, one run each. imagededup reads files, written before its
    time begins; it has as many processes as workers. Its CNN takes our network and similarity,
    since its own weights come from the network alone; its hash takes its own default distance.
    """
    with tempfile.TemporaryDirectory(prefix="sluice-") as folder:
        mine = _config(config, Path(folder))
        runs = {OURS: _ours(mine, Path(folder))}
        truth, _ = read_images(Store.open(mine.embed.output, "embeddings"), mine.dedup.doubtful)
        if "scene" not in truth.column_names:
            raise InputError(
                f"{', '.join(config.source.url)} has no column scene that tells its copies"
            )
        runs |= _rivals(config, Path(folder))
    title = f"{truth.num_rows:,} photos, {known_pairs(truth):,} known pairs of copies"
    print_arrow(title, quality_table(runs, truth))
    console.print("time and memory: whole processes with all their children, measured in one run")


def _config(config: Config, folder: Path) -> Config:
    """Return the settings of both jobs with their outputs in ``folder``."""
    made = config.embed.model_copy(update={"output": folder / "embeddings"})
    wanted = config.dedup.model_copy(update={"output": folder / "dedup", "folder": None})
    return config.model_copy(update={"embed": made, "dedup": wanted})


def _ours(config: Config, folder: Path) -> DedupRun:
    """Run both jobs as a user does, each in a process of its own."""
    path = folder / "settings.yaml"
    fields = set(Config.model_fields)
    path.write_text(config.model_dump_json(include=fields, exclude_unset=True))
    jobs = [[sys.executable, "-m", "jobs", job, "-c", str(path)] for job in ("embed", "dedup")]
    use = run_in_turn(jobs)
    pairs = set_pairs(read_results(config.dedup.output)[0])
    return _told(OURS, DedupRun(use, pairs))


def _rivals(config: Config, folder: Path) -> dict[str, DedupRun]:
    listed, files = list_source(**config.source.asked()), folder / "files"
    images = whole_source(listed, config.source.shard_rows or MOST)
    files.mkdir()
    write_files(images["bytes"].to_pylist(), files)
    settings = encoder_settings(**config.embed.encoder())
    wanted = rival_settings(settings, config.dedup.cosine, config.ray.workers)
    runs = {}
    for name, method in RIVALS.items():
        output = folder / f"{method}.parquet"
        try:
            run = run_rival(method, files, output, wanted, images["id"].to_numpy())
            runs[name] = _told(name, run)
        except subprocess.CalledProcessError as error:
            last = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
            warn(f"left out: {name}: {' '.join(last)}")
    return runs


def _told(name: str, run: DedupRun) -> DedupRun:
    taken = f"{run.use.seconds:.1f} s, {run.use.peak / 2**20:,.0f} MiB"
    errors.print(f"{name}: {taken}")
    return run
