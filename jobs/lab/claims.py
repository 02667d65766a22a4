"""`sluice lab claims`: the guide's numbers, their own arithmetic, and what was measured here."""

from pathlib import Path

from jobs.console import print_table
from jobs.lab.config import LabConfig
from pipeline.lab.claims import check_claims, read_claims
from pipeline.lab.facts import TOLD_BY, cascade_facts, counted_checks, scale_facts, search_facts

CLAIMS = Path(__file__).with_name("claims.yaml")


def command(config: LabConfig) -> None:
    """Check the guide's numbers: their own arithmetic, and this machine.

    Uses what sluice lab scale, sluice cascade and sluice bench search have left in their outputs.
    """
    facts = counted_checks() | search_facts(config.bench_search.output)
    facts |= scale_facts(config.scale.output.resolve())
    facts |= cascade_facts(config.cascade.output, config.cascade.recall)
    rows = check_claims(read_claims(config.claims.file or CLAIMS), facts, TOLD_BY)
    lines = [
        (row.claim, row.unit, _text(row.claimed), _text(row.arithmetic), _text(row.here), row.how)
        for row in rows
    ]
    print_table("claims", ("claim", "unit", "claimed", "arithmetic", "here", "how"), lines)


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}"
