"""What commands leave, read as facts; made up here, and left by the commands themselves."""

import pyarrow as pa
import pytest

from pipeline.cascade.costs import RECALL_COSTS
from pipeline.core.errors import StoreError
from pipeline.core.files import write_atomically
from pipeline.core.run_record import RunRecord
from pipeline.core.tables import parquet_bytes
from pipeline.lab.claims import Fact
from pipeline.lab.facts import (
    FACTS,
    GROWTH,
    NEAREST,
    SCALE,
    SEARCH,
    TOLD_BY,
    Outputs,
    cascade_facts,
    growth_facts,
    merge_facts,
    nearest_facts,
    query_facts,
    read_facts,
    recall_facts,
    scale_facts,
    search_facts,
)
from pipeline.lab.growth import measure_doublings
from pipeline.lab.scaling.experiment import Experiment
from pipeline.lab.timing import middle_with_interval


def write(path, rows, schema=None):
    write_atomically(path, parquet_bytes(pa.Table.from_pylist(rows, schema)))


def test_no_outputs_no_facts_but_those_counted(tmp_path):
    there = Outputs(*(tmp_path,) * 4, 0.9, *(tmp_path,) * 3)
    facts, wrong = read_facts(there)
    assert facts.keys() == set(FACTS["sluice lab claims"])
    assert wrong == []


def test_what_cannot_be_read_is_told_and_stops_nothing(tmp_path):
    there = Outputs(*(tmp_path,) * 4, 0.9, *(tmp_path,) * 3)
    write(tmp_path / "nearest.parquet", [{"workers": 1, "latency": 2.0}])  # of another version
    (tmp_path / "doublings.parquet").write_bytes(b"PAR1")
    write(
        tmp_path / "merge.parquet",
        [{"shards": 1, "queries": 1, "k": 1, "certified": 2.0, "tree": 1.0}],
    )
    facts, wrong = read_facts(there)
    assert facts["driver_merge"].value == 2
    assert [line.split("; ")[-1] for line in wrong] == [
        "run sluice lab growth again",
        "run sluice bench nearest again",
    ]
    assert "of another version" in wrong[1]


def test_what_another_machine_has_made_says_so(tmp_path, monkeypatch):
    there = Outputs(*(tmp_path,) * 4, 0.9, *(tmp_path,) * 3)
    row = {"shards": 9, "queries": 1, "k": 1, "certified": 2.0, "tree": 1.0}
    write(tmp_path / "merge.parquet", [row])
    RunRecord("bench merge", 0, 0).save(tmp_path)
    assert read_facts(there)[0]["tree_merge"].how == "measured, 9 shards, 1 query"
    monkeypatch.setattr("pipeline.core.run_record.machine", lambda: "Alpha 21064, 1 core")
    RunRecord("bench merge", 0, 0).save(tmp_path)
    told = "measured, 9 shards, 1 query, on another machine (Alpha 21064, 1 core)"
    assert read_facts(there)[0]["tree_merge"].how == told
    (tmp_path / "run.json").write_text("{")
    facts, wrong = read_facts(there)
    assert facts["tree_merge"].how == "measured, 9 shards, 1 query"
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seconds", 0.0),
        ("seconds", float("nan")),
        ("seconds", float("inf")),
        ("seconds", None),
        ("seconds", "1.5"),
        ("way", None),
        ("way", 7),
    ],
)
def test_what_is_no_measurement_is_told_by_its_column(tmp_path, name, value):
    row = {"way": "scan", "vectors": 64, "ratio": 2.0, "low": None, "high": None, "seconds": 1.0}
    write(tmp_path / "doublings.parquet", [row])
    write(tmp_path / "points.parquet", [row])
    assert growth_facts(tmp_path)["scan_doubling"].low is None
    write(tmp_path / "points.parquet", [row | {name: value}])
    with pytest.raises(StoreError, match=f"in {name}; run sluice lab growth again"):
        growth_facts(tmp_path)


def test_facts_of_growth(tmp_path):
    write_atomically(tmp_path / "doublings.parquet", parquet_bytes(measure_doublings(2048, 8)))
    ways = [("scan", 1024, 0.001), ("scan", 2000, 0.002), ("all pairs", 1000, 0.5)]
    points = [dict(zip(("way", "vectors", "seconds"), way, strict=True)) for way in ways]
    write(tmp_path / "points.parquet", points)
    facts = growth_facts(tmp_path)
    assert facts.keys() == set(FACTS[GROWTH])
    assert facts["scan_million"].value == pytest.approx(1)
    assert facts["pairs_million"].value == pytest.approx(500_000)
    assert "extrapolated" in facts["pairs_million"].how
    doubled = facts["pairs_doubling"]
    assert doubled.how == "measured, 2,048 made vectors"
    assert 0 < doubled.low < doubled.value < doubled.high


def test_facts_of_the_closest_point_are_of_ten_workers(tmp_path):
    def row(workers):
        times = {"latency": 8.0, "share": 2.0, "floor": 1.0, "merge": 0.1}
        ends = {f"{name}{end}": t for name, t in times.items() for end in ("_low", "_high")}
        return {"workers": workers, "points": 100} | times | ends

    write(tmp_path / "nearest.parquet", [row(0), row(2)])
    assert nearest_facts(tmp_path).keys() == {"scan_alone"}
    write(tmp_path / "nearest.parquet", [row(0), row(10)])
    facts = nearest_facts(tmp_path)
    assert facts.keys() == set(FACTS[NEAREST])
    assert facts["scan_tenth"] == Fact(2.0, "measured, 100 points, a tenth of them alone", 2.0, 2.0)


def test_facts_of_scaling_runs(measured):
    write_atomically(measured / "runs.parquet", parquet_bytes(Experiment.of(measured).table()))
    facts = scale_facts(measured)
    assert facts.keys() == set(FACTS[SCALE])
    assert facts["most"].value == 8
    assert facts["rate_1"].low is None  # of one repeat
    assert facts["image_ms"].value == pytest.approx(200, rel=0.01)  # as the runs are made up
    assert facts["seconds_1"].value > facts["seconds_10"].value > facts["seconds_100"].value
    assert "extrapolated" in facts["seconds_100"].how


def test_runs_of_one_worker_count_tell_of_no_scaling(measured):
    runs = Experiment.of(measured).table()
    alone = runs.filter(pa.compute.equal(runs["workers"], 1))
    write_atomically(measured / "runs.parquet", parquet_bytes(alone))
    assert scale_facts(measured) == {}


def test_facts_of_a_cascade(tmp_path):
    def write_costs(stages):
        shares = {"signature": 1.0, "rough": 0.5, "cnn": 0.1}
        costs = {"signature": 0.05, "rough": 1.0, "cnn": 4.0}
        rows = [
            {"recall": recall, "bound": recall, "stage": stage, "queries": 7}
            | {"share": shares[stage] * recall, "ms": costs[stage]}
            for recall in (0.8, 0.9, 1.0)
            for stage in stages
        ]
        schema = RECALL_COSTS.with_metadata({"neighbours": "copies"})
        write(tmp_path / "recall_costs.parquet", rows, schema)
        return {name: fact.value for name, fact in cascade_facts(tmp_path, 0.9).items()}

    assert write_costs(["signature", "cnn"]) == {
        "check_ms": 0.05,
        "cnn_ms": 4,
        "to_cnn": pytest.approx(0.09),
        "stages_ms": pytest.approx(0.9 * (0.05 + 0.4)),
    }
    assert "check_ms" not in write_costs(["rough", "cnn"])
    planned = cascade_facts(tmp_path, 0.9)["to_cnn"].how
    assert planned == "planned for recall 0.9 of copies, 7 queries"
    assert write_costs([]) == {}
    funnel = [{"stage": "cnn", "entered": 9, "recall_after": 0.8}]
    write(tmp_path / "funnel.parquet", funnel)
    assert write_costs([]) == {"plan_recall": 0.8}


def test_facts_of_filters(tmp_path):
    rows = [
        {"filter": name, "neighbours": who, "keep": keep, "recall": keep, "low": 0.0, "high": 1.0}
        for name in ("learned: signature", "learned: rough")
        for who in ("semantic", "copies")
        for keep in (0.005, 0.01, 0.05, 0.5)
    ]
    write(tmp_path / "filters.parquet", rows)
    facts = recall_facts(tmp_path)
    assert {name: fact.value for name, fact in facts.items()} == {
        "recall_of_1": 0.01,
        "recall_of_5": 0.05,
    }


def test_facts_of_a_search_are_of_a_million_vectors_only(tmp_path):
    def write_ways(vectors):
        times = {"recall": 0.5, "ms, 1 query": 2.0, "vectors": vectors, "low": 1.0, "high": 3.0}
        ways = ("sluice ivf", "FAISS IVF", "FAISS flat")
        rows = [{"way": way, "checked": 9.0} | times for way in ways]
        write(tmp_path / "one_bucket.parquet", rows)
        write(tmp_path / "compared.parquet", rows)

    assert search_facts(tmp_path) == {}
    write_ways(1000)
    assert search_facts(tmp_path) == {}
    write_ways(1_000_000)
    facts = search_facts(tmp_path)
    assert facts.keys() == set(FACTS[SEARCH])
    told = "measured, 1,000,000 made vectors, FAISS flat, recall 0.500"
    assert facts["scan_ms"] == Fact(2.0, told, 1.0, 3.0)


def test_a_query_counts_by_an_index_over_a_million(tmp_path):
    def searched(images, loss):
        record = RunRecord("search", images, 0, seconds={"queries": 0.5, "write": 0.25})
        record.save(tmp_path)
        table = pa.table({"id": [1]}).replace_schema_metadata({"loss": loss})
        write_atomically(tmp_path / "results.parquet", parquet_bytes(table))
        return {name: fact.value for name, fact in query_facts(tmp_path).items()}

    assert searched(1_000_000, "exact: every image was compared") == {}
    assert searched(2000, "probed 1 of 9 buckets") == {}
    assert searched(1_000_000, "probed 1 of 9 buckets") == {"query_seconds": 0.75}


def test_a_merge_without_ray_has_no_tree(tmp_path):
    assert merge_facts(tmp_path) == {}
    row = {"shards": 9, "queries": 1, "k": 1, "certified": 2.0, "tree": None}
    schema = pa.schema(
        [("shards", "i8"), ("queries", "i8"), ("k", "i8"), ("certified", "f8"), ("tree", "f8")]
    )
    write(tmp_path / "merge.parquet", [row], schema)
    assert merge_facts(tmp_path) == {}


def test_each_fact_is_told_by_one_command():
    assert sum(map(len, FACTS.values())) == len(TOLD_BY)


def test_a_damaged_file_names_the_command(tmp_path):
    (tmp_path / "merge.parquet").write_bytes(b"")
    with pytest.raises(StoreError, match="run sluice bench merge again"):
        merge_facts(tmp_path)


def test_repeats_have_an_interval_and_one_value_none():
    middle, low, high = middle_with_interval([1.0, 2.0, 4.0])
    assert middle == pytest.approx(2)
    assert low * high == pytest.approx(4)
    assert low < 1
    assert middle_with_interval([3.0]) == (3.0, None, None)
    assert middle_with_interval([0.0, 2.0]) == (1.0, None, None)
