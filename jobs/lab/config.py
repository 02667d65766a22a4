"""The settings of what measures: those of every job, and the lab's own."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from jobs.config import (
    LARGEST,
    Config,
    Count,
    LocalOutput,
    LocalPath,
    Location,
    ModelName,
    Section,
    Seed,
    Share,
    print_settings,
)
from pipeline.lab.scaling.settings import ScaleSettings, WorkloadName


def _foretold(workers: int) -> int:
    from pipeline.core.forecast import MOST  # numpy and Arrow: no help page waits for them

    if workers > MOST:
        raise ValueError(f"more than the {MOST:,} workers that are looked at")
    return workers


class ScaleConfig(Section):
    """`sluice lab scale`: the same work over a list of worker counts."""

    output: LocalOutput = Path("work/scale")
    workloads: tuple[WorkloadName, ...] = Field(
        ScaleSettings.workloads,
        description="emulated sleeps; the others are real, up to this machine's cores: embed and "
        "sign source.url, search embed.output",
    )
    workers: tuple[Count, ...] = ScaleSettings.workers
    repeats: Count = ScaleSettings.repeats
    ms: Annotated[float, Field(gt=0)] = Field(ScaleSettings.ms, description="emulated ms an image")
    shard_images: Count = Field(ScaleSettings.shard_images, description="emulated images a shard")
    images: Count = Field(
        ScaleSettings.images, description="of every strong-scaling run; of real work, at most"
    )
    images_a_worker: Count = Field(
        ScaleSettings.images_a_worker, description="of a weak-scaling run, emulated"
    )
    queries: Count = Field(
        ScaleSettings.queries,
        description="whose answers the driver merges: made up, or of search, sampled images'",
    )
    k: Count = ScaleSettings.k
    seed: Seed = Field(ScaleSettings.seed, description="of the order of the runs")

    def settings(self) -> ScaleSettings:
        """Return what decides the runs."""
        return ScaleSettings(**self.model_dump(exclude={"output"}))


def _a_number(said: Any) -> Any:
    """Read 1M, 250k, 1_000_000 and 1,000,000 as one says them."""
    found = re.fullmatch(r"([\d.,_]+(?:e\d+)?)\s*([kmbKMB]?)", str(said).strip())
    if not found:
        return said
    times = {"": 1, "k": 1e3, "m": 1e6, "b": 1e9}[found[2].lower()]
    return float(found[1].replace(",", "").replace("_", "")) * times


Rate = Annotated[float, Field(ge=0)]


class PlanConfig(Section):
    """`sluice lab plan`: what to plan for, by your own runs or those measured elsewhere."""

    images: Annotated[float, BeforeValidator(_a_number), Field(ge=1, le=1e12)] | None = Field(
        None, description="how many, as 1M, 250k or 1e6"
    )
    ms: Annotated[float, Field(gt=0)] | None = Field(
        None, description="milliseconds of a worker an image takes; none: as in the run"
    )
    from_: LocalPath | None = Field(
        None, description="output of a job whose run.json is gone by; none: scale.output"
    )
    price: Rate | None = Field(None, description="of one worker for one hour, on demand")
    spot_price: Rate | None = Field(None, description="of one that may be taken away")
    interruptions: Annotated[float, Field(ge=0, le=60)] = Field(
        0.05, description="of a spot worker an hour"
    )
    deadline: str = Field("1h", description="as 90s, 10m, 1h30m or 2d")
    most: Annotated[Count, AfterValidator(_foretold)] = Field(1024, description="workers tried")
    shards_a_worker: Annotated[int, Field(ge=1, le=100)] = 4


class ClaimsConfig(Section):
    """`sluice lab claims`: the guide's numbers beside this machine's."""

    flags = ("cascade.recall",)
    file: LocalPath | None = Field(None, description="a list of claims; none: the guide's")
    output: LocalOutput = Path("work/claims")


class GuideConfig(Section):
    """`sluice lab guide`: every measurement that the claims need, one after the other."""

    ready = "guide.yaml"
    output: LocalOutput = Path("work/guide")  # where what each step took is kept


class GrowthConfig(Section):
    """`sluice lab growth`: how the time of each way of searching grows."""

    output: LocalOutput = Path("work/growth")
    largest: Annotated[int, Field(ge=4096, le=LARGEST)] = Field(
        2**18, description="synthetic vectors, from 1,024 up, each time twice as many"
    )
    dimensions: Annotated[int, Field(ge=8, le=LARGEST)] = 256


class PageConfig(Section):
    """`sluice lab page`: one page over what the lab, benchmarks and cascade have left."""

    flags = ("plan.images", "plan.ms", "plan.from_", "cascade.recall")
    output: LocalOutput = Path("work/lab.html")


class MillionConfig(Section):
    """`sluice lab million`: the main way at full size."""

    ready = "million.yaml"
    flags = ("ray.workers",)


class MillionIndexConfig(Section):
    """`sluice lab million-index`: synthetic vectors in an index."""

    flags = ("ray.workers",)
    output: LocalOutput = Path("work/million-index")
    rows: Annotated[int, Field(ge=2000, le=LARGEST)] = 1_000_000
    dimensions: Annotated[int, Field(ge=8, le=LARGEST)] = 256


class MillionDedupConfig(Section):
    """`sluice lab million-dedup`: synthetic vectors joined in one sitting."""

    flags = ("ray.workers",)
    output: LocalOutput = Path("work/million-dedup")
    rows: Annotated[int, Field(ge=2000, le=LARGEST)] = 1_000_000
    dimensions: Annotated[int, Field(ge=8, le=LARGEST)] = 256


SOURCE = ("SOURCE", "source.url")
READ_BY = ("source.kind", "source.shard_rows", "ray.workers")
NETWORK = ("embed.model", "embed.weights", "embed.input_size", "embed.batch_size")


class BenchEmbedConfig(Section):
    """`sluice bench embed`: our embedding beside the hardware's limit and other ways."""

    argument = SOURCE
    flags = (*NETWORK, "embed.backend", "embed.precision", *READ_BY)
    repeats: Count = 3
    rival_images: Annotated[int, Field(ge=32, le=LARGEST)] = Field(
        256, description="of the first images, which the others embed"
    )
    beside: tuple[ModelName, ...] = Field(
        (), description="further encoders, run in every way that works here, as embed.model is"
    )
    batches: Annotated[tuple[Count, ...], Field(min_length=1)] = Field(
        (1, 8, 32), description="images at once"
    )


class BenchPixelsConfig(Section):
    """`sluice bench pixels`: making, decoding and signing images."""

    argument = SOURCE
    flags = ("source.kind", "source.shard_rows", "embed.input_size", "corpus.photos")
    rounds: Count = 5


class BenchSourcesConfig(Section):
    """`sluice bench sources`: what the driver pays to plan a source."""

    output: LocalOutput = Path("work/bench-sources")  # where the sources are made
    files: tuple[Count, ...] = Field((1000, 10_000, 100_000), description="of the folders")
    gigabytes: Annotated[float, Field(gt=0, le=1000)] = Field(
        10.0, description="of Parquet, and of tars"
    )


class BenchSearchConfig(Section):
    """`sluice bench search`: our grids beside plain FAISS."""

    flags = ("ray.workers",)
    output: LocalOutput = Path("work/bench-search")
    rows: Annotated[int, Field(ge=2000, le=LARGEST)] = Field(
        1_000_000, description="synthetic vectors"
    )
    dimensions: Annotated[int, Field(ge=8, le=LARGEST)] = 256
    queries: Annotated[int, Field(ge=100, le=LARGEST)] = 1000
    repeats: Count = 5


class BenchNearestConfig(Section):
    """`sluice bench nearest`: one closest point, where more workers give almost nothing."""

    output: LocalOutput = Path("work/bench-nearest")
    points: Count = 100_000
    dimensions: Count = 256
    queries: Count = 50
    workers: tuple[Count, ...] = (1, 2, 4, 8)


class BenchMergeConfig(Section):
    """`sluice bench merge`: what merging costs against shards, queries and k."""

    flags = ("ray.workers",)
    output: LocalOutput = Path("work/bench-merge")
    shards: tuple[Count, ...] = (1, 10, 100, 1000, 10_000)
    queries: tuple[Count, ...] = (1, 100, 1000)
    k: tuple[Count, ...] = (10, 100)
    repeats: Count = 3
    fan_in: Annotated[int, Field(ge=2, le=LARGEST)] = Field(
        32, description="parts a task of the tree merges"
    )
    shard_rows: Count = Field(1000, description="vectors of a shard, for the search beside it")
    dimensions: Count = 1280


class BenchRecallConfig(Section):
    """`sluice bench recall`: every filter's recall, by what it keeps."""

    flags = ("sign.output", "search.k")


class BenchPromiseConfig(Section):
    """`sluice bench promise`: whether a promised recall is kept."""

    argument = SOURCE
    flags = (
        *READ_BY,
        "search.k",
        "cascade.confidence",
        "calibrate.fit_images",
        "calibrate.calibration_images",
    )
    output: LocalOutput = Path("work/bench-promise")
    trials: Count = Field(200, description="calibrations, each on samples of its own")
    recalls: tuple[Share, ...] = Field((0.8, 0.9, 0.95, 0.99), min_length=1)
    category: str | None = Field(
        None, description="column by which to tell of recall; none: clusters of the embeddings"
    )
    clusters: Count = Field(8, description="of the embeddings, where no category is named")


class BenchCascadeConfig(Section):
    """`sluice bench cascade`: the cascade beside brute force."""

    argument = SOURCE
    flags = (*READ_BY, "search.k", "cascade.recall", "cascade.confidence", "cascade.output")
    queries: Count = Field(3, description="single queries, each answered by every way")
    in_turn: Annotated[int, Field(ge=4, le=LARGEST)] = Field(
        12, description="queries one after the other, sharing what they made"
    )


class BenchDedupConfig(Section):
    """`sluice bench dedup`: near-duplicates our way and by imagededup."""

    argument = SOURCE
    flags = (*READ_BY, *NETWORK, "dedup.similarity")


class BenchChangesConfig(Section):
    """`sluice bench changes`: copies under many changes, and who finds them."""

    argument = ("PHOTOS", "bench_changes.photos")
    flags = ("ray.workers", *NETWORK)
    photos: Location | None = Field(None, description="a folder of photographs")
    changed: Count = Field(20, description="photos of which copies are made")
    each: Count | None = Field(None, description="copies of each; none: one a change, of 36")
    rivals: bool = Field(True, description="imagededup too, where it is installed")


class LabConfig(Config):
    """The settings of every job, and of `sluice lab` and `sluice bench`."""

    scale: ScaleConfig = Field(default_factory=ScaleConfig)
    plan: PlanConfig = Field(default_factory=PlanConfig)
    claims: ClaimsConfig = Field(default_factory=ClaimsConfig)
    guide: GuideConfig = Field(default_factory=GuideConfig)
    growth: GrowthConfig = Field(default_factory=GrowthConfig)
    page: PageConfig = Field(default_factory=PageConfig)
    million: MillionConfig = Field(default_factory=MillionConfig)
    million_index: MillionIndexConfig = Field(default_factory=MillionIndexConfig)
    million_dedup: MillionDedupConfig = Field(default_factory=MillionDedupConfig)
    bench_embed: BenchEmbedConfig = Field(default_factory=BenchEmbedConfig)
    bench_pixels: BenchPixelsConfig = Field(default_factory=BenchPixelsConfig)
    bench_sources: BenchSourcesConfig = Field(default_factory=BenchSourcesConfig)
    bench_search: BenchSearchConfig = Field(default_factory=BenchSearchConfig)
    bench_nearest: BenchNearestConfig = Field(default_factory=BenchNearestConfig)
    bench_merge: BenchMergeConfig = Field(default_factory=BenchMergeConfig)
    bench_recall: BenchRecallConfig = Field(default_factory=BenchRecallConfig)
    bench_promise: BenchPromiseConfig = Field(default_factory=BenchPromiseConfig)
    bench_cascade: BenchCascadeConfig = Field(default_factory=BenchCascadeConfig)
    bench_dedup: BenchDedupConfig = Field(default_factory=BenchDedupConfig)
    bench_changes: BenchChangesConfig = Field(default_factory=BenchChangesConfig)


def command(config: LabConfig) -> None:
    """Print every setting, the lab's and benchmarks' too, and where it came from.

    What is printed is YAML, which --config takes.
    """
    print_settings(config)
