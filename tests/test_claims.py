import bisect

import pytest
from click.testing import CliRunner

from jobs.claims import CLAIMS, command
from pipeline.claims import Claim, Fact, bisection_checks, check_claims, evaluate, read_claims
from pipeline.errors import ConfigError


def test_the_arithmetic_of_the_guides_numbers():
    rows = {row.claim: row for row in check_claims(read_claims(CLAIMS), {})}
    assert rows["14 h, read as 1,000,000 images of 50 ms"].arithmetic == pytest.approx(13.889, 1e-4)
    assert rows["35x, read as 14 h against 8.3 min"].arithmetic == pytest.approx(101.2, 1e-3)
    assert rows["1 s, read as 1,000,000 checks of 1 ms"].arithmetic == 1000
    assert rows["21 checks, read as halving 2,000,000"].arithmetic == 21
    assert rows["40x"].arithmetic is None


def test_a_row_says_how_or_what_is_missing():
    claims = [Claim("x", 2, "s", here="a / b"), Claim("y", 2, "s", here="c")]
    known, missing = check_claims(claims, {"a": Fact(6, "measured"), "b": Fact(3, "emulated")})
    assert (known.here, known.how) == (2, "measured, emulated")
    assert missing.here is None
    assert "no c" in missing.how


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


def test_the_command_prints_every_claim(tmp_path):
    ran = CliRunner().invoke(command, ["--set", f"scale.output={tmp_path}"], env={"COLUMNS": "200"})
    assert ran.exception is None
    assert "27 hours, read" in ran.output
