import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from cluster.lab.tree_merge import make_parts, merge_by_tree, merge_group, time_tree, time_tree_of
from pipeline.lab.merge_timing import (
    MergeTiming,
    search_shards,
    time_merges,
    time_searched,
    tree_from,
)
from pipeline.lab.scaling.emulated import made_up_part
from pipeline.search.merge import CertifiedMerge
from tests.helpers.command_line import run


def on_the_driver(shards, queries, depth, k):
    merge = CertifiedMerge(queries, k)
    for shard in range(shards):
        merge.add(made_up_part(shard, queries, depth))
    return merge.result()


@pytest.mark.parametrize("groups", [1, 3, 20])
def test_merging_in_groups_is_merging_at_once(groups):
    parts = [made_up_part(shard, 5, 12) for shard in range(20)]
    merge = CertifiedMerge(5, 4)
    for group in np.array_split(np.arange(20), groups):
        merge.add(merge_group([parts[number] for number in group], 4))
    merged, wanted = merge.result(), on_the_driver(20, 5, 12, 4)
    assert np.array_equal(merged.ids, wanted.ids)
    assert np.array_equal(merged.scores, wanted.scores)
    assert np.array_equal(merged.certified, wanted.certified)


def test_merging_outweighs_where_the_workers_share_is_as_short():
    timing = MergeTiming(10, 1, 1, certified=0.5, faiss_heap=1, faiss_merge=1, search=8)
    assert timing.outweighs_at == 16
    assert timing.share == pytest.approx(0.5 / 8.5)


def test_every_merge_is_timed(monkeypatch):
    timing = time_merges(5, 3, 2, rows=50, dimensions=8)
    seconds = (timing.certified, timing.faiss_heap, timing.faiss_merge, timing.search)
    assert min(seconds) > 0
    monkeypatch.setattr("pipeline.lab.merge_timing.AT_ONCE", 3 * 18 * 16 * 2)
    assert math.isnan(time_merges(5, 3, 2, rows=50, dimensions=8).faiss_merge)


@pytest.mark.ray
@pytest.mark.parametrize("fan_in", [2, 5])
def test_the_tree_gives_the_drivers_answer(ray_cluster, fan_in):
    merged = merge_by_tree(make_parts(11, 4, 20), 4, fan_in).merged
    wanted = on_the_driver(11, 4, 20, 4)
    assert np.array_equal(merged.ids, wanted.ids)
    assert np.array_equal(merged.scores, wanted.scores)
    assert np.array_equal(merged.certified, wanted.certified)


def test_the_command_times_every_combination_and_no_tree_without_ray(tmp_path):
    config = {"shards": [1, 2], "queries": [1, 3], "k": [2], "repeats": 1, "shard_rows": 50}
    sets = [f"bench_merge.{name}={value}" for name, value in config.items()]
    flags = ["--dimensions", "8", "--workers", "0", "--output", str(tmp_path)]
    flags += [part for text in sets for part in ("--set", text)]
    ran = run("bench", "merge", *flags)
    assert ran.exception is None, ran.output
    rows = pq.read_table(tmp_path / "merge.parquet").to_pylist()
    assert [(row["queries"], row["shards"]) for row in rows] == [(1, 1), (1, 2), (3, 1), (3, 2)]
    assert all(row["tree"] is None and row["certified"] > 0 for row in rows)
    assert all(row["searched_tree"] is None and row["searched_certified"] > 0 for row in rows)
    assert all(0 < row["searched_share"] < 1 and 0 < row["merge_share"] < 1 for row in rows)
    told = " ".join(ran.output.split())
    assert "4 of 4: shards 2, queries 3, k 2" in told
    assert "None" not in told


def test_real_parts_are_those_of_an_exact_search(monkeypatch):
    found = search_shards(4, 6, 2, rows=50, dimensions=32)
    assert [part.shard for part in found.parts] == [0, 1, 2, 3]
    merge = CertifiedMerge(6, 2)
    for part in found.parts:
        merge.add(part)
    near = [query % 4 * 50 + query for query in range(6)]  # the one each was made of
    assert merge.result().ids[:, 0].tolist() == near
    assert time_searched(found, 6, 2) > 0
    monkeypatch.setattr("pipeline.lab.merge_timing.SEARCHED_SHARDS", 3)
    assert search_shards(4, 6, 2, rows=50, dimensions=32) is None


def test_the_tree_overtakes_where_it_is_quicker_from_there_on():
    def rows(*trees):
        return [
            {"shards": 10**place, "certified": 1.0, "tree": tree}
            for place, tree in enumerate(trees)
        ]

    assert tree_from(rows(2.0, 2.0, 0.5, 0.1)) == 100
    assert tree_from(rows(0.5, 2.0, 0.5)) == 100
    assert tree_from(rows(2.0, 2.0)) is None
    assert tree_from(rows(0.5, 0.5, None)) == 1


@pytest.mark.ray
def test_a_tree_is_timed_where_its_parts_fit(ray_cluster, monkeypatch):
    assert min(time_tree(4, 2, 3, 2, 2)) > 0
    assert min(time_tree_of([made_up_part(shard, 2, 19) for shard in range(4)], 3, 2, 2)) > 0
    monkeypatch.setattr("cluster.lab.tree_merge.TREE_BYTES", 4 * 2 * 19 * 16 - 1)
    assert time_tree(4, 2, 3, 2, 2) == []
