"""EfficientNet-Lite0 (Tan & Le 2019, arXiv:1905.11946), whole and cut half-way."""

from typing import Any

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

ROUGH_BLOCKS = 11  # of Lite0's 16: the last that see the image at 1/16


class Lite0(nn.Module):
    """EfficientNet-Lite0 up to its pooled features, 1280-d."""

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.network: nn.Module = EfficientNet.from_name(
            "efficientnet-lite0", image_size=input_size
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network.extract_features(images)  # type: ignore[operator]
        return features.mean(dim=(2, 3))


class Lite0Rough(Lite0):
    """Lite0 cut after its block 10, averaged over 2 x 2 cells: 448-d, for inputs of 32 px or more.

    Half-way features of a small input tell roughly what the whole network would say of the photo.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        net: Any = self.network
        features = net._swish(net._bn0(net._conv_stem(images)))
        for block in net._blocks[:ROUGH_BLOCKS]:
            features = block(features)
        return nn.functional.adaptive_avg_pool2d(features, 2).flatten(1)
