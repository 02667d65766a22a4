from pathlib import Path

import pytest

from jobs.config import load_config
from pipeline.core.errors import ConfigError


def test_every_ready_config_is_right():
    data = Path("configs/claims.yaml")  # what sluice claims checks, no settings
    paths = sorted(set(Path("configs").glob("*.yaml")) - {data})
    assert {path.stem for path in paths} >= {"demo", "local", "million"}
    for path in paths:
        load_config(path, [])


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
