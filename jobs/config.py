"""The settings of every job: YAML files, ``--set`` overrides, all errors told at once."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, overload

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.core.errors import ConfigError

Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the configuration; unknown keys are errors, so a misspelling cannot pass."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CorpusConfig(Section):
    """`sluice corpus`: photos in, N distinct labelled JPEGs out."""

    photos: str | None = Field(
        None, description="folder of photos; none: those in the scikit-image wheel"
    )
    output: Path = Path("work/corpus")
    images: Count = 2000
    copies: Annotated[int, Field(ge=1, le=64)] = Field(
        8, description="versions of each scene, the original among them"
    )
    size: Annotated[int, Field(ge=32, le=2048)] = Field(160, description="shorter side, pixels")
    quality: Annotated[int, Field(ge=30, le=100)] = Field(85, description="JPEG quality")
    shard_rows: Count = 1000
    seed: int = 0


class SourceConfig(Section):
    """Where the images are: a folder, Parquet with bytes, or WebDataset tars, on any fsspec URL."""

    url: str = "work/corpus"
    kind: Literal["auto", "folder", "parquet", "webdataset"] = "auto"
    shard_rows: Count = Field(1000, description="images a shard; a tar is always one shard")


class EmbedConfig(Section):
    """`sluice embed`: one CNN vector an image."""

    output: Path = Path("work/embeddings")
    model: Literal["efficientnet_lite0", "resnet50"] = "efficientnet_lite0"
    weights: Path | None = Field(
        None, description="weights file (.pth or .safetensors); resnet50 needs one"
    )
    weights_sha256: str | None = Field(None, description="refuse weights with another checksum")
    backend: Literal["auto", "cuda", "openvino", "torch"] = Field(
        "auto", description="auto: cuda (torch) where a GPU is, else openvino; torch: reference"
    )
    precision: Literal["auto", "f32", "bf16", "int8"] = Field(
        "auto", description="auto: bf16 where the hardware has it, else f32; int8 needs nncf"
    )
    input_size: Annotated[int, Field(ge=32, le=512, multiple_of=32)] = Field(
        224, description="side of the square the model sees, pixels"
    )
    batch_size: Count = 32

    def encoder(self) -> dict[str, Any]:
        """Return what encoder_settings takes."""
        return self.model_dump(exclude={"output"})


class IndexConfig(Section):
    """`sluice index`: a grid over the embeddings, so that a search reads only some buckets."""

    output: Path = Path("work/index")
    grid: Literal["ivf", "hash"] = Field("ivf", description="k-means cells or hyperplane hashing")
    grid_from: Path | None = Field(None, description="take the trained grid of this index over")
    buckets: Count | None = Field(None, description="none: the square root of the images")
    sample: Count = Field(64, description="vectors a bucket to train the grid on")
    vectors: Literal["f32", "f16", "int8"] = Field(
        "f32", description="stored so; f16 and int8 are ranked again by the embeddings themselves"
    )
    seed: int = 0
    calibration_queries: Annotated[int, Field(ge=2)] = Field(
        2000, description="half choose the buckets to probe, half measure the recall"
    )
    calibration_k: Count = Field(10, description="the largest search.k that recall is known for")

    def identity(self) -> dict[str, Any]:
        """Return what decides an index's bytes, beside the embeddings."""
        names = {"grid", "buckets", "sample", "seed", "vectors"}
        calibration = [self.calibration_queries, self.calibration_k]
        return self.model_dump(include=names) | {"calibration": calibration}


Share = Annotated[float, Field(gt=0, lt=1)]


class SearchConfig(Section):
    """`sluice search`: the k most similar images of each query."""

    queries: tuple[str, ...] = Field((), description="image paths, folders, or id:NUMBER")
    sample_queries: Annotated[int, Field(ge=0)] = Field(
        0, description="further queries drawn evenly from the store's own images"
    )
    output: Path = Path("work/search")
    k: Annotated[int, Field(ge=1, le=10_000)] = 10
    index: bool = Field(False, description="probe the index at index.output, not every image")
    recall: Share = Field(0.99, description="recall@k that probing must reach")
    confidence: Share = Field(0.95, description="of the lower bound on that recall")

    def refuse_no_queries(self) -> None:
        """Raise ConfigError where no queries are named."""
        if not self.queries and not self.sample_queries:
            raise ConfigError(
                "no queries: name image files, folders or id:NUMBER on the command line or in "
                "search.queries, or set search.sample_queries"
            )


class DedupConfig(Section):
    """`sluice dedup`: all pairs above a similarity, their clusters, and whom to keep."""

    output: Path = Path("work/dedup")
    similarity: Annotated[float, Field(gt=0, le=1)] = Field(
        0.85, description="cosine from which two images are a pair"
    )
    rule: Literal["survivor", "components"] = Field(
        "survivor", description="survivor: all are similar to the one kept; components: chains too"
    )
    buckets: Count | None = Field(
        None, description="none: one up to brute_force_up_to images, else their square root"
    )
    brute_force_up_to: Count = Field(20_000, description="images of which all pairs are compared")
    assignments: Annotated[int, Field(ge=1, le=16)] = Field(
        3, description="nearest buckets that each vector lies in"
    )
    partition_rows: Count = Field(50_000, description="vectors a worker holds at once, about")
    grid_from: Path | None = Field(None, description="take the trained grid of this output over")
    sample: Count = Field(64, description="vectors a bucket to train the grid on")
    recall_sample: Count = Field(1000, description="images compared with all, to measure recall")
    confidence: Share = 0.95
    shown: Count = Field(40, description="groups of pictures on the page")
    seed: int = 0


class SignConfig(Section):
    """`sluice sign`: a cheap signature of every image, and the header facts filters ask about."""

    output: Path = Path("work/signatures")


Comparison = tuple[
    str, Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"], str | int | float | list[Any]
]


class Stage(Section):
    """One stage of a cascade, cheaper than those after it."""

    stage: Literal["metadata", "signature", "rough", "pca", "cnn"]
    where: tuple[Comparison, ...] = Field(
        (), description="metadata: [column, operator, value], all of which must hold"
    )
    keep: Share | None = Field(
        None, description="share of the collection to keep; none: the planner chooses"
    )


DEFAULT_STAGES = (Stage(stage="signature"), Stage(stage="rough"), Stage(stage="cnn"))


class CascadeConfig(Section):
    """`sluice calibrate` and `sluice cascade`: search without running the CNN on everything."""

    stages: tuple[Stage, ...] = DEFAULT_STAGES
    neighbours: Literal["semantic", "copies"] = Field(
        "semantic", description="whose recall is promised: semantic neighbours' or copies'"
    )
    recall: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.9, description="share of brute force's neighbours that must be found"
    )
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seconds: Annotated[float, Field(gt=0)] | None = Field(
        None, description="a time budget a batch of queries; replaces the recall asked for"
    )
    fit_images: Count = Field(2000, description="embedded to fit the filters")
    calibration_images: Count = Field(2000, description="embedded to prove the recall")
    features: Path = Field(Path("work/features"), description="CNN features made on demand")
    output: Path = Path("work/cascade")

    @model_validator(mode="after")
    def _in_order(self) -> "CascadeConfig":
        order = ("metadata", "signature", "rough", "pca", "cnn")
        places = [order.index(stage.stage) for stage in self.stages]
        if places != sorted(set(places)) or not places or places[-1] != len(order) - 1:
            raise ValueError(f"stages must each come once, in the order {', '.join(order)}")
        for stage in self.stages:
            if stage.where and stage.stage != "metadata":
                raise ValueError(f"only the metadata stage takes where, not {stage.stage}")
            if stage.keep and stage.stage in ("metadata", "cnn"):
                raise ValueError(f"the {stage.stage} stage takes no keep")
        return self

    def goal(self) -> dict[str, Any]:
        """Return what a Goal takes of these settings."""
        stages = {s.stage: s.keep for s in self.stages if s.stage not in ("metadata", "cnn")}
        where = tuple(comparison for stage in self.stages for comparison in stage.where)
        names = {"neighbours", "recall", "confidence", "seconds"}
        return self.model_dump(include=names) | {"stages": stages, "where": where}


class ReportConfig(Section):
    """`sluice report`: one self-contained page."""

    output: Path = Path("work/report.html")
    max_queries: Count = Field(24, description="queries shown with pictures")
    growth: Path = Field(
        Path("work/growth"), description="what `sluice lab growth` has left; no chart where nothing"
    )


class RayConfig(Section):
    """How the work is spread."""

    workers: Annotated[int, Field(ge=0)] = Field(
        2, description="actors in the pool, one CPU each; 0: this process, without Ray"
    )
    address: str | None = Field(None, description="a cluster to join; none: this machine")


class Config(Section):
    """All jobs' settings; each job reads its own section and those before it in the data's way."""

    corpus: CorpusConfig = CorpusConfig()
    source: SourceConfig = SourceConfig()
    embed: EmbedConfig = EmbedConfig()
    index: IndexConfig = IndexConfig()
    sign: SignConfig = SignConfig()
    search: SearchConfig = SearchConfig()
    cascade: CascadeConfig = CascadeConfig()
    dedup: DedupConfig = DedupConfig()
    report: ReportConfig = ReportConfig()
    ray: RayConfig = RayConfig()


C = TypeVar("C", bound=Config)


@overload
def load_config(path: Path | None, overrides: list[str]) -> Config: ...
@overload
def load_config(path: Path | None, overrides: list[str], kind: type[C]) -> C: ...
def load_config(path: Path | None, overrides: list[str], kind: type[Config] = Config) -> Config:
    """Read the YAML at ``path`` (none: all defaults), apply ``key.sub=value`` overrides, check.

    ``kind`` is Config, or one with further sections. Raises ConfigError naming every wrong
    setting at once.
    """
    settings = _read_yaml(path) if path else {}
    problems = [problem for text in overrides if (problem := _override(settings, text))]
    try:
        config = kind.model_validate(settings)
    except ValidationError as error:
        problems += [
            f"{'.'.join(str(part) for part in e['loc']) or 'the file'}: {e['msg']}"
            + (f" (got {e['input']!r})" if not isinstance(e["input"], dict) else "")
            for e in error.errors()
        ]
    if problems:
        where = path or "the settings given with --set"
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigError(f"{len(problems)} wrong setting(s) in {where}:\n{lines}")
    return config


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise ConfigError(
            f"cannot read the configuration {path}: {error.strerror}; see configs/ for ready ones"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path} must hold sections such as `corpus:` and `embed:`")
    return settings


def _override(settings: dict[str, Any], text: str) -> str | None:
    """Set one ``key.sub=value`` (the value is YAML) in place; return what is wrong with it."""
    key, equals, value = text.partition("=")
    *sections, name = key.split(".")
    if not equals or not sections or not name:
        return f"--set {text}: must look like embed.batch_size=64"
    for section in sections:
        settings = settings.setdefault(section, {})
        if not isinstance(settings, dict):
            return f"--set {text}: {section} is a value, not a section"
    try:
        settings[name] = yaml.safe_load(value)
    except yaml.YAMLError:
        return f"--set {text}: the value is not YAML"
    return None
