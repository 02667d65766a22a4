"""The cascade beside brute force, small and in this process: what it says, not how fast."""

import numpy as np
import pytest

from jobs.config import RayConfig
from jobs.sitting import Sitting
from pipeline.cascade.choice import Goal
from pipeline.embedding.models import find_weights
from pipeline.embedding.settings import EncoderSettings
from pipeline.images.source import list_source
from pipeline.lab.break_even import BreakEven
from pipeline.lab.cascade_bench import FILTER_ONLY, Collection, prepare, recalls_of, time_ways
from pipeline.lab.cascade_tables import (
    TARGETS,
    break_even_note,
    frontier_table,
    once_table,
    way_table,
)
from tests.helpers.command_line import run

MODEL = "efficientnet_lite0"


@pytest.fixture(scope="module")
def benched(tmp_path_factory):
    root = tmp_path_factory.mktemp("bench")
    sizes = ("--images", 160, "--size", 64, "--output", root / "corpus", "--workers", 0)
    assert run("corpus", *sizes).exception is None
    cnn = EncoderSettings(MODEL, find_weights(MODEL, None), "openvino", "f32", 32, 32)
    made = Collection(list_source(str(root / "corpus")), 80, cnn, root, sit)
    there = prepare(made, 80, 80, 5)
    goal = Goal(FILTER_ONLY, (), "semantic", 5, 0.5, 0.95, None, 0)
    return made, there, time_ways(made, there, {"filter only": goal}, 1)


def sit(images, on_gpu):
    return Sitting("bench", images, RayConfig(workers=0), on_gpu=on_gpu)


def test_a_way_is_told_beside_brute_force(benched):
    made, there, ways = benched
    assert [(way.neighbours, way.name) for way in ways] == [
        ("semantic", "filter only"),
        ("semantic", "filter only, warm"),
    ]
    recalls = recalls_of(made, there, ways, 5)
    assert recalls[0] == recalls[1]  # the plan is the same
    share, promised = (float(recalls[0].split()[place]) for place in (0, -1))
    assert share >= promised >= 0.5
    rows = way_table(there, ways, recalls).to_pylist()
    assert [row["way"] for row in rows] == ["filter only", "filter only, warm"]
    once = once_table(there).to_pylist()
    taken = {
        row["what"]: row["1M images, extrapolated"] / row["seconds, 160 images"] for row in once
    }
    assert taken["brute force: embed all"] == pytest.approx(6250)
    assert taken["calibrate, once, whatever the size"] == 1


def test_queries_are_not_the_first_images(benched):
    _, there, _ = benched
    assert there.drawn(3) == [int(there.ids[place]) for place in (39, 79, 119)]


def test_the_frontier_has_every_target_of_both_neighbours(benched):
    _, there, _ = benched
    frontier = frontier_table(there, 5, 0.95).to_pylist()
    assert [row["asked"] for row in frontier] == [*TARGETS, *TARGETS]
    assert [row["neighbours"] for row in frontier] == ["semantic"] * 9 + ["copies"] * 9
    assert all(row["bound"] <= row["recall"] and row["speed_up"] > 0 for row in frontier)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ([5.0, 5.0, 5.0, 5.0], "from query 3 on (measured)"),
        ([1.0, 1.0, 1.0, 1.0], "from query 11 on (extrapolated"),
        ([0.0, 0.0, 0.0, 0.0], "never pays"),
    ],
)
def test_the_note_says_when_embedding_pays(seconds, text):
    even = BreakEven(np.array(seconds), 10.0, 0.01)
    assert text in break_even_note(even, 1000, 2, 0.9)
