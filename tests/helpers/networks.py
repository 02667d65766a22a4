"""Small networks of other people's kinds, with random weights, as files."""

import warnings

import torch
from torch import nn
from torchvision.models import VisionTransformer

SCALED = "mean: [0.485, 0.456, 0.406]\ndeviation: [0.229, 0.224, 0.225]\n"


class Tokens(nn.Module):
    """A random transformer of images, up to all its tokens f32 (n, 1 + places, 24)."""

    def __init__(self, size=32):
        super().__init__()
        torch.manual_seed(0)
        self.vit = VisionTransformer(size, 8, 2, 2, hidden_dim=24, mlp_dim=48).eval()

    def forward(self, images):
        places = self.vit._process_input(images)
        first = self.vit.class_token.expand(len(images), -1, -1)
        return self.vit.encoder(torch.cat([first, places], dim=1))


class FirstToken(Tokens):
    def forward(self, images):
        return super().forward(images)[:, 0]


def write_onnx(module, path, beside=SCALED, size=32, **options):
    """Write ``module`` as ONNX, and ``beside`` as the YAML beside it; return the path."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = torch.zeros(1, 3, size, size)
        torch.onnx.export(module.eval(), (images,), str(path), dynamo=False, **options)
    if beside is not None:
        path.with_suffix(".yaml").write_text(beside)
    return path
