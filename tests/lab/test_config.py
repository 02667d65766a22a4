import pytest

from jobs.lab.config import LabConfig
from jobs.settings import load_config
from pipeline.core.errors import ConfigError


def test_the_labs_settings_are_the_products_and_its_own(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("embed:\n  batch_size: 8\nscale:\n  repeats: 2\n")
    config = load_config(path, ["scale.ms=7"], LabConfig)
    assert (config.embed.batch_size, config.scale.repeats, config.scale.ms) == (8, 2, 7)
    with pytest.raises(ConfigError, match="scale"):
        load_config(path, [])
