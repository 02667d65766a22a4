from dataclasses import replace
from pkgutil import resolve_name

import pytest
import torch
from torchvision.models import resnet50

from jobs.config import EmbedConfig
from pipeline.core.errors import InputError
from pipeline.embedding.models import (
    EMBEDDERS,
    MODELS,
    InstalledWeights,
    find_weights,
)
from pipeline.embedding.resnet50 import Resnet50


def test_the_settings_offer_the_models_there_are():
    told = EmbedConfig.model_fields["model"].description or ""
    assert all(name in told for name in EMBEDDERS)


def test_every_model_has_a_rough_one_or_is_one():
    assert set(EMBEDDERS) == {"efficientnet_lite0", "resnet50"}
    for name in EMBEDDERS:
        assert MODELS[MODELS[name].rough].rough is None


@pytest.mark.parametrize("name", MODELS)
def test_every_model_gives_the_dimensions_it_names(name):
    network = resolve_name(MODELS[name].build)(64).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 64, 64)).shape == (2, MODELS[name].dimensions)


def test_resnet50_is_torchvisions_without_its_classifier():
    torch.manual_seed(0)
    ours, theirs = Resnet50(64).eval(), resnet50(weights=None)
    theirs.load_state_dict(ours.network.state_dict())
    theirs.fc = torch.nn.Identity()
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(ours(images), theirs.eval()(images))


def test_weights_of_a_package_that_is_not_there(monkeypatch):
    missing = InstalledWeights("no-such-model", "weights.pth", "")
    monkeypatch.setitem(MODELS, "other", replace(MODELS["lite0_rough"], weights=missing))
    with pytest.raises(InputError, match="no-such-model is not installed; run make test"):
        find_weights("other", None)
