from pathlib import Path

import pytest

from jobs.config import Config, as_yaml
from jobs.lab.config import LabConfig
from jobs.settings import alternatives, load_config, setting_fields
from pipeline.core.errors import ConfigError
from pipeline.core.objects import ObjectPath


def test_every_ready_config_is_right():
    paths = sorted(Path("configs").glob("*.yaml"))
    assert {path.stem for path in paths} >= {"demo", "local", "million"}
    for path in paths:
        load_config(path, [], LabConfig if path.stem == "guide" else Config)


def test_overrides_come_last(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("embed:\n  batch_size: 8\nsearch:\n  k: 3\n")
    config = load_config(path, ["embed.batch_size=16", "search.queries=['id:1']"])
    assert (config.embed.batch_size, config.search.k) == (16, 3)
    assert config.search.queries == ("id:1",)


def test_every_error_is_told_at_once(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("embed:\n  batch_size: 0\n  modle: x\nsearch:\n  k: many\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["nonsense", "corpus.quality=900"])
    message = str(caught.value)
    for part in ("5 wrong", "embed.batch_size", "embed.modle", "search.k", "nonsense", "quality"):
        assert part in message


@pytest.mark.parametrize("text", ["a: [", "- just\n- a list\n"])
def test_what_is_no_config_is_told(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_config(path, [])
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "none.yaml", [])


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("[{stage: cnn}, {stage: rough}]", "in the order metadata"),
        ("[{stage: rough}]", "in the order metadata"),
        ("[{stage: rough, keep: 1.5}, {stage: cnn}]", "less than 1"),
        ("[{stage: rough, where: [[label, ==, cat]]}, {stage: cnn}]", "only the metadata stage"),
        ("[{stage: metadata, where: [[label, '~', cat]]}, {stage: cnn}]", "stages.0.where.0.1"),
        ("[{stage: cnn, keep: 0.5}]", "takes no keep"),
    ],
)
def test_wrong_stages_are_told(stages, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, [f"cascade.stages={stages}"])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("source.url=/photos #1", ("/photos #1",)),
        ("source.url=2024-05-01", ("2024-05-01",)),
        ("source.url=1e3", ("1e3",)),
        ("source.url=null", ("null",)),
        ("source.url=a=b", ("a=b",)),
        ("source.url=~/photos", (f"{Path.home()}/photos",)),
        ("source.url=[/a, ~/b]", ("/a", f"{Path.home()}/b")),
        ("embed.output=~/e #1", Path.home() / "e #1"),
        ("embed.weights=null", None),
        ("embed.weights=", None),
        ("embed.weights=~/w.pth", Path.home() / "w.pth"),
        ("embed.batch_size=010", 10),
        ("search.recall=5e-1", 0.5),
        ("search.index=yes", True),
        ("search.queries=[a b.jpg, 2024-05-01, 'c,d']", ("a b.jpg", "2024-05-01", "c,d")),
        ("search.queries=my photo #1.jpg", ("my photo #1.jpg",)),
        ("search.queries=[]", ()),
    ],
)
def test_an_override_means_what_its_setting_takes(text, wanted):
    section, name = text.partition("=")[0].split(".")
    assert getattr(getattr(load_config(None, [text]), section), name) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search.k=many", "valid integer"),
        ("search.queries=[a", "not YAML"),
        ("search.recall=nan", "finite number"),
        ("corpus.seed=-1", "greater than or equal to 0"),
        (f"index.seed={10**30}", "index.seed"),
        (f"corpus.images={10**30}", "corpus.images"),
        ("ray.workers=100000", "ray.workers"),
        ("embed.output=ftp://host/out", "of no kind that outputs can be of"),
        ("cascade.features=gs:///out", "names no bucket"),
        ("embed.output=memory://x/out", "in the memory of one process; say ray.workers=0"),
        ("embed.bach_size=3", "did you mean embed.batch_size"),
        ("embd.batch_size=3", "did you mean embed.batch_size"),
        ("batch_size=3", "did you mean embed.batch_size"),
        ("source.url", "must look like"),
    ],
)
def test_a_wrong_override_is_told_with_a_remedy(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(None, [text])
    assert str(caught.value).startswith("1 wrong setting(s)")


def test_every_output_of_the_product_may_be_a_url():
    outputs = [name for name in setting_fields(Config) if name.endswith(".output")]
    assert len(outputs) > 7
    for name in outputs:
        section, field = name.split(".")
        config = load_config(None, [f"{name}=s3://bucket/out"])
        assert getattr(getattr(config, section), field) == ObjectPath("s3://bucket", "out")
        assert as_yaml(getattr(getattr(config, section), field)) == "s3://bucket/out"


def test_no_output_of_what_measures_is_a_url():
    mine = setting_fields(LabConfig).keys() - setting_fields(Config).keys()
    outputs = [name for name in mine if name.endswith(".output")]
    assert len(outputs) > 7
    for name in outputs:
        with pytest.raises(ConfigError, match="name a folder"):
            load_config(None, [f"{name}=s3://bucket/out"], LabConfig)


@pytest.mark.parametrize("kind", [Config, LabConfig])
def test_no_number_is_larger_than_libraries_take(kind):
    fields = setting_fields(kind).items()
    numbers = [name for name, field in fields if int in alternatives(field.annotation)]
    assert len(numbers) > 20
    for name in numbers:
        with pytest.raises(ConfigError, match=f"{name}: Input should be less"):
            load_config(None, [f"{name}={10**30}"], kind)


def test_a_wrong_file_is_told_by_name(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("source:\n  url: 2024-05-01\nembd:\n  batch_size: 8\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, [])
    assert "did you mean embed?" in str(caught.value)
    assert f"put it in quotes (got datetime.date(2024, 5, 1), {path})" in str(caught.value)


def test_an_empty_section_is_as_by_default(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("embed:\n#  batch_size: 8\n")
    assert load_config(path, []) == load_config(None, [])


def test_a_ready_config_is_found_by_its_name(tmp_path, monkeypatch):
    ready = load_config(Path("configs/demo.yaml"), []).model_dump()
    monkeypatch.chdir(tmp_path)
    for name in ("demo", "demo.yaml"):
        assert load_config(Path(name), []).model_dump() == ready
    Path("demo.yaml").write_text("embed:\n  batch_size: 3\n")
    assert load_config(Path("demo.yaml"), []).embed.batch_size == 3
    with pytest.raises(ConfigError, match=r"ready ones: .*demo"):
        load_config(Path("dmo"), [])
