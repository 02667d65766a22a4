"""Numbers that are claimed, beside their own arithmetic and what was measured here."""

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from pipeline.core.errors import ConfigError

OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
FUNCTIONS: dict[str, Callable[[float], float]] = {"log2": math.log2, "ceil": math.ceil}


@checked_dataclass(frozen=True, config={"extra": "forbid"})
class Claim:
    """One number as the guide says it; ``arithmetic`` and ``here`` are formulas."""

    claim: str
    claimed: float
    unit: str
    given: dict[str, float] = field(default_factory=dict)
    arithmetic: str | None = None
    here: str | None = None


@dataclass(frozen=True)
class Fact:
    """A number of this machine, and how it was come by: measured, emulated or extrapolated."""

    value: float
    how: str


@dataclass(frozen=True)
class ClaimRow:
    """A claim checked; None where there is no arithmetic, or nothing was measured."""

    claim: str
    unit: str
    claimed: float
    arithmetic: float | None
    here: float | None
    how: str


def read_claims(path: Path) -> list[Claim]:
    """Read the list of claims. Raises ConfigError naming what is wrong in it."""
    try:
        return TypeAdapter(list[Claim]).validate_python(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"{path} is not a list of claims: {error}") from error


def check_claims(
    claims: Sequence[Claim], facts: Mapping[str, Fact], told_by: Mapping[str, str]
) -> list[ClaimRow]:
    """Return a row for each claim; a fact that is missing leaves "here" empty.

    The row then says which command of ``told_by``, by fact, would measure it. Raises ConfigError
    for a fact that none measures.
    """
    rows = []
    for claim in claims:
        own = evaluate(claim.arithmetic, claim.given) if claim.arithmetic else None
        here, how = None, "not measured"
        if claim.here:
            needed = names(claim.here)
            missing = sorted(needed - facts.keys())
            if missing:
                commands = dict.fromkeys(_teller(name, claim, told_by) for name in missing)
                how = f"not measured; run {', '.join(commands)}"
            else:
                here = evaluate(claim.here, {name: facts[name].value for name in needed})
                how = ", ".join(dict.fromkeys(facts[name].how for name in sorted(needed)))
        rows.append(ClaimRow(claim.claim, claim.unit, claim.claimed, own, here, how))
    return rows


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


def evaluate(formula: str, values: Mapping[str, float]) -> float:
    """Return ``formula`` of numbers, names, + - * / and log2, ceil. Raises ConfigError else."""

    def value(node: Any) -> float:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.Name(id=name) if name in values:
                return float(values[name])
            case ast.BinOp() if type(node.op) in OPERATORS:
                return OPERATORS[type(node.op)](value(node.left), value(node.right))
            case ast.Call(func=ast.Name(id=name), args=[argument]) if name in FUNCTIONS:
                return float(FUNCTIONS[name](value(argument)))
        raise ConfigError(f"{formula!r}: {ast.unparse(node)!r} is not known in a claim's formula")

    return value(_parse(formula).body)


def bisection_checks(n: int) -> int:
    """Return the most comparisons that bisection makes over ``n`` sorted places, by doing it."""
    left, checks = n, 0
    while left > 1:
        left -= left // 2  # the larger half stays
        checks += 1
    return checks


def _parse(formula: str) -> ast.Expression:
    try:
        return ast.parse(formula, mode="eval")
    except SyntaxError as error:
        raise ConfigError(f"{formula!r} is not a formula: {error.msg}") from error
