"""`sluice lab guide`: every measurement that the guide's claims need, then the claims."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from jobs.config import Config, as_yaml
from jobs.console import console, print_table, warn
from jobs.lab.config import LabConfig
from jobs.settings import READY, setting_fields
from jobs.sitting import recorded_runs
from pipeline.core.paths import refuse_unwritable
from pipeline.core.run_record import RunRecord
from pipeline.core.tables import read_parquet
from pipeline.lab.claims import to_make
from pipeline.lab.facts import (
    CASCADE,
    GROWTH,
    MERGE,
    NEAREST,
    QUERY,
    RECALL,
    SCALE,
    SCALE_EMBED,
    SEARCH,
)

# What is run in turn, and for the facts of which commands: without any lacking it is left out.
STEPS = {
    "lab growth": (GROWTH,),
    "bench nearest": (NEAREST,),
    "bench merge": (MERGE,),
    "corpus": (SCALE_EMBED, CASCADE, RECALL),
    "lab scale": (SCALE, SCALE_EMBED),
    "sign": (CASCADE, RECALL),
    "calibrate": (CASCADE, RECALL),
    "cascade": (CASCADE,),
    "bench recall": (RECALL,),
    "lab million-index": (QUERY,),
    "search": (QUERY,),
    "bench search": (SEARCH,),
}
LAST = ("lab claims", "lab page")
FLAG, SET = "command line", "--set"  # where settings came from, beside files
SAID = (FLAG, SET, "default")


def command(config: LabConfig) -> None:
    """Measure what the guide's claims lack, check them, and draw them on the lab's page.

    Each step is a command of its own, in a process of its own, and is named; what is there is kept,
    so the same command goes on where it was broken off.
    """
    output = config.guide.output.resolve()
    refuse_unwritable(output)
    record, codes = RunRecord("guide", 0, 0), dict[str, int]()
    run_step(["lab", "claims", *settings_of(config, "lab claims")], quiet=True)
    steps, earlier = [*lacking_steps(config.claims.output), *LAST], recorded_runs(output)
    for number, step in enumerate(steps, 1):
        words = [*step.split(), *settings_of(config, step)]
        console.print(f"\n{number} of {len(steps)}: sluice {shlex.join(words)}", style="bold")
        with record.stage(step):
            codes[step] = run_step(words)
        record.save(output, earlier)
    print_table("what each step took", ("step", "seconds"), list(record.seconds.items()))
    for step in (step for step, code in codes.items() if code):
        warn(f"failed: sluice {step}; the same command tries it again")
    if any(codes.values()):
        sys.exit(max(codes.values()))


def lacking_steps(claims: Path) -> list[str]:
    """Return the steps that make what the table in ``claims`` lacks.

    Raises StoreError where there is none.
    """
    table = read_parquet(claims / "claims.parquet", "run sluice lab claims to see why")
    lacking = set(to_make(table))
    return [step for step, commands in STEPS.items() if lacking & set(commands)]


def settings_of(config: LabConfig, step: str) -> list[str]:
    """Return the flags that give ``step`` the settings that this command was given.

    What was read of a file is named one by one for a command of the product, which refuses the
    lab's sections.
    """
    lab = step.partition(" ")[0] in ("lab", "bench")
    origins = {key: config.origin(key) for key in setting_fields(LabConfig if lab else Config)}
    files = dict.fromkeys(origin for origin in origins.values() if origin not in SAID)
    told = (FLAG, SET) if lab else (FLAG, SET, *files)
    return [
        *(word for file in files if lab for word in ("-c", _named(file))),
        *(
            word
            for key, origin in origins.items()
            if origin in told
            for word in ("--set", f"{key}={_text(_value(config, key))}")
        ),
    ]


def _named(file: str) -> str:
    path = Path(file)
    return path.stem if path.parent == READY and path.suffix == ".yaml" else file


def _value(config: LabConfig, key: str) -> Any:
    section, name = key.split(".")
    return getattr(getattr(config, section), name)


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | Path) else as_yaml(value)


def run_step(words: list[str], quiet: bool = False) -> int:
    """Run a command of ours to its end; return its exit code."""
    out = subprocess.DEVNULL if quiet else None
    with subprocess.Popen([sys.executable, "-m", "jobs", *words], stdout=out) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()  # it ends what it has started; SIGTERM has come to us alone
            process.wait()
            raise
