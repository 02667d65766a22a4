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


def write_onnx(module, path, beside=SCALED, size=32, kind=torch.float32, **options):
    """Write ``module`` as ONNX, and ``beside`` as the YAML beside it; return the path."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = torch.zeros(1, 3, size, size, dtype=kind)
        torch.onnx.export(module.eval(), (images,), str(path), dynamo=False, **options)
    if beside is not None:
        path.with_suffix(".yaml").write_text(beside)
    return path


class Words(nn.Module):
    """The sum of random vectors of 24 numbers, one a token; 0 pads, and later ones count more."""

    def __init__(self, words=16):
        super().__init__()
        torch.manual_seed(1)
        self.table = nn.Embedding(words, 24)

    def forward(self, input_ids, attention_mask, position_ids):
        weights = attention_mask * (1 + position_ids)
        return (self.table(input_ids) * weights.unsqueeze(2)).sum(dim=1)


def write_text_half(folder, words, length=None):
    """Write text_model.onnx over the list ``words`` and its tokenizer.json into ``folder``."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    known = {word: number for number, word in enumerate(("[PAD]", "[UNK]", *words))}
    tokenizer = Tokenizer(WordLevel(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    tokens = torch.zeros(1, length or 4, dtype=torch.int64)
    names = ["input_ids", "attention_mask", "position_ids"]
    options = {"input_names": names, "output_names": ["text_embeds"]}
    if length is None:
        options["dynamic_axes"] = {name: {1: "t"} for name in options["input_names"]}
    path = folder / "text_model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Words().eval(), (tokens,) * 3, str(path), dynamo=False, **options)
    return path
