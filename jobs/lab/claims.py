"""`sluice lab claims`: the guide's numbers, their own arithmetic, and what was measured here."""

from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.text import Text

from jobs.console import console, warn
from jobs.lab.config import LabConfig
from pipeline.core.files import write_atomically
from pipeline.core.paths import refuse_unwritable
from pipeline.core.run_record import RunRecord
from pipeline.core.tables import parquet_bytes
from pipeline.lab.claims import (
    HOLDS,
    NOT_MEASURED,
    NOT_SO,
    OFF,
    check_claims,
    figure,
    read_claims,
)
from pipeline.lab.facts import TOLD_BY, Outputs, read_facts

CLAIMS = Path(__file__).with_name("claims.yaml")
STYLES = {HOLDS: "green", OFF: "red", NOT_SO: "yellow", NOT_MEASURED: "dim"}
WIDE = 58  # characters of a claim, beside which its verdict stands


def command(config: LabConfig) -> None:
    """Check the guide's numbers: their own arithmetic, and this machine.

    Uses what sluice lab growth and scale, sluice bench nearest, merge, search and recall, sluice
    cascade and sluice search have left; sluice lab guide runs them all.
    """
    output = config.claims.output.resolve()
    claims = read_claims(config.claims.file or CLAIMS)
    refuse_unwritable(output)
    facts, wrong = read_facts(outputs(config))
    for line in wrong:
        warn(f"left out: {line}")
    table = check_claims(claims, facts, TOLD_BY)
    write_atomically(output / "claims.parquet", parquet_bytes(table))
    RunRecord("claims", 0, 0).save(output)
    _print(table.to_pylist())
    console.print(f"claims: {output}/claims.parquet", soft_wrap=True)


def outputs(config: LabConfig) -> Outputs:
    """Return where the settings have the commands' outputs."""
    return Outputs(
        growth=config.growth.output,
        nearest=config.bench_nearest.output,
        scale=config.scale.output.resolve(),
        cascade=config.cascade.output,
        recall=config.cascade.recall,
        search=config.bench_search.output,
        merge=config.bench_merge.output,
        query=config.search.output,
    )


def _print(rows: list[dict[str, Any]]) -> None:
    ways = list(dict.fromkeys(way for row in rows for way in _ways(row)))
    for scenario, mine in groupby(rows, key=lambda row: row["scenario"]):
        console.print(f"\n{scenario}", style="bold")
        for row in mine:
            said = Text(row["verdict"], STYLES[row["verdict"]])
            console.print(Text.assemble(f"  {row['claim']:<{WIDE}}  ", said))
            console.print(f"      {_numbers(row, ways)}")
    console.print("\nhere, by", style="bold")
    for number, way in enumerate(ways, 1):
        console.print(f"  [{number}] {way}")
    missing = Counter(made for row in rows for made in row["make_it"].split(", ") if made)
    for made, count in missing.items():
        console.print(f"not measured, {count} of {len(rows)} claims: run {made}")
    if missing:
        console.print("sluice lab guide runs all that is missing")
    counts = Counter(row["verdict"] for row in rows)
    console.print(", ".join(f"{verdict}: {count}" for verdict, count in counts.most_common()))


def _ways(row: dict[str, Any]) -> list[str]:
    return [way for way in row["how"].split("; ") if way]


def _numbers(row: dict[str, Any], ways: list[str]) -> str:
    claimed = " to ".join(
        figure(row[name]) for name in ("claimed", "up_to") if row[name] is not None
    )
    told = [f"claimed {claimed} {row['unit']}"]
    if row["arithmetic"] is not None:
        told.append(f"its own figures give {figure(row['arithmetic'])}")
    if row["here"] is not None:
        ends = ["" if row[name] is None else figure(row[name]) for name in ("low", "high")]
        interval = f" ({' to '.join(ends)})" if ends[0] != ends[1] else ""
        by = "".join(f"[{ways.index(way) + 1}]" for way in _ways(row))
        told.append(f"here {figure(row['here'])}{interval} {by}")
        if row["verdict"] == NOT_MEASURED:
            told.append("too wide to tell")
    return "; ".join(told)
