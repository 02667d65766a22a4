"""`sluice bench cascade`: the cascade beside brute force, timed in one run, with its recall."""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from jobs.console import console, print_arrow
from jobs.lab.config import LabConfig
from jobs.sitting import Sitting, one_session
from pipeline.cascade.choice import Goal
from pipeline.core.files import write_atomically
from pipeline.core.tables import parquet_bytes
from pipeline.embedding.stored import encoder_settings
from pipeline.images.source import list_source
from pipeline.lab.cascade_bench import (
    FILTER_ONLY,
    Collection,
    prepare,
    recalls_of,
    time_in_turn,
    time_ways,
)
from pipeline.lab.cascade_tables import break_even_note, frontier_table, once_table, way_table
from pipeline.lab.charts import break_even_chart, frontier_chart
from pipeline.lab.filter_recall import BOTH
from pipeline.pages.page import render_charts


def command(config: LabConfig) -> None:
    """Time the cascade beside brute force, with its recall.

    All of SOURCE is embedded and searched, then single queries go through the cascade. Seconds are
    those while workers worked, so start-up counts for neither. Queries one after the other, sharing
    what they made, give the break-even.
    """
    asked, k, count = config.cascade, config.search.k, config.bench_cascade.queries
    samples = (config.calibrate.fit_images, config.calibrate.calibration_images)
    goal = Goal(**asked.goal(), k=k, workers=config.ray.workers)
    with tempfile.TemporaryDirectory(prefix="sluice-") as folder, one_session(config.ray):
        made = _collection(config, Path(folder))
        there = prepare(made, *samples, k)
        ways = []
        for who in BOTH:
            mine = replace(goal, neighbours=who)
            filter_only = replace(mine, stages=FILTER_ONLY, where=())
            goals = {"filter only": filter_only, "pipeline": mine}
            ways += time_ways(made, there, goals, count)
        recalls = recalls_of(made, there, ways, k)
        semantic = replace(goal, neighbours="semantic")
        even = time_in_turn(made, there, semantic, config.bench_cascade.in_turn)
    note = break_even_note(even, len(there.ids), config.ray.workers, asked.recall)
    print_arrow(f"{config.ray.workers} workers at work", once_table(there))
    print_arrow("one query against embedding and comparing all", way_table(there, ways, recalls))
    console.print(note)
    output, frontier = asked.output.resolve(), frontier_table(there, k, asked.confidence)
    charts = [frontier_chart(frontier), break_even_chart(even)]
    page = render_charts("Sluice: the cascade beside brute force", charts, [note])
    write_atomically(output / "frontier.parquet", parquet_bytes(frontier))
    write_atomically(output / "bench.html", page.encode())
    console.print(f"frontier and break-even: {output}/bench.html")


def _collection(config: LabConfig, folder: Path) -> Collection:
    listed = list_source(**config.source.asked())
    cnn = encoder_settings(**config.embed.encoder())
    sit = partial(_sit, config)
    return Collection(listed, config.shard_rows(), cnn, folder, sit)


def _sit(config: LabConfig, images: int, on_gpu: bool) -> Sitting:
    return Sitting("bench cascade", images, config.ray, on_gpu=on_gpu)
