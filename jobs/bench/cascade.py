"""`sluice bench-cascade`: the cascade beside brute force, timed in one run, with its recall."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

from cluster.session import ray_session
from jobs.calibrate import calibrate
from jobs.cascade import cascade
from jobs.cli import with_config
from jobs.config import Config, Stage
from jobs.console import console, print_table
from jobs.embed import embed
from jobs.search import search
from jobs.sign import sign
from jobs.sitting import Sitting
from pipeline.cascade.answer import CascadeAnswer
from pipeline.cascade.calibration import Neighbours, groups
from pipeline.cascade.calibration_store import StoredCalibration, stored_calibration
from pipeline.cascade.on_demand import on_demand_plan
from pipeline.cascade.planner import plan_cascade
from pipeline.cascade.sampler import SamplePlan, sample_features
from pipeline.core.arrays import Ids
from pipeline.core.bounds import interval
from pipeline.core.files import write_atomically
from pipeline.core.run_record import read_runs
from pipeline.core.store import Store, ids_by_shard
from pipeline.core.tables import embedding_matrix, parquet_bytes
from pipeline.embedding.stored import encoder_settings
from pipeline.images.source import open_source
from pipeline.lab.break_even import BreakEven
from pipeline.lab.cascade_truth import passing_pairs, true_pairs
from pipeline.lab.charts import break_even_chart, frontier_chart
from pipeline.lab.filter_recall import BOTH
from pipeline.pages.page import render_charts

TARGETS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
MILLION = 1_000_000
RECALL_QUERIES = 200
FILTER_ONLY = (Stage(stage="signature"), Stage(stage="cnn"))


@click.command()
@click.option("--queries", default=3, show_default=True, type=click.IntRange(1))
@click.option("--in-turn", default=12, show_default=True, type=click.IntRange(4))
@with_config
def command(config: Config, queries: int, in_turn: int) -> None:
    """Embed and search source.url by brute force, then QUERIES single queries by the cascade.

    Seconds are those while workers worked, so start-up counts for neither. IN_TURN queries one
    after the other, sharing what they made, give the break-even.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        ray_session(config.ray.workers, config.ray.address),
    ):
        bench = _Bench(_settings(config, Path(folder)), Path(folder))
        bench.prepare()
        rows = [row for who in BOTH for row in bench.compare(who, queries)]
        even = bench.break_even(in_turn)
        frontier = bench.frontier()
    _print(rows, bench, even)
    output = config.cascade.output.resolve()
    write_atomically(output / "frontier.parquet", parquet_bytes(frontier))
    charts = [frontier_chart(frontier), break_even_chart(even)]
    page = render_charts("Sluice: the cascade beside brute force", charts, _notes(bench, even))
    write_atomically(output / "bench.html", page.encode())
    console.print(f"frontier and break-even: {output}/bench.html")


def _settings(config: Config, folder: Path) -> Config:
    """Return the configuration with every output in ``folder``, so that nothing is there yet."""
    return _with(
        config,
        sign={"output": folder / "signatures"},
        embed={"output": folder / "embeddings"},
        search={"output": folder / "search", "queries": ("id:0",), "sample_queries": 0},
        cascade={"output": folder / "cascade", "features": folder / "calibration"},
    )


def _with(config: Config, **sections: dict[str, Any]) -> Config:
    parts = {n: getattr(config, n).model_copy(update=new) for n, new in sections.items()}
    return config.model_copy(update=parts)


def work_seconds(folder: Path) -> float:
    """Return the seconds workers worked in the last run recorded in ``folder``."""
    return read_runs(folder)[-1].seconds["workers at work"]


@dataclass(frozen=True)
class Row:
    """One way to answer one query: its seconds by repeat, and what brute force's are over them."""

    neighbours: str
    way: str
    seconds: tuple[float, ...]
    speed_up: tuple[float, ...]
    recall: str


class _Bench:
    def __init__(self, config: Config, folder: Path) -> None:
        self.config = config
        self.folder = folder

    def prepare(self) -> None:
        """Do brute force, sign and calibrate, each timed."""
        config = self.config
        embed(config)
        self.embed_seconds = work_seconds(config.embed.output)
        sign(config)
        self.sign_seconds = work_seconds(config.sign.output)
        calibrate(config)
        self.calibrate_seconds = work_seconds(config.cascade.features)
        self.store = Store.open(config.sign.output, "signatures")
        self.ids = np.sort(np.concatenate(list(ids_by_shard(self.store).values())))
        search(self._asking(int(self.ids[0])))
        self.search_seconds = work_seconds(config.search.output)
        self._read_truth()

    def _read_truth(self) -> None:
        store = Store.open(self.config.embed.output, "embeddings")
        tables = [store.read(entry.shard) for entry in store.manifest()]
        whole = pa.concat_tables(tables).sort_by("id")
        self.vectors, self.group = embedding_matrix(whole["embedding"]), groups(whole)

    def _asking(self, number: int, **cascade: Any) -> Config:
        return _with(self.config, search={"queries": (f"id:{number}",)}, cascade=cascade)

    def _drawn(self, count: int) -> list[int]:
        """Return ids spread evenly, none of the first: those are special in a made corpus."""
        places = np.linspace(0, len(self.ids) - 1, count + 2)[1:-1].astype(int)
        return [int(number) for number in self.ids[places]]

    def compare(self, who: Neighbours, queries: int) -> list[Row]:
        """Return a row a way: filter only, the pipeline on nothing made yet, and again."""
        times: dict[str, list[float]] = {}
        plans: dict[str, CascadeAnswer] = {}
        for number in self._drawn(queries):
            for way, stages in (("filter only", FILTER_ONLY), ("pipeline", None)):
                with tempfile.TemporaryDirectory(dir=self.folder) as features:
                    wanted: dict[str, Any] = {"neighbours": who, "features": Path(features)}
                    wanted |= {"stages": stages} if stages else {}
                    for name in (way, f"{way}, warm"):
                        plans[name] = cascade(self._asking(number, **wanted))
                        seconds = work_seconds(self.config.cascade.output)
                        times.setdefault(name, []).append(seconds)
        brute = self.embed_seconds + self.search_seconds
        recalls = {name: self._recall(run, who) for name, run in plans.items()}
        return [
            Row(who, name, tuple(t), tuple(brute / s for s in t), recalls[name])
            for name, t in times.items()
        ]

    def _recall(self, run: CascadeAnswer, who: Neighbours) -> str:
        """Return the share of brute force's neighbours that the run's plan would let pass."""
        rows = np.searchsorted(self.ids, self._drawn(RECALL_QUERIES))
        asked, wanted = true_pairs(
            self.ids, self.vectors, self.group, rows, who, self.config.search.k
        )
        if not len(asked):
            return "no copies known"
        calibration = self._calibrated().calibration
        features = self._features(np.union1d(asked, wanted))
        passed = passing_pairs(calibration, run.plan, who, features, asked, wanted)
        found, drawn = int(passed.sum()), len(passed)
        low, high = interval(found, drawn)
        return f"{found / drawn:.3f} ({low:.3f}-{high:.3f}), promised {run.plan.bound:.3f}"

    def _calibrated(self) -> StoredCalibration:
        return stored_calibration(self.store, encoder_settings(**self.config.embed.encoder()))

    def _features(self, ids: Ids) -> pa.Table:
        source = open_source(self.config.source.url, self.config.source.kind)
        cnn = encoder_settings(**self.config.embed.encoder())
        made = on_demand_plan(source, self.store, self.config.cascade.features.resolve(), cnn)
        plan = SamplePlan(made, self.store.root, ids, np.empty(0, np.int64))
        with Sitting("recall", len(ids), self.config.ray, on_gpu=made.on_gpu) as sitting:
            features, _ = sample_features(plan, ids_by_shard(self.store), sitting.spreading)
        return features

    def break_even(self, in_turn: int) -> BreakEven:
        """Ask one query after the other, each finding what those before have made."""
        seconds = []
        with tempfile.TemporaryDirectory(dir=self.folder) as features:
            for number in self._drawn(in_turn):
                cascade(self._asking(number, features=Path(features)))
                seconds.append(work_seconds(self.config.cascade.output))
        return BreakEven(np.array(seconds), self.embed_seconds, self.search_seconds)

    def frontier(self) -> pa.Table:
        """Return (neighbours, asked, bound, recall, speed_up) for TARGETS, one query a batch.

        The speed-up is calculated from the measured costs of the stages, signatures made.
        """
        stored = self._calibrated()
        calibration, costs = stored.calibration, stored.costs
        stages = ("signature", "rough")
        k, share = self.config.search.k, calibration.sample.num_rows / len(self.ids)
        rows = []
        for who in BOTH:
            one = calibration.sample.slice(0, 1)
            codes = {stage: calibration.filters.query_codes(stage, one, who) for stage in stages}
            evidence = calibration.evidence(stages, who, k, share, codes, costs)
            for target in TARGETS:
                confidence = self.config.cascade.confidence
                plan = plan_cascade(evidence, dict.fromkeys(stages), target, confidence)
                faster = costs.milliseconds["cnn"] / plan.milliseconds
                rows.append((who, target, plan.bound, plan.recall, faster))
        names = ("neighbours", "asked", "bound", "recall", "speed_up")
        return pa.table(dict(zip(names, zip(*rows, strict=True), strict=True)))


def _median(values: Sequence[float]) -> str:
    return f"{np.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def _print(rows: list[Row], bench: _Bench, even: BreakEven) -> None:
    images, grow = len(bench.ids), MILLION / len(bench.ids)
    once = [
        ("brute force: embed all", bench.embed_seconds, grow * bench.embed_seconds),
        ("brute force: one exact search", bench.search_seconds, grow * bench.search_seconds),
        ("sign all, once", bench.sign_seconds, grow * bench.sign_seconds),
        ("calibrate, once, whatever the size", bench.calibrate_seconds, bench.calibrate_seconds),
    ]
    header = ("what", f"seconds, {images} images", "1M images, extrapolated")
    print_table(f"{bench.config.ray.workers} workers at work", header, once)
    lines = [
        (
            row.neighbours,
            row.way,
            _median(row.seconds),
            _median(row.speed_up),
            row.recall,
            f"{grow * np.median(row.seconds):,.0f}",
        )
        for row in rows
    ]
    ways = ("neighbours", "way", "s a query", "times faster", "recall", "1M, extrapolated, s")
    print_table("one query against embedding and comparing all", ways, lines)
    for note in _notes(bench, even):
        console.print(note)


def _notes(bench: _Bench, even: BreakEven) -> list[str]:
    query, measured = even.crossing()
    how = "measured" if measured else "extrapolated from the last queries"
    when = (
        "a query of the cascade costs no more than an exact search, so embedding everything first "
        "never pays"
        if query is None
        else f"embedding everything once costs less from query {query} on ({how})"
    )
    return [
        f"{len(bench.ids):,} images, {bench.config.ray.workers} workers: {when}; semantic "
        f"neighbours at recall {bench.config.cascade.recall}, one query at a time."
    ]
