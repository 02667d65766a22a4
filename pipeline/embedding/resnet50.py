"""ResNet-50 as torchvision has it (He et al. 2016, arXiv:1512.03385)."""

from typing import Any

import torch
from torch import nn
from torchvision.models import resnet50


class Resnet50(nn.Module):
    """ResNet-50 up to its pooled features, 2048-d."""

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.network: nn.Module = resnet50(weights=None)  # for inputs of any size

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        net: Any = self.network
        features = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
            features = layer(features)
        pooled: torch.Tensor = net.avgpool(features).flatten(1)
        return pooled
