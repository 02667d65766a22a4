"""Squares, and a network of a file, shared by the tests of files of ONNX."""

import pytest

from pipeline.embedding.trial import trial_batch
from tests.helpers.networks import FirstToken, write_onnx


@pytest.fixture(scope="module")
def squares():
    return trial_batch(5, 32)


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return write_onnx(FirstToken(), tmp_path_factory.mktemp("vit") / "vit.onnx")
