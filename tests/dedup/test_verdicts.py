"""What was judged is kept, and a pair that is no duplicate is in no group again."""

import numpy as np
import pyarrow as pa
import pytest

from jobs.dedup import dedup
from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.dedup.groups import group_pairs
from pipeline.dedup.identical_sets import PAIRS, set_pairs
from pipeline.dedup.verdicts import keep_verdicts, read_verdicts, rejected, without_rejected
from tests.helpers.scenes import config, synthetic


def judged(*rows):
    return pa.table(dict(zip(("a", "b", "duplicate"), zip(*rows, strict=True), strict=True)))


def sets_of(*rows):
    columns = zip(*rows, strict=True)
    return set_pairs(pa.table(dict(zip(PAIRS.names, columns, strict=True)), schema=PAIRS))


def test_the_last_verdict_of_a_pair_counts_and_can_be_taken_back(tmp_path):
    store = Store.create(tmp_path, "pairs", {})
    assert read_verdicts(store).num_rows == 0
    keep_verdicts(store, judged((2, 1, True), (3, 4, False)))
    keep_verdicts(store, judged((1, 2, False), (-5, 2**62 + 1, False)))
    keep_verdicts(store, judged((3, 4, None)))
    assert read_verdicts(Store.open(tmp_path)).to_pylist() == [
        {"a": -5, "b": 2**62 + 1, "duplicate": False},
        {"a": 1, "b": 2, "duplicate": False},
    ]
    assert [ids.tolist() for ids in rejected(read_verdicts(store))] == [[-5, 1], [2**62 + 1, 2]]
    with pytest.raises(InputError, match="beside itself"):
        keep_verdicts(store, judged((3, 3, True)))


def test_of_identical_sets_a_rejected_pair_stands_for_all_of_both():
    # 1 and 5 are identical; so are 2 and 6.
    sets = sets_of((1, 2, 0.9, False), (1, 3, 0.9, False), (1, 5, 1.0, True), (2, 6, 1.0, True))
    left = without_rejected(sets, judged((5, 6, False)))
    ends = np.stack([left.first[left.one], left.first[left.other]], axis=1)
    assert ends.tolist() == [[1, 3], [1, 1], [2, 2]]


@pytest.mark.parametrize("rule", ["survivor", "components"])
def test_no_group_holds_a_rejected_pair(rule):
    sets = sets_of((1, 2, 0.9, False), (1, 3, 0.9, False), (2, 3, 0.9, False), (4, 5, 1.0, True))
    images = pa.table({"id": [1, 2, 3, 4, 5], "pixels": [9, 8, 7, 6, 5]})
    apart = (np.array([3, 4]), np.array([2, 5]))
    groups = group_pairs(sets, images, rule, apart)
    assert groups.select(["group", "id"]).to_pylist() == [
        {"group": 1, "id": 1},
        {"group": 1, "id": 2},
    ]


def test_a_rejected_pair_stays_away_when_the_job_is_run_again(tmp_path):
    synthetic(tmp_path / "embeddings", shards=2)
    wanted = config(tmp_path, "dedup.buckets=1")
    before = dedup(wanted)
    group = before.groups.filter(before.groups["survivor"])["id"][0].as_py()
    members = before.groups.filter(pa.compute.equal(before.groups["group"], group))["id"]
    other = members.to_pylist()[1]
    keep_verdicts(Store.open(tmp_path / "dedup"), judged((group, other, False)))
    for grown in (2, 4):
        synthetic(tmp_path / "embeddings", shards=grown)
        found = dedup(wanted)
        pairs = set(zip(*(found.pairs[n].to_pylist() for n in "ab"), strict=True))
        assert (min(group, other), max(group, other)) not in pairs
        owner = dict(zip(*(found.groups[n].to_pylist() for n in ("id", "group")), strict=True))
        assert owner.get(group, group) != owner.get(other, other)
        assert len(pairs) > 100
