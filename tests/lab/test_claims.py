import bisect

import pytest

from jobs.lab.claims import CLAIMS
from pipeline.core.errors import ConfigError
from pipeline.lab.claims import (
    CLAIMS_SCHEMA,
    HOLDS,
    NOT_MEASURED,
    NOT_SO,
    OFF,
    Claim,
    Fact,
    bisection_checks,
    check_claims,
    evaluate,
    formula_fact,
    names,
    read_claims,
    verdict,
)
from pipeline.lab.facts import TOLD_BY, counted_checks
from tests.helpers.command_line import run


def claim(**facts):
    return Claim(**({"scenario": "s", "claim": "x", "claimed": 2, "unit": "s"} | facts))


def rows_of(claims, facts, told_by):
    return {row["claim"]: row for row in check_claims(claims, facts, told_by).to_pylist()}


@pytest.fixture(scope="module")
def guide():
    return rows_of(read_claims(CLAIMS), counted_checks(), TOLD_BY)


@pytest.mark.parametrize(
    ("text", "arithmetic", "said"),
    [
        ("O(N^2): 1M take 11 days", 11.57, NOT_MEASURED),
        ("O(log N): 2M take 21 checks", 21, HOLDS),
        ("O(N^2): 11 days become 27 hours", 27.78, NOT_MEASURED),
        ("1M of 50 ms on one machine take 14 hours", 13.89, NOT_MEASURED),
        ("filtering 95 % of 1M leaves about 10K", 50_000, OFF),
        ("filtering is 35 times as fast", 105, OFF),
        ("cat photos: 50K to 5K is 4 times fewer", 10, OFF),
        ("figure: 1M to 50K is 50 times fewer", 20, OFF),
        ("the stages take 2,500 s", 2500, NOT_MEASURED),
        ("about 2 s in all, by stages without an index", 2000, OFF),
        ("ten machines give almost nothing", 9.9, OFF),
    ],
)
def test_the_guides_own_figures(guide, text, arithmetic, said):
    row = guide[text]
    assert row["arithmetic"] == pytest.approx(arithmetic, rel=1e-3)
    assert row["verdict"] == said


def test_every_claim_has_what_it_needs_or_a_command_for_it(guide):
    for one in read_claims(CLAIMS):
        assert names(one.here or "0") <= TOLD_BY.keys()
        assert guide[one.claim]["make_it"] or guide[one.claim]["here"] is not None
        assert len(one.claim) <= 58


def test_a_row_says_how_or_what_is_missing():
    claims = [claim(claim="x", here="a / b"), claim(claim="y", here="c + a")]
    facts = {"a": Fact(6, "measured", 5, 7), "b": Fact(3, "emulated", 3, 4)}
    told_by = {"a": "sluice lab a", "b": "sluice lab b", "c": "sluice lab c"}
    table = check_claims(claims, facts, told_by)
    assert table.schema == CLAIMS_SCHEMA
    known, missing = table.to_pylist()
    assert (known["here"], known["ratio"], known["verdict"]) == (2, 1, HOLDS)
    assert (known["low"], known["high"]) == (5 / 4, 7 / 3)
    assert known["how"] == "measured: sluice lab a; emulated: sluice lab b"
    assert (missing["here"], missing["ratio"], missing["how"]) == (None, None, "")
    assert (missing["verdict"], missing["make_it"]) == (NOT_MEASURED, "sluice lab c")
    with pytest.raises(ConfigError, match="'y' uses c, which nothing measures"):
        check_claims(claims, facts, {"a": "sluice lab a", "b": "sluice lab b"})


@pytest.mark.parametrize(
    ("facts", "own", "here", "said"),
    [
        ({}, 2.19, Fact(2, ""), HOLDS),
        ({}, 2.21, Fact(2, ""), OFF),  # whatever is here
        ({}, None, Fact(2.49, ""), HOLDS),
        ({}, None, Fact(2.51, ""), NOT_SO),
        ({}, None, Fact(1.59, ""), NOT_SO),
        ({}, None, Fact(2.7, "", 2.4, 3.2), HOLDS),  # its interval reaches the claim
        ({}, None, Fact(3, "", 2.4, 5), NOT_MEASURED),  # and is wider than what is allowed
        ({}, None, Fact(3, "", 2.6, 5), NOT_SO),
        ({}, None, Fact(2, "", 1.5, 2.6), NOT_MEASURED),  # it would reach any claim
        ({}, None, Fact(2, "", 1.5, 2.4), HOLDS),
        ({"within": 2}, None, Fact(3.9, ""), HOLDS),
        ({"up_to": 10}, 5, Fact(12, ""), HOLDS),
        ({"up_to": 10}, 12, Fact(5, ""), OFF),
        ({"up_to": 10}, 5, Fact(13, ""), NOT_SO),
        ({}, 2, None, NOT_MEASURED),
    ],
)
def test_the_verdict_follows_from_the_numbers(facts, own, here, said):
    assert verdict(claim(**facts), own, here) == said


def test_an_interval_needs_one_of_every_number():
    once, often = Fact(4, "measured"), Fact(2, "measured", 1, 3)
    assert formula_fact("a / b", {"a": once, "b": often}) == Fact(2, "")
    assert formula_fact("b - 5", {"b": often}) == Fact(-3, "", -4, -2)
    assert formula_fact("1 / b", {"b": Fact(2, "", 0, 4)}) == Fact(0.5, "")


def test_a_time_of_zero_is_measured_again():
    rows = rows_of([claim(here="1 / a")], {"a": Fact(0, "measured")}, {"a": "sluice lab a"})
    assert (rows["x"]["verdict"], rows["x"]["make_it"]) == (NOT_MEASURED, "sluice lab a")


@pytest.mark.parametrize(
    "formula", ["__import__('os')", "a.b", "2 **", "x", "[1]", "'a' * 3", "(" * 500, "-" * 9999]
)
def test_a_formula_is_arithmetic_and_nothing_else(formula):
    with pytest.raises(ConfigError, match="formula"):
        evaluate(formula, {"a": 1})


@pytest.mark.parametrize("formula", ["1 / 0", "log2(0)", "1e308 * 10", "ceil(1e308 * 10)"])
def test_arithmetic_without_a_number_is_told(formula):
    with pytest.raises(ConfigError, match=r"'x': .* gives no number"):
        check_claims([claim(arithmetic=formula)], {}, {})


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


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("- {scenario: s, claim: x, claimed: many, unit: s}", "0.claimed"),
        ("- {scenario: s, claim: x, claimed: .inf, unit: s}", "finite"),
        ("- {scenario: s, claim: x, claimed: 1, unit: s, hear: a}", "0.hear"),
        ("claims: 1", "the whole"),
        ("", "the whole"),
        ("- {", "not a list of claims"),
        (b"\xff\xfe\x00", "not a list of claims"),
    ],
)
def test_a_wrong_list_is_told_in_a_line(tmp_path, text, wrong):
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "claims.yaml").write_bytes(data)
    with pytest.raises(ConfigError, match=wrong):
        read_claims(tmp_path / "claims.yaml")


def test_without_outputs_every_claim_is_printed_and_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = run("lab", "claims")
    assert ran.exception is None, ran.output
    assert "O(N^2): 11 days become 27 hours" in ran.output
    assert "run sluice bench nearest" in ran.output
    assert max(map(len, ran.output.splitlines()[:-1])) <= 80
    assert (tmp_path / "work/claims/claims.parquet").exists()
