"""What a job prints beside its progress: tables, warnings, errors."""

import io
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pipeline.core.folder import Place
    from pipeline.images.fill import Filled
    from pipeline.search.copy_recall import CopyRecall

# Into a file or a job's log rich would squeeze every table into 80 columns.
WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 140

SHOWN = 5  # queries
SHOWN_RESULTS = 10  # of each

# Names are data: no file's brackets are a style, nor its :cat: a picture.
PLAIN: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}

# What the screen's encoding lacks is told by its number: a name must not end the job.
for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")

console = Console(width=WIDTH, **PLAIN)
errors = Console(stderr=True, **PLAIN)


def warn(text: str) -> None:
    """Print a warning beside the job's output."""
    errors.print(text, style="yellow", soft_wrap=True)


def warn_of_refused(queries: Sequence[str]) -> None:
    """Warn of query files that are no usable images; the others are answered."""
    for line in queries:
        warn(f"not asked, for it is no usable image: {line}")


def warn_of_shared_keys(keys: int) -> None:
    """Warn where keys do not tell the images of a source apart."""
    if keys:
        warn(f"keys of several images: {keys:,}; the ids tell these apart")


def print_error(error: Exception) -> None:
    """Print why the job ended, beside its output."""
    errors.print(Text.assemble(("error:", "bold red"), f" {error}"), soft_wrap=True)


def print_recall(recall: "list[CopyRecall]") -> None:
    """Print the recall of known copies by how they were made; nothing where none are known."""
    if recall:
        lines = [(r.transform, r.found, r.known, r.recall, *r.interval()) for r in recall]
        header = ("copies by", "found", "known", f"recall@{recall[0].k}", "95 % low", "high")
        print_table("known copies", header, lines)


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print ``rows`` under ``header``; numbers are aligned to the right."""
    rows = [list(row) for row in rows]
    table = Table(title=title, title_justify="left")
    for index, name in enumerate(header):
        numeric = all(isinstance(row[index], int | float) for row in rows)
        table.add_column(name, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row))
    console.print(table)


def print_arrow(title: str, table: pa.Table) -> None:
    """Print an Arrow table; what is null is left empty."""
    rows = [["" if v is None else v for v in row.values()] for row in table.to_pylist()]
    print_table(title, table.column_names, rows)


def print_by_category(table: pa.Table, confidence: float) -> None:
    """Print what a plan gives each category of queries; nothing where there is no plan."""
    if table.num_rows:
        together = "; the categories' bounds hold all together" if table.num_rows > 1 else ""
        print_arrow(f"recall by category of queries, proved at {confidence}{together}", table)


def print_results(results: pa.Table, queries: int, images: int) -> int:
    """Print the first results of the first queries; return how many are not shown."""
    first = pa.compute.is_in(results["query"], results["query"].unique()[:SHOWN])
    top = pa.compute.less_equal(results["rank"], SHOWN_RESULTS)
    columns = ["query", "rank", "id", "key", "score"]
    shown = results.select(columns).filter(pa.compute.and_(first, top))
    few = "1 query" if queries == 1 else f"{queries} queries"
    asked = f"the first {SHOWN} of {queries} queries" if queries > SHOWN else few
    print_arrow(f"{asked}, {images} images", shown)
    return int(results.num_rows - shown.num_rows)


def print_not_taken(filled: "Filled", root: "Place") -> None:
    """Print what the store at ``root`` does not hold of its source, by reason.

    Warns of keys that several images have.
    """
    if filled.quarantine.num_rows:
        reasons = filled.quarantine.group_by("reason").aggregate([("id", "count")])
        rows = zip(*reasons.sort_by("reason").to_pydict().values(), strict=True)
        print_table("quarantined", ("reason", "images"), list(rows))
        console.print(f"each with its reason in {root}/quarantine")
    if filled.left_out:
        counts = sorted(filled.left_out.items(), key=lambda row: (-row[1], row[0]))
        print_table("files left out", ("why", "files"), counts)
    warn_of_shared_keys(filled.shared_keys)
