from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.run_record import RunRecord
from pipeline.core.spread import in_process
from pipeline.embedding.models import find_weights
from pipeline.embedding.settings import EncoderSettings
from pipeline.images.shard_rows import Evenly
from pipeline.images.source import list_source
from pipeline.lab.embed_limits import PartsPlan, parts_alone
from pipeline.lab.embed_rounds import (
    RATES,
    EmbedRound,
    OwnRun,
    embed_anew,
    part_rows,
    rate_rows,
    vectors_by_id,
)

ONE = np.eye(2, dtype=np.float32)


@pytest.fixture(scope="module")
def settings():
    weights = find_weights("efficientnet_lite0", None)
    return EncoderSettings("efficientnet_lite0", weights, "openvino", "f32", 64, 4)


def test_the_parts_are_timed_alone_and_by_every_worker(jpegs, settings):
    alone = parts_alone(jpegs[:4], settings)
    assert list(alone) == ["decode", "resize", "model"]
    assert min(alone.values()) > 0
    answers = list(in_process(PartsPlan(jpegs[:4], settings), range(2)))
    assert [answer["shard"][0].as_py() for answer in answers] == [0, 1]
    assert all(answer["ms"][0].as_py() > 0 for answer in answers)


def test_all_images_are_embedded_anew_and_come_by_id(jpegs, settings, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.images.shard_rows.LEAST", 1)
    for row, data in enumerate(jpegs[:5]):
        (tmp_path / f"{row}.jpg").write_bytes(data)
    listed = list_source(str(tmp_path))
    record = RunRecord("embed", 0, 0)
    found = [
        vectors_by_id(embed_anew(listed, rows, settings, tmp_path / name, in_process, record))
        for name, rows in (("two", 2), ("all", 5), ("evenly", Evenly(2)))
    ]
    assert record.images == 5
    assert found[0].shape == (5, 1280)
    assert all(np.array_equal(found[0], other) for other in found[1:])


def test_a_ratio_is_of_one_round_and_the_cosine_of_the_vectors():
    rounds = [
        EmbedRound({"ours": 100.0, "theirs": 50.0}, {"ours": ONE, "theirs": ONE[::-1]}, {}, {}),
        EmbedRound({"ours": 10.0, "theirs": 40.0}, {"ours": ONE, "theirs": -ONE}, {}, {}),
    ]
    rounds = [replace(found, rates=found.rates | {"limit": 200.0}) for found in rounds]
    ours, theirs, limit = rate_rows(rounds, "ours")
    assert ours == ("ours", 55.0, 10.0, 100.0, 1.0, 1.0, 1.0, "1.00000")
    assert theirs == ("theirs", 45.0, 40.0, 50.0, 1.125, 0.25, 2.0, "-1.00000")
    assert len(theirs) == len(RATES)
    assert limit[-1] == ""  # it has no vectors


def test_parts_are_told_an_image():
    record = RunRecord("embed", 200, 2, worker_seconds={"decode": 1.0, "model": 3.0})
    parts = OwnRun(record, 2.0, ONE).parts()
    assert parts == {"decode": 5.0, "model": 15.0}
    assert part_rows([parts, {"decode": 7.0, "model": 15.0}])[0] == ("decode", 6.0, 5.0, 7.0)
