import pytest

from pipeline.embedding import choice
from pipeline.embedding.choice import Tried, fastest, tried_rows, worth_trying
from pipeline.embedding.models import find_weights
from pipeline.embedding.settings import EncoderSettings

WHOLE = Tried("f32", 10.0, 1.0)


@pytest.mark.parametrize(
    ("tried", "taken"),
    [
        ([], "f32"),
        ([WHOLE, Tried("bf16", 5.0, 0.985), Tried("int8", 3.0, 0.75)], "f32"),
        ([WHOLE, Tried("bf16", 5.0, 0.991), Tried("int8", 3.0, 0.75)], "bf16"),
        ([WHOLE, Tried("bf16", 5.0, 0.991), Tried("int8", 3.0, 0.995)], "int8"),
        ([WHOLE, Tried("bf16", 9.5, 1.0)], "f32"),  # as fast as chance may make it
    ],
)
def test_the_fastest_that_keeps_the_neighbours_is_taken(tried, taken):
    assert fastest(tried) == taken


def test_what_was_tried_is_told():
    assert tried_rows([WHOLE, Tried("bf16", 5.0, 0.9624)]) == [
        (
            "bf16, tried at first",
            "2.0 times as fast as f32, 0.962 of its 10 nearest kept (0.99 is asked)",
        )
    ]


def test_what_pays_to_try_is_what_runs_here_and_the_licence_allows(monkeypatch):
    usable = ("f32", "bf16", "int8")
    monkeypatch.setattr(choice, "usable_precisions", lambda *_: usable)
    weights = find_weights("efficientnet_lite0", None)
    settings = EncoderSettings("efficientnet_lite0", weights, "openvino", "f32", 224, 1)
    assert [worth_trying(settings, n) for n in (9_999, 10_000, 200_000)] == [
        [],
        ["bf16"],
        ["bf16", "int8"],
    ]
    licensed = EncoderSettings("sscd", weights, "openvino", "f32", 320, 1)
    assert worth_trying(licensed, 200_000) == ["bf16"]
