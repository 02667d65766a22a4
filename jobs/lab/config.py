"""The settings of what measures: those of every job, and the lab's own."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from jobs.config import LARGEST, Config, Count, Output, Section, Seed

SEARCHED = Path("work/bench-search")  # what `sluice bench search` leaves unless told otherwise


class ScaleConfig(Section):
    """`sluice lab scale`: the same work over a list of worker counts."""

    output: Output = Path("work/scale")
    workloads: tuple[Literal["emulated", "embed", "sign", "search"], ...] = Field(
        ("emulated",),
        description="emulated sleeps; the others are real, up to this machine's cores: embed and "
        "sign source.url, search embed.output",
    )
    workers: tuple[Count, ...] = (1, 2, 4, 8, 16, 32, 64)
    repeats: Count = 3
    ms: Annotated[float, Field(gt=0)] = Field(50.0, description="emulated ms an image")
    shard_images: Count = Field(20, description="emulated images a shard")
    images: Count = Field(1280, description="of every strong-scaling run; of real work, at most")
    images_a_worker: Count = Field(320, description="of a weak-scaling run, emulated")
    queries: Count = Field(
        100, description="whose answers the driver merges: made up, or of search, sampled images'"
    )
    k: Count = 10
    seed: Seed = Field(0, description="of the order of the runs")


class MergeConfig(Section):
    """`sluice bench merge`: what merging costs against shards, queries and k."""

    output: Output = Path("work/bench-merge")
    shards: tuple[Count, ...] = (1, 10, 100, 1000, 10_000)
    queries: tuple[Count, ...] = (1, 100, 1000)
    k: tuple[Count, ...] = (10, 100)
    repeats: Count = 3
    fan_in: Annotated[int, Field(ge=2, le=LARGEST)] = Field(
        32, description="parts a task of the tree merges"
    )
    shard_rows: Count = Field(1000, description="vectors of a shard, for the search beside it")
    dimensions: Count = 1280


class GrowthConfig(Section):
    """`sluice lab growth`: how the time of each way of searching grows."""

    output: Output = Path("work/growth")


class NearestConfig(Section):
    """`sluice bench nearest`: one closest point, where more workers give almost nothing."""

    output: Output = Path("work/bench-nearest")
    points: Count = 100_000
    dimensions: Count = 256
    queries: Count = 50
    workers: tuple[Count, ...] = (1, 2, 4, 8)


class PageConfig(Section):
    """`sluice lab page`: one page over what scale, bench merge, growth and cascade have left."""

    output: Output = Path("work/lab.html")


class MillionConfig(Section):
    """`sluice lab million`: the main way at full size."""

    ready = "million.yaml"
    flags = ("ray.workers",)


class MillionDedupConfig(Section):
    """`sluice lab million-dedup`: synthetic vectors joined in one sitting."""

    flags = ("ray.workers",)
    output: Output = Path("work/million-dedup")
    rows: Annotated[int, Field(ge=2000, le=LARGEST)] = 1_000_000
    dimensions: Annotated[int, Field(ge=8, le=LARGEST)] = 256


class BenchEmbedConfig(Section):
    """`sluice bench embed`: embedding against the hardware's limit and common ways."""

    argument = ("SOURCE", "source.url")
    flags = ("source.shard_rows", "ray.workers")
    repeats: Count = 3
    rival_images: Annotated[int, Field(ge=32, le=LARGEST)] = Field(
        256, description="first images of the source, which the others embed"
    )


class BenchPixelsConfig(Section):
    """`sluice bench pixels`: making, decoding and signing images."""

    argument = ("SOURCE", "source.url")
    flags = ("source.shard_rows",)
    rounds: Count = 5


class BenchPrecisionConfig(Section):
    """`sluice bench precision`: backends, precisions and their drift."""

    argument = ("SOURCE", "source.url")
    flags = ("source.shard_rows", "embed.model", "embed.weights", "embed.input_size")


class BenchSearchConfig(Section):
    """`sluice bench search`: both grids beside plain FAISS, on synthetic vectors."""

    flags = ("ray.workers",)
    output: Output = Path("work/bench-search")
    rows: Annotated[int, Field(ge=2000, le=LARGEST)] = 1_000_000
    dimensions: Annotated[int, Field(ge=8, le=LARGEST)] = 256
    queries: Annotated[int, Field(ge=100, le=LARGEST)] = 1000
    repeats: Count = 5


class LabConfig(Config):
    """The settings of every job, and of `sluice lab` and `sluice bench`."""

    scale: ScaleConfig = Field(default_factory=ScaleConfig)
    merge: MergeConfig = Field(default_factory=MergeConfig)
    nearest: NearestConfig = Field(default_factory=NearestConfig)
    growth: GrowthConfig = Field(default_factory=GrowthConfig)
    page: PageConfig = Field(default_factory=PageConfig)
    million: MillionConfig = Field(default_factory=MillionConfig)
    million_dedup: MillionDedupConfig = Field(default_factory=MillionDedupConfig)
    bench_embed: BenchEmbedConfig = Field(default_factory=BenchEmbedConfig)
    bench_pixels: BenchPixelsConfig = Field(default_factory=BenchPixelsConfig)
    bench_precision: BenchPrecisionConfig = Field(default_factory=BenchPrecisionConfig)
    bench_search: BenchSearchConfig = Field(default_factory=BenchSearchConfig)
