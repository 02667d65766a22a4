import bisect

import pyarrow as pa
import pytest

from jobs.lab.claims import CLAIMS
from pipeline.cascade.costs import RECALL_COSTS
from pipeline.core.errors import ConfigError
from pipeline.core.files import write_atomically
from pipeline.core.tables import parquet_bytes
from pipeline.lab.claims import (
    Claim,
    Fact,
    bisection_checks,
    check_claims,
    evaluate,
    names,
    read_claims,
)
from pipeline.lab.facts import TOLD_BY, cascade_facts, counted_checks, scale_facts, search_facts
from pipeline.lab.scaling.experiment import Experiment
from tests.helpers.command_line import run


def test_the_arithmetic_of_the_guides_numbers():
    rows = {row.claim: row for row in check_claims(read_claims(CLAIMS), counted_checks(), TOLD_BY)}
    assert rows["14 h, read as 1,000,000 images of 50 ms"].arithmetic == pytest.approx(13.889, 1e-4)
    assert rows["35x, read as 14 h against 8.3 min"].arithmetic == pytest.approx(101.2, 1e-3)
    assert rows["1 s, read as 1,000,000 checks of 1 ms"].arithmetic == 1000
    assert rows["21 checks, read as halving 2,000,000"].arithmetic == 21
    assert rows["40x, read as the stages against the CNN on every image"].arithmetic is None


def test_a_row_says_how_or_what_is_missing():
    claims = [Claim("x", 2, "s", here="a / b"), Claim("y", 2, "s", here="c")]
    facts = {"a": Fact(6, "measured"), "b": Fact(3, "emulated")}
    known, missing = check_claims(claims, facts, {"c": "sluice d"})
    assert (known.here, known.how) == (2, "measured, emulated")
    assert missing.here is None
    assert missing.how == "not measured; run sluice d"
    with pytest.raises(ConfigError, match="'y' uses c, which nothing measures"):
        check_claims(claims, facts, {})


@pytest.mark.parametrize("formula", ["__import__('os')", "a.b", "2 **", "x", "[1]", "'a' * 3"])
def test_a_formula_is_arithmetic_and_nothing_else(formula):
    with pytest.raises(ConfigError, match="formula"):
        evaluate(formula, {"a": 1})


@pytest.mark.parametrize("n", [1, 2, 3, 1000, 1024, 1025])
def test_bisection_makes_as_many_checks_as_counted(n):
    class Counted:
        made = 0

        def __getitem__(self, place):
            Counted.made += 1
            return place

        def __len__(self):
            return n - 1

    most = 0
    for wanted in range(n):
        Counted.made = 0
        bisect.bisect_left(Counted(), wanted)
        most = max(most, Counted.made)
    assert bisection_checks(n) == most


def test_a_wrong_list_is_told(tmp_path):
    (tmp_path / "claims.yaml").write_text("- {claim: x, claimed: many, unit: s}")
    with pytest.raises(ConfigError, match="not a list of claims"):
        read_claims(tmp_path / "claims.yaml")


def test_every_claim_has_what_it_needs_or_a_command_for_it():
    needed = {name for claim in read_claims(CLAIMS) for name in names(claim.here or "0")}
    assert needed <= TOLD_BY.keys() | counted_checks().keys()


def test_facts_of_a_cascade(tmp_path):
    assert cascade_facts(tmp_path, 0.9) == {}

    def write(stages):
        shares = {"signature": 1.0, "rough": 0.5, "cnn": 0.1}
        costs = {"signature": 0.05, "rough": 1.0, "cnn": 4.0}
        rows = [
            {"recall": recall, "bound": recall, "stage": stage, "queries": 7}
            | {"share": shares[stage] * recall, "ms": costs[stage]}
            for recall in (0.8, 0.9, 1.0)
            for stage in stages
        ]
        table = pa.Table.from_pylist(rows, RECALL_COSTS)
        write_atomically(tmp_path / "recall_costs.parquet", parquet_bytes(table))
        return {name: fact.value for name, fact in cascade_facts(tmp_path, 0.9).items()}

    assert write(["signature", "cnn"]) == {
        "check_ms": 0.05,
        "cnn_ms": 4,
        "stages_ms": pytest.approx(0.9 * (0.05 + 0.4)),
    }
    assert "check_ms" not in write(["rough", "cnn"])
    assert write([]) == {}


def test_facts_of_a_search_are_of_a_million_vectors_only(tmp_path):
    def write(vectors):
        times = {"recall": 0.5, "ms, 1 query": 2.0, "vectors": vectors}
        ways = [("sluice ivf", 1), ("sluice ivf", 250), ("FAISS flat", 0)]
        rows = [{"way": way, "probes": probes} | times for way, probes in ways]
        for name, table in (("curve", rows[:2]), ("compared", rows[1:])):
            data = parquet_bytes(pa.Table.from_pylist(table))
            write_atomically(tmp_path / f"{name}.parquet", data)

    assert search_facts(tmp_path) == {}
    write(1000)
    assert search_facts(tmp_path) == {}
    write(1_000_000)
    facts = search_facts(tmp_path)
    assert sorted(facts) == ["grid_ms", "one_bucket_ms", "scan_ms"]
    assert facts["scan_ms"] == Fact(2.0, "measured, synthetic, recall@10 0.500")


def test_the_command_prints_every_claim(tmp_path):
    ran = run("lab", "claims", f"--set=scale.output={tmp_path}")
    assert ran.exception is None
    assert "27 hours, read" in ran.output


def test_runs_made_before_a_setting_was_added_are_read_with_its_default(measured, measured_before):
    for folder in (measured, measured_before):
        runs = parquet_bytes(Experiment.of(folder).table())
        write_atomically(folder / "runs.parquet", runs)
    assert scale_facts(measured_before) == scale_facts(measured) != {}
    ran = run("lab", "claims", f"--set=scale.output={measured_before}")
    assert ran.exception is None
    assert "emulated rate" in ran.output
