"""How many workers to take: the cheapest in time, and what they cost on demand and as spot."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import poisson


@dataclass(frozen=True)
class Cost:
    """An expected cost with its low and high ends, in the unit of the price."""

    value: float
    low: float
    high: float

    @property
    def told(self) -> str:
        return f"{self.value:,.2f} ({self.low:,.2f} to {self.high:,.2f})"


@dataclass(frozen=True)
class Offer:
    """A kind of worker that can be had: its price an hour, and how often one is taken away."""

    name: str
    price: float
    interruptions: float  # of a worker an hour
    shards_a_worker: int

    def cost(self, row: Mapping[str, float]) -> Cost:
        """Return what a row of a forecast costs, with what is done again.

        A worker that is taken away loses half a shard on average, a shard at most, and its
        successor starts anew; interruptions are independent of each other (Poisson). ``low`` is the
        quicker end with the fewest interruptions of 95 %, ``high`` the slower with the most.
        """
        expected, few, many = (self._lost(row, row[name]) for name in ("seconds", "low", "high"))
        hourly = self.price / 3600
        return Cost(
            (row["workers"] * row["seconds"] + expected[1]) * hourly,
            (row["workers"] * row["low"] + few[0]) * hourly,
            (row["workers"] * row["high"] + many[2]) * hourly,
        )

    @property
    def told(self) -> str:
        """Its price, in words."""
        lost = f", {self.interruptions:g} interruptions an hour" if self.interruptions else ""
        return f"{self.price:g} a worker-hour{lost}"

    def _lost(self, row: Mapping[str, float], seconds: float) -> tuple[float, float, float]:
        """Return the worker-seconds done again: the fewest of 95 %, expected, the most."""
        mean = self.interruptions * row["workers"] * seconds / 3600
        shard = row["work"] / self.shards_a_worker
        half, whole = shard / 2 + row["start_up"], shard + row["start_up"]
        few, many = (float(poisson.ppf(end, mean)) if mean else 0.0 for end in (0.025, 0.975))
        return few * half, mean * half, many * whole


def offers(
    price: float | None, spot_price: float | None, interruptions: float, shards_a_worker: int
) -> list[Offer]:
    """Return the kinds of workers that have a price."""
    kinds = [("on demand", price, 0.0), ("spot", spot_price, interruptions)]
    return [
        Offer(name, paid, lost, shards_a_worker) for name, paid, lost in kinds if paid is not None
    ]


def doublings(most: int) -> list[int]:
    """Return 1, 2, 4, ... and ``most``."""
    return sorted({*(2**power for power in range(most.bit_length())), most})


def cheapest_in_time(
    at: Callable[[Sequence[int]], pa.Table],
    pools: Sequence[int],
    deadline: float,
    by: str = "seconds",
) -> int | None:
    """Return the number of workers that is done in ``deadline`` seconds for the least, or None.

    ``by``: "seconds", or "high", the end of their range. ``at`` forecasts numbers of workers. All
    are looked at up to the largest of ``pools``: a further worker is paid while it starts, but may
    also fill a last round of shards.
    """
    table = at(list(range(1, max(pools) + 1)))
    fit = table.filter(pc.less_equal(table[by], deadline))
    if not fit.num_rows:
        return None
    best = fit.sort_by([("cost", "ascending"), ("seconds", "ascending")])
    return int(best["workers"][0].as_py())
