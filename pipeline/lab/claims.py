"""Numbers that are claimed, beside their own arithmetic and what was measured here."""

import ast
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import yaml
from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from pipeline.core.errors import ConfigError

OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
FUNCTIONS: dict[str, Callable[[float], float]] = {"log2": math.log2, "ceil": math.ceil}
OWN_SUMS = 1.1  # a factor: a claim further from its own arithmetic is not what that gives
HOLDS, OFF, NOT_SO, NOT_MEASURED = "holds", "its sums are off", "not so here", "not measured"
CLAIMS_SCHEMA = pa.schema(
    [
        ("scenario", pa.string()),
        ("claim", pa.string()),
        ("claimed", pa.float64()),
        ("up_to", pa.float64()),  # where a range is claimed
        ("unit", pa.string()),
        ("arithmetic", pa.float64()),  # what the claim's own figures give
        ("here", pa.float64()),
        ("low", pa.float64()),  # 95 % interval of here, where all of it was repeated
        ("high", pa.float64()),
        ("ratio", pa.float64()),  # here / claimed
        ("how", pa.string()),  # measured, emulated or extrapolated; over what; by which command
        ("verdict", pa.string()),
        ("make_it", pa.string()),  # the commands that make what is missing
    ]
)


@checked_dataclass(frozen=True, config={"extra": "forbid"})
class Claim:
    """One number as it is claimed; ``arithmetic`` and ``here`` are formulas.

    A claim from ``claimed`` ``up_to`` a number is a range. It holds where what is here is less than
    the factor ``within`` away.
    """

    scenario: str
    claim: str
    claimed: FiniteFloat
    unit: str
    up_to: FiniteFloat | None = None
    given: dict[str, FiniteFloat] = field(default_factory=dict)
    arithmetic: str | None = None
    here: str | None = None
    within: Annotated[FiniteFloat, Field(gt=1)] = 1.25


@dataclass(frozen=True)
class Fact:
    """A number of this machine, and how it was come by: measured, emulated or extrapolated.

    ``low`` and ``high`` are its 95 % interval; None where it was measured once.
    """

    value: float
    how: str
    low: float | None = None
    high: float | None = None

    @classmethod
    def exact(cls, value: float, how: str) -> "Fact":
        """Return what was counted: it is the same each time."""
        return cls(value, how, value, value)


@dataclass(frozen=True)
class ClaimRow:
    """A claim checked, as CLAIMS_SCHEMA has it; None where there is no such number."""

    scenario: str
    claim: str
    claimed: float
    up_to: float | None
    unit: str
    arithmetic: float | None
    here: float | None
    low: float | None
    high: float | None
    ratio: float | None
    how: str
    verdict: str
    make_it: str


def read_claims(path: Path) -> list[Claim]:
    """Read the list of claims. Raises ConfigError naming what is wrong in it."""
    try:
        return TypeAdapter(list[Claim]).validate_python(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'the whole'}: {one['msg']}"
            for one in error.errors()
        )
        raise ConfigError(f"{path} is not a list of claims: {wrong}") from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a list of claims: {error}") from error


def check_claims(
    claims: Sequence[Claim], facts: Mapping[str, Fact], told_by: Mapping[str, str]
) -> pa.Table:
    """Return a row for each claim, in CLAIMS_SCHEMA.

    told_by: by fact, the command that measures it. A fact that is missing leaves ``here`` null, and
    the row says which commands would make it. Raises ConfigError for a fact that none measures, and
    for arithmetic that gives no number.
    """
    rows = [asdict(_checked(claim, facts, told_by)) for claim in claims]
    return pa.Table.from_pylist(rows, CLAIMS_SCHEMA)


def _checked(claim: Claim, facts: Mapping[str, Fact], told_by: Mapping[str, str]) -> ClaimRow:
    own = _own_sum(claim)
    needed = sorted(names(claim.here)) if claim.here else []
    commands = {name: _teller(name, claim, told_by) for name in needed}
    found = {name: facts[name] for name in needed if name in facts}
    lacking = [commands[name] for name in needed if name not in found]
    here = formula_fact(claim.here, found) if claim.here and not lacking else None
    if claim.here and not lacking and here is None:  # a time of zero was measured
        lacking = list(commands.values())
    hows = [f"{fact.how}: {commands[name]}" for name, fact in found.items()] if here else []
    return ClaimRow(
        scenario=claim.scenario,
        claim=claim.claim,
        claimed=claim.claimed,
        up_to=claim.up_to,
        unit=claim.unit,
        arithmetic=own,
        here=here.value if here else None,
        low=here.low if here else None,
        high=here.high if here else None,
        ratio=here.value / claim.claimed if here and claim.claimed else None,
        how="; ".join(dict.fromkeys(hows)),
        verdict=verdict(claim, own, here),
        make_it=", ".join(dict.fromkeys(lacking)),
    )


def verdict(claim: Claim, own: float | None, here: Fact | None) -> str:
    """Return what the numbers say of a claim.

    OFF: its own arithmetic is more than the factor OWN_SUMS away from it. HOLDS: some of the
    interval of what is here, or without one the number, is no more than ``claim.within`` away. An
    interval that reaches further on both sides, or one with its number further away that is wider
    than what is allowed, would let any claim hold: NOT_MEASURED.
    """
    if own is not None and not _near(claim, own, own, OWN_SUMS):
        return OFF
    if here is None:
        return NOT_MEASURED
    low, high = (here.value if end is None else end for end in (here.low, here.high))
    least, most = claim.claimed / claim.within, _top(claim) * claim.within
    if low < least and high > most:
        return NOT_MEASURED
    if not _near(claim, low, high, claim.within):
        return NOT_SO
    apart = not _near(claim, here.value, here.value, claim.within)
    return NOT_MEASURED if apart and high * least > low * most else HOLDS


def figure(number: float) -> str:
    """Return a claimed or measured number as it is read: 10,000, 2.05, 0.0685."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _top(claim: Claim) -> float:
    return claim.claimed if claim.up_to is None else claim.up_to


def _near(claim: Claim, low: float, high: float, factor: float) -> bool:
    return low <= _top(claim) * factor and high >= claim.claimed / factor


def _own_sum(claim: Claim) -> float | None:
    if claim.arithmetic is None:
        return None
    try:
        return evaluate(claim.arithmetic, claim.given)
    except ArithmeticError as error:
        raise ConfigError(f"{claim.claim!r}: {claim.arithmetic!r} gives no number") from error


def _teller(name: str, claim: Claim, told_by: Mapping[str, str]) -> str:
    if name not in told_by:
        raise ConfigError(
            f"{claim.claim!r} uses {name}, which nothing measures; use {', '.join(told_by)}"
        )
    return told_by[name]


def names(formula: str) -> set[str]:
    """Return the names in ``formula`` that are not functions."""
    found = {node.id for node in ast.walk(_parse(formula)) if isinstance(node, ast.Name)}
    return found - FUNCTIONS.keys()


def formula_fact(formula: str, facts: Mapping[str, Fact]) -> Fact | None:
    """Return ``formula`` of ``facts``; None where it gives no number, as after a division by zero.

    Its interval is that of all ends of theirs taken together, so wider than 95 %; there is none
    where one of them has none.
    """
    try:
        value = evaluate(formula, {name: fact.value for name, fact in facts.items()})
    except ArithmeticError:
        return None
    low, high = _formula_ends(formula, facts)
    return Fact(value, "", low, high)


def _formula_ends(
    formula: str, facts: Mapping[str, Fact]
) -> tuple[float, float] | tuple[None, None]:
    known = [(fact.low, fact.high) for fact in facts.values()]
    ends = [(low, high) for low, high in known if low is not None and high is not None]
    if len(ends) < len(known):
        return None, None
    try:
        found = [
            evaluate(formula, dict(zip(facts, corner, strict=True)))
            for corner in itertools.product(*ends)
        ]
    except ArithmeticError:
        return None, None
    return min(found), max(found)


def evaluate(formula: str, values: Mapping[str, float]) -> float:
    """Return ``formula`` of numbers, names, + - * / and log2, ceil.

    Raises ConfigError for anything else, ArithmeticError where it gives no finite number.
    """

    def value(node: Any) -> float:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.Name(id=name) if name in values:
                return float(values[name])
            case ast.BinOp() if type(node.op) in OPERATORS:
                return OPERATORS[type(node.op)](value(node.left), value(node.right))
            case ast.Call(func=ast.Name(id=name), args=[argument]) if name in FUNCTIONS:
                return _applied(FUNCTIONS[name], value(argument))
        raise ConfigError(f"{formula!r}: {ast.unparse(node)!r} is not known in a claim's formula")

    found = value(_parse(formula).body)
    if not math.isfinite(found):
        raise ArithmeticError(f"{formula!r} gives no finite number")
    return found


def _applied(function: Callable[[float], float], argument: float) -> float:
    try:
        return float(function(argument))
    except ValueError as error:
        raise ArithmeticError(str(error)) from error


def bisection_checks(n: int) -> int:
    """Return the most comparisons that bisection makes over ``n`` sorted places, by doing it."""
    left, checks = n, 0
    while left > 1:
        left -= left // 2  # the larger half stays
        checks += 1
    return checks


def to_make(table: pa.Table) -> list[str]:
    """Return the commands that make what rows of CLAIMS_SCHEMA lack, each once."""
    return _each_once(made for row in table["make_it"].to_pylist() for made in row.split(", "))


def _each_once(texts: Iterable[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]


def _parse(formula: str) -> ast.Expression:
    try:
        return ast.parse(formula.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{formula!r} is not a formula") from error
