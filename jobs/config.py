"""The settings of every job, in sections; jobs/settings.py reads them."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    model_validator,
)
from pydantic_core import to_jsonable_python

from pipeline.cascade.neighbours import Neighbours
from pipeline.cascade.stages import FIRST, LAST, LEARNED, STAGES
from pipeline.core.errors import ConfigError, InputError
from pipeline.core.folder import Place, place
from pipeline.core.objects import ObjectPath
from pipeline.embedding.kinds import EXAMPLES, kind_of
from pipeline.embedding.models import DEFAULT, SIMILARITY
from pipeline.embedding.settings import BackendName, Precision
from pipeline.images.deadline import SECONDS_AN_IMAGE
from pipeline.images.formats import MAX_PIXELS
from pipeline.images.kinds import KINDS
from pipeline.images.shard_rows import SHARDS_A_WORKER, Evenly, ShardRows

if TYPE_CHECKING:
    SourceKind = str
    StageName = str
else:
    SourceKind = Literal["auto", *KINDS]
    StageName = Literal[tuple(STAGES)]


def _model(name: str) -> str:
    try:
        kind_of(name)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return name


LARGEST = 2**31 - 1  # FAISS and OpenCV count in a C int
PRECISION = 0.99  # of the pairs that a second look keeps
RAY_STARTS = 10.0  # seconds, about, until Ray's workers are there
SMALL = 10_000  # images, up to which it starts for longer than it helps


def _place(output: Any) -> Any:
    try:
        named = place(str(output))
    except InputError as error:
        raise ValueError(str(error)) from error
    return _expanded(named) if isinstance(named, Path) else named


def _refuse_url(output: Any) -> Any:
    if isinstance(place(str(output)), ObjectPath):
        raise ValueError("this output goes to no object store: name a folder")
    return output


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


def _expanded(path: Path) -> Path:
    expanded = Path(os.path.expanduser(path))
    try:
        expanded.resolve()
    except RuntimeError as error:
        raise ValueError("it is a link that leads to itself; name another path") from error
    return expanded


Count = Annotated[int, Field(ge=1, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, le=LARGEST)]
Share = Annotated[float, Field(gt=0, lt=1)]
Location = Annotated[str, AfterValidator(os.path.expanduser)]  # a path or an fsspec URL
Locations = Annotated[tuple[Location, ...], BeforeValidator(_listed)]  # one, or several
LocalPath = Annotated[Path, AfterValidator(_expanded)]
ModelName = Annotated[str, AfterValidator(_model)]
LocalOutput = Annotated[LocalPath, BeforeValidator(_refuse_url)]
Output = Annotated[Place, BeforeValidator(_place)]  # a path, or a URL of an object store


class Section(BaseModel):
    """The settings of one command, which are its flags; ``argument`` and ``flags`` are others'.

    Unknown keys are errors, so a misspelling cannot pass. No section is built before it is read,
    for no help page needs it.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        defer_build=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
    )
    argument: ClassVar[tuple[str, str] | None] = None  # what the help calls it; the setting it is
    flags: ClassVar[tuple[str, ...]] = ()  # settings of other sections, as "ray.workers"
    ready: ClassVar[str | None] = None  # the file of configs/ read where --config names none


class CorpusConfig(Section):
    """`sluice corpus`: photos in, N distinct labelled JPEGs out."""

    argument = ("PHOTOS", "corpus.photos")
    flags = ("ray.workers",)
    photos: Location | None = Field(
        None, description="folder of photos; none: those in the scikit-image wheel"
    )
    output: Output = Path("work/corpus")
    images: Count = 2000
    copies: Annotated[int, Field(ge=1, le=64)] = Field(
        8, description="versions of each scene, the original among them"
    )
    size: Annotated[int, Field(ge=32, le=2048)] = Field(160, description="shorter side, pixels")
    quality: Annotated[int, Field(ge=30, le=100)] = Field(85, description="JPEG quality")
    shard_rows: Count = 1000
    seed: Seed = 0


class SourceConfig(Section):
    """Where the images are: folders, Parquet, WebDataset tars or lists, on any fsspec URL."""

    url: Locations = Field(
        ("work/corpus",), min_length=1, description="where the images are, on any fsspec URLs"
    )
    kind: SourceKind = Field("auto", description="auto: by what lies there")
    shard_rows: Count | None = Field(
        None,
        description=f"images a shard; none: {SHARDS_A_WORKER} shards a worker and more; a tar is "
        "always one shard",
    )
    image_column: str | None = Field(
        None,
        description="column of the images' bytes; none: bytes, or the one that can be no other",
    )
    path_column: str | None = Field(
        None, description="column of paths or URLs, in Parquet or CSV: the images are what it names"
    )
    exclude: tuple[str, ...] = Field(
        (), description="patterns of paths to leave out, as */raw/*; hidden files always are"
    )
    max_pixels: Count = Field(
        MAX_PIXELS, description="larger images are quarantined where they cannot be decoded smaller"
    )

    @model_validator(mode="after")
    def _of_one_column(self) -> Self:
        if self.image_column and self.path_column:
            raise ValueError("image_column and path_column cannot both be read: leave one out")
        if self.path_column and self.kind not in ("auto", "paths"):
            raise ValueError(f"a path_column is read of the kind paths, not {self.kind}")
        if self.kind == "paths" and not self.path_column:
            raise ValueError("the kind paths needs path_column, the name of the column they are in")
        return self

    def asked(self) -> dict[str, Any]:
        """Return what list_source takes."""
        return {
            "urls": self.url,
            "kind": "paths" if self.path_column else self.kind,
            "exclude": self.exclude,
            "column": self.path_column or self.image_column,
            "max_pixels": self.max_pixels,
        }

    def given(self) -> tuple[str, ...] | None:
        """Return the URLs where some are set: a store remembers its own."""
        return self.url if "url" in self.model_fields_set else None


READ_AS = (
    "source.kind",
    "source.image_column",
    "source.path_column",
    "source.shard_rows",
    "source.exclude",
)


class EmbedConfig(Section):
    """`sluice embed`: one CNN vector an image."""

    argument = ("SOURCE", "source.url")
    flags = (*READ_AS, "ray.workers")
    output: Output = Path("work/embeddings")
    model: ModelName = Field(DEFAULT, description=", ".join(EXAMPLES))
    weights: LocalPath | None = Field(
        None,
        description="weights file (.pth or .safetensors) of a network that is named, which no "
        f"package brings for any but {DEFAULT}",
    )
    weights_sha256: str | None = Field(None, description="refuse weights with another checksum")
    backend: Literal["auto", BackendName] = Field(
        "auto", description="auto: cuda where torch sees a GPU, else openvino; torch: reference"
    )
    precision: Literal["auto", Precision] = Field(
        "auto", description="auto: the fastest that keeps f32's neighbours, tried for many images"
    )
    input_size: Annotated[int, Field(ge=16, le=2048)] | None = Field(
        None, description="side of the square the model sees, pixels; none: the model's own"
    )
    batch_size: Count | None = Field(
        None, description="none: what its file fixes, else 1 on a CPU, 64 on a GPU"
    )
    seconds_an_image: Annotated[float, Field(gt=0, le=86_400)] = Field(
        SECONDS_AN_IMAGE, description="to decode one, else it is quarantined as too-slow"
    )

    def encoder(self) -> dict[str, Any]:
        """Return what encoder_settings takes."""
        return self.model_dump(exclude={"output", "seconds_an_image"})


class IndexConfig(Section):
    """`sluice index`: a grid over the embeddings, so that a search reads only some buckets."""

    flags = ("ray.workers",)
    output: Output = Path("work/index")
    grid: Literal["ivf", "hash"] = Field("ivf", description="k-means cells or hyperplane hashing")
    grid_from: Output | None = Field(None, description="take the trained grid of this index over")
    buckets: Count | None = Field(None, description="none: the square root of the images")
    sample: Count = Field(64, description="vectors a bucket to train the grid on")
    seed: Seed = 0
    calibration_queries: Annotated[int, Field(ge=2, le=LARGEST)] = Field(
        2000, description="half choose the work of a search, half measure its recall"
    )
    calibration_k: Count = Field(10, description="the largest search.k that recall is known for")
    add: bool = Field(False, description="only add new shards: the output must be there")

    def identity(self) -> dict[str, Any]:
        """Return what decides an index's bytes, beside the embeddings."""
        names = {"grid", "buckets", "sample", "seed"}
        calibration = [self.calibration_queries, self.calibration_k]
        return self.model_dump(include=names) | {"calibration": calibration}


class SearchConfig(Section):
    """`sluice search`: the k most similar images of each query."""

    argument = ("QUERIES", "search.queries")
    flags = ("ray.workers",)
    queries: tuple[Location, ...] = Field(
        (), description="image paths, folders, keys of images embedded, or id:NUMBER"
    )
    text: tuple[str, ...] = Field(
        (), description="queries in words, where the model has a text half"
    )
    text_model: LocalPath | None = Field(
        None,
        description="ONNX file of that half, its tokenizer.json beside it; none: text_model.onnx "
        "beside the images' half",
    )
    sample_queries: Annotated[int, Field(ge=0, le=LARGEST)] = Field(
        0, description="further queries drawn evenly from the store's own images"
    )
    output: Output = Field(
        Path("work/search"), description="a folder, or a file: .parquet, .csv or .json"
    )
    k: Annotated[int, Field(ge=1, le=10_000)] = 10
    min_score: Annotated[float, Field(ge=-1, le=1)] = Field(
        -1.0, description="leave out results whose cosine with the query is less"
    )
    where: str | None = Field(
        None,
        description="search only images of which this is true, in SQL as after WHERE: "
        "label = 'cat' and width >= 800",
    )
    open: bool = Field(
        False, description="show the results as a page of pictures, in the browser where one is"
    )
    index: bool = Field(False, description="probe the index at index.output, not every image")
    recall: Share = Field(0.99, description="recall@k that probing must reach")
    confidence: Share = Field(0.95, description="of the lower bound on that recall")

    def refuse_no_queries(self) -> None:
        """Raise ConfigError where no queries are named."""
        if not self.queries and not self.sample_queries and not self.text:
            raise ConfigError(
                "no queries: name image files, folders, keys or id:NUMBER on the command line or "
                "in search.queries, say --text, or set search.sample_queries"
            )


class DedupConfig(Section):
    """`sluice dedup`: all pairs above a similarity, their groups, and whom to keep."""

    argument = ("FOLDERS", "dedup.folders")
    flags = ("embed.model", "embed.weights", "ray.workers")
    folders: Locations = Field(
        (), description="embed first what embed.output lacks of it; none: embed.output as it is"
    )
    against: Location | None = Field(
        None, description="a folder to compare with: only pairs across, and none of it is dropped"
    )
    output: Output = Path("work/dedup")
    similarity: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="cosine from which two images are a pair, by their vectors alone; none: a "
        "second look at their pixels decides",
    )
    precision: Share | None = Field(
        None,
        description="share of the pairs kept that a second look expects to be copies; none: "
        f"{PRECISION}, unless a recall is asked for",
    )
    recall: Share | None = Field(
        None, description="share of the copies among the candidates that it expects to keep"
    )
    rule: Literal["survivor", "components"] = Field(
        "survivor", description="survivor: all are similar to the one kept; components: chains too"
    )
    prefer: tuple[str, ...] = Field(
        (), description="patterns of names to keep before others, as originals/*"
    )
    doubtful: bool = Field(
        False, description="compare images without contrast, and those that decoded in part, too"
    )
    buckets: Count | None = Field(
        None, description="none: one up to brute_force_up_to images, else their square root"
    )
    brute_force_up_to: Count = Field(20_000, description="images of which all pairs are compared")
    assignments: Annotated[int, Field(ge=1, le=16)] = Field(
        3, description="nearest buckets that each vector lies in"
    )
    partition_rows: Count = Field(50_000, description="vectors a worker holds at once, about")
    grid_from: Output | None = Field(None, description="take the trained grid of this output over")
    sample: Count = Field(64, description="vectors a bucket to train the grid on")
    copies: Annotated[int, Field(ge=0, le=LARGEST)] = Field(
        0, description="made of images under 36 changes, to tell which would be found; 0: none"
    )
    recall_sample: Count = Field(1000, description="images compared with all, to measure recall")
    confidence: Share = 0.95
    shown: Count = Field(400, description="connected components on the page, with their pictures")
    review: bool = Field(
        False, description="serve the page on this machine, to judge pairs, until it says done"
    )
    verdicts: LocalPath | None = Field(
        None, description="take in the verdicts that the page has downloaded (CSV)"
    )
    seed: Seed = 0
    add: bool = Field(False, description="only add new shards: the output must be there")

    @model_validator(mode="after")
    def _reference_stays(self) -> "DedupConfig":
        if self.against and self.rule == "components":
            raise ValueError("by components chains would drop images of against: use rule=survivor")
        if self.similarity and (self.precision or self.recall):
            raise ValueError(
                "similarity is for vectors alone: leave it out, or precision and recall"
            )
        return self

    @property
    def cosine(self) -> float:
        """The similarity, DEFAULT's where none is set."""
        return self.similarity or SIMILARITY

    @property
    def kept_precision(self) -> float | None:
        """The precision asked for, PRECISION where neither it nor a recall is."""
        return self.precision if self.precision or self.recall else PRECISION

    def partitions(self) -> dict[str, Any]:
        """Return what PartitionSettings takes."""
        names = {"buckets", "brute_force_up_to", "assignments", "partition_rows", "sample", "seed"}
        return self.model_dump(include=names)


class LeaksConfig(Section):
    """`sluice leaks`: the test images that have a copy in train, and a split without them."""

    argument = ("TRAIN TEST", "leaks.folders")
    flags = ("dedup.similarity", "dedup.review", "dedup.verdicts", "ray.workers")
    folders: Locations = Field((), description="two folders: that of train, then that of test")
    output: Output = Path("work/leaks")
    at_most: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="share of the test images that may have a copy in train; more: exit code 1"
    )
    copies: Annotated[int, Field(ge=0, le=LARGEST)] = Field(
        200, description="made of images of train, to learn what share of copies is found; 0: none"
    )


class ApplyConfig(Section):
    """`sluice apply`: act on what a deduplication would drop; without any of these nothing is."""

    argument = ("OUTPUT", "dedup.output")
    move: Output | None = Field(None, description="the folder, or URL, to move the images to")
    link: Literal["hard", "sym"] | None = Field(
        None, description="make images with the same bytes links to the one kept"
    )
    delete: bool = Field(False, description="delete the images; only what had a twin comes back")

    @model_validator(mode="after")
    def _one_of_them(self) -> "ApplyConfig":
        if (self.move is not None) + (self.link is not None) + self.delete > 1:
            raise ValueError("move, link and delete exclude one another: say one")
        return self

    def action(self) -> Literal["move", "hard", "sym", "delete"] | None:
        """Return what is asked for, None for nothing."""
        if self.move:
            return "move"
        return self.link or ("delete" if self.delete else None)


class UndoConfig(Section):
    """`sluice undo`: put back what was applied."""

    argument = ("OUTPUT", "dedup.output")


class SignConfig(Section):
    """`sluice sign`: a cheap signature of every image, and the header facts filters ask about."""

    argument = ("SOURCE", "source.url")
    flags = (*READ_AS, "embed.seconds_an_image", "ray.workers")
    output: Output = Path("work/signatures")


Comparison = tuple[
    str, Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"], str | int | float | list[Any]
]


class StageConfig(Section):
    """One stage of a cascade, cheaper than those after it."""

    stage: StageName
    where: tuple[Comparison, ...] = Field(
        (), description="metadata: [column, operator, value], all of which must hold"
    )
    keep: Share | None = Field(
        None, description="share of the collection to keep; none: the planner chooses"
    )


# Constructed, not checked: checking builds the model, for which no help page should wait.
DEFAULT_STAGES = tuple(StageConfig.model_construct(stage=name) for name in (*LEARNED, LAST))


class CalibrateConfig(Section):
    """`sluice calibrate`: what the filters are fitted to, and the evidence for their recall."""

    argument = ("SOURCE", "source.url")
    flags = ("cascade.features", "ray.workers")
    fit_images: Count = Field(300, description="embedded to fit the filters")
    calibration_images: Count = Field(700, description="embedded to prove the recall")


class CascadeConfig(Section):
    """`sluice cascade`: search without running the CNN on everything."""

    argument = ("QUERIES", "search.queries")
    flags = (
        "source.url",
        "search.k",
        "search.min_score",
        "search.where",
        "search.sample_queries",
        "ray.workers",
    )
    stages: tuple[StageConfig, ...] = DEFAULT_STAGES
    neighbours: Neighbours = Field(
        "semantic", description="whose recall is promised: semantic neighbours' or copies'"
    )
    recall: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.9, description="share of brute force's neighbours that must be found"
    )
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seconds: Annotated[float, Field(gt=0)] | None = Field(
        None, description="a time budget a batch of queries; replaces the recall asked for"
    )
    compare_void: bool = Field(
        False, description="compare queries unlike the calibration's with every image"
    )
    features: Output = Field(Path("work/features"), description="CNN features made on demand")
    output: Output = Path("work/cascade")

    @model_validator(mode="after")
    def _in_order(self) -> "CascadeConfig":
        order = tuple(STAGES)
        places = [order.index(stage.stage) for stage in self.stages]
        if places != sorted(set(places)) or not places or places[-1] != len(order) - 1:
            raise ValueError(f"stages must each come once, in the order {', '.join(order)}")
        for stage in self.stages:
            if stage.where and not STAGES[stage.stage].where:
                raise ValueError(f"only the {FIRST} stage takes where, not {stage.stage}")
            if stage.keep and not STAGES[stage.stage].filters:
                raise ValueError(f"the {stage.stage} stage takes no keep")
        return self

    def goal(self) -> dict[str, Any]:
        """Return what a Goal takes of these settings."""
        stages = {s.stage: s.keep for s in self.stages if STAGES[s.stage].filters}
        where = tuple(comparison for stage in self.stages for comparison in stage.where)
        names = {"neighbours", "recall", "confidence", "seconds", "compare_void"}
        return self.model_dump(include=names) | {"stages": stages, "where": where}


class ReportConfig(Section):
    """`sluice report`: one self-contained page."""

    argument = ("SOURCE", "source.url")
    output: Output = Path("work/report.html")
    results: Output | None = Field(
        None, description="folder that a search or a cascade has left; none: search.output"
    )
    max_queries: Count = Field(24, description="queries shown with pictures")
    growth: LocalPath = Field(
        Path("work/growth"), description="what `sluice lab growth` has left; no chart where nothing"
    )


class DemoConfig(Section):
    """`sluice demo`: the other commands, one after the other."""

    ready = "demo.yaml"
    flags = ("ray.workers",)


class ModelsConfig(Section):
    """`sluice models`: what can embed here."""

    flags = ("embed.model", "embed.weights")


class VerifyConfig(Section):
    """`sluice verify`: are the bytes those that the jobs wrote?"""

    argument = ("STORES", "verify.stores")
    flags = ("embed.weights", "ray.workers")
    stores: tuple[Output, ...] = Field((), description="outputs of jobs")
    mend: bool = Field(False, description="make what is damaged again, and nothing else")


class UsageConfig(Section):
    """`sluice usage`: what outputs took."""

    argument = ("FOLDERS", "usage.folders")
    folders: tuple[Output, ...] = Field((), description="outputs of jobs")


def _joined() -> bool:
    """Return whether this process is connected to Ray."""
    return "ray" in sys.modules and sys.modules["ray"].is_initialized()


class RayConfig(Section):
    """How the work is spread."""

    workers: Annotated[int, Field(ge=0, le=10_000)] = Field(
        2,
        description="workers, one CPU each; 0: this process. If no number is given, up to 10,000 "
        "images are done without Ray, and a search of a few seconds is done in this process",
    )
    address: str | None = Field(None, description="a cluster to join; none: this machine")

    @property
    def given(self) -> bool:
        """Whether a number of workers, or a cluster, was named."""
        return bool(self.address) or "workers" in self.model_fields_set

    def is_small(self, images: int) -> bool:
        """Return whether processes of this machine do a job over so many without Ray.

        Not where a number of workers was given, or a cluster named or joined.
        """
        given = self.given or os.environ.get("RAY_ADDRESS")
        return not given and images <= SMALL and not _joined()

    def for_work_of(self, seconds: float) -> "RayConfig":
        """Return these settings, with no workers where the work ends sooner than Ray starts.

        seconds: what the work takes one process. A number of workers that was given stays.
        """
        if self.given or seconds > RAY_STARTS:
            return self
        return self.model_copy(update={"workers": 0})


class Config(Section):
    """All jobs' settings; each job reads its own section and those before it in the data's way."""

    corpus: CorpusConfig = Field(default_factory=CorpusConfig)
    source: SourceConfig = Field(default_factory=SourceConfig)
    embed: EmbedConfig = Field(default_factory=EmbedConfig)
    index: IndexConfig = Field(default_factory=IndexConfig)
    sign: SignConfig = Field(default_factory=SignConfig)
    search: SearchConfig = Field(default_factory=SearchConfig)
    calibrate: CalibrateConfig = Field(default_factory=CalibrateConfig)
    cascade: CascadeConfig = Field(default_factory=CascadeConfig)
    dedup: DedupConfig = Field(default_factory=DedupConfig)
    leaks: LeaksConfig = Field(default_factory=LeaksConfig)
    apply: ApplyConfig = Field(default_factory=ApplyConfig)
    undo: UndoConfig = Field(default_factory=UndoConfig)
    report: ReportConfig = Field(default_factory=ReportConfig)
    demo: DemoConfig = Field(default_factory=DemoConfig)
    models: ModelsConfig = Field(default_factory=ModelsConfig)
    verify: VerifyConfig = Field(default_factory=VerifyConfig)
    usage: UsageConfig = Field(default_factory=UsageConfig)
    ray: RayConfig = Field(default_factory=RayConfig)
    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    def shard_rows(self) -> ShardRows:
        """Return the images a shard that are asked for, else for whom to cut the shards."""
        return self.source.shard_rows or Evenly(self.ray.workers)

    def with_origins(self, origins: Mapping[str, str]) -> Self:
        """Keep where settings came from, by their names; others are as by default."""
        self._origins.update(origins)
        return self

    def origin(self, key: str) -> str:
        """Return where a setting came from: ``default``, a file, ``--set``, ``command line``."""
        return self._origins.get(key, "default")


def as_yaml(value: Any) -> str:
    """Return a setting's value as one line of YAML."""
    plain = to_jsonable_python(_plain(value), exclude_none=True)
    text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=2**20)
    return text.removesuffix("\n").removesuffix("\n...")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, ObjectPath) else value


def print_settings(config: Config) -> None:
    """Print every setting as YAML, with where it came from and, where it differs, its default."""
    import click

    for section, part in config:
        settings = type(part).model_fields
        if settings:
            click.echo(f"{section}:")
        for name, field in settings.items():
            said = f"  {name}: {as_yaml(getattr(part, name))}"
            default = as_yaml(field.get_default(call_default_factory=True))
            origin = config.origin(f"{section}.{name}")
            told = "default" if origin == "default" else f"{origin}; default {default}"
            click.echo(f"{said:48}  # {told}")


def command(config: Config) -> None:
    """Print every setting, its default and where it came from.

    What is printed is YAML, which --config takes.
    """
    print_settings(config)
