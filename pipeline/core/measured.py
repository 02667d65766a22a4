"""What a pool of workers was measured to cost, kept in a file with where and when it was.

measured.yaml, beside this file, is what `sluice lab scale` left on one machine: for whoever has
measured nothing yet.
"""

from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import StoreError
from pipeline.core.files import write_atomically
from pipeline.core.forecast import PoolCosts
from pipeline.core.origin import VERSION, machine

SHIPPED = Path(__file__).with_name("measured.yaml")
SCALE = "sluice lab scale"


@dataclass(frozen=True)
class Measured:
    """What one kind of work cost on ``machine``; ``ms`` is of one worker, an image."""

    workload: str
    costs: PoolCosts
    ms: float
    machine: str
    day: str  # as 2026-11-25
    version: str  # of Sluice
    command: str
    shipped: bool = False

    @property
    def told(self) -> str:
        """Where the figures come from, in words."""
        whose = f"measured on {self.machine}" + (", not yours" if self.shipped else "")
        work = "workers that slept (emulated)" if self.workload == "emulated" else self.workload
        return f"{whose}: {work}, {self.command} of Sluice {self.version}, {self.day}"


def measured_here(workload: str, costs: PoolCosts, ms: float, command: str) -> Measured:
    """Return what was measured on this machine, today."""
    return Measured(workload, costs, ms, machine(), str(date.today()), VERSION, command)


def write_measured(path: Path, measured: Measured) -> None:
    """Write ``measured`` as YAML."""
    facts = asdict(measured) | {"costs": asdict(measured.costs)}
    facts.pop("shipped")
    write_atomically(path, yaml.safe_dump(_plain(facts), sort_keys=False).encode())


def read_measured(path: Path = SHIPPED) -> Measured:
    """Return what is kept at ``path``. Raises StoreError where the file is damaged."""
    try:
        facts: dict[str, Any] = yaml.safe_load(path.read_bytes())
        lists = {name: tuple(facts["costs"].pop(name)) for name in ("stragglers", "off")}
        costs = PoolCosts(**(facts.pop("costs") | lists))
        return Measured(**facts, costs=costs, shipped=path == SHIPPED)
    except (OSError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"{path} is damaged ({error}); run {SCALE} again") from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
