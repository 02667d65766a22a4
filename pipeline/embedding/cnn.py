"""The CNNs that make embeddings, cut before their classifier."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from pipeline.core.errors import InputError
from pipeline.embedding.models import ModelName, Weights

ROUGH_BLOCKS = 11  # of Lite0's 16: the last that see the image at 1/16


class _Lite0(nn.Module):
    """EfficientNet-Lite0 up to its pooled features (Tan & Le 2019, arXiv:1905.11946), 1280-d."""

    def __init__(self, input_size: int) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        self.network: nn.Module = EfficientNet.from_name(
            "efficientnet-lite0", image_size=input_size
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network.extract_features(images)  # type: ignore[operator]
        return features.mean(dim=(2, 3))


class _Lite0Rough(_Lite0):
    """Lite0 cut after its block 10, averaged over 2 x 2 cells: 448-d, for inputs of 32 px or more.

    Half-way features of a small input tell roughly what the whole network would say of the photo.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        net: Any = self.network
        features = net._swish(net._bn0(net._conv_stem(images)))
        for block in net._blocks[:ROUGH_BLOCKS]:
            features = block(features)
        return nn.functional.adaptive_avg_pool2d(features, 2).flatten(1)


def load_cnn(model: ModelName, weights: Weights, input_size: int) -> nn.Module:
    """Return the network in evaluation mode: normalised f32 (n,3,s,s) -> f32 (n,d).

    Nothing in the file is executed: weights_only for .pth, safetensors otherwise. Raises
    InputError where the file does not hold ``model``'s weights.
    """
    if model != "resnet50":
        lite0 = (_Lite0 if model == "efficientnet_lite0" else _Lite0Rough)(input_size)
        module: nn.Module = lite0
        whole: nn.Module = lite0.network
    else:
        from torchvision.models import resnet50

        module = whole = resnet50(weights=None)
    try:
        whole.load_state_dict(_read(weights.path))
    except Exception as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{weights.path} does not hold weights of {model} ({first})") from error
    if model == "resnet50":
        module.fc = nn.Identity()
    return module.eval()


def _read(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
