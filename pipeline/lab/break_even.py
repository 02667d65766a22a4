"""After how many queries embedding everything once is the better buy."""

from dataclasses import dataclass

import numpy as np

from pipeline.core.arrays import Reals

LATE = 3  # queries at the end whose mean cost stands for those to come


@dataclass(frozen=True)
class BreakEven:
    """Cumulative seconds of the cascade query by query, and what brute force costs instead.

    The cascade's later queries find ever more features made; those not measured are taken to cost
    what the last LATE did, so the crossing is the earliest there can be.
    """

    cascade: Reals  # (q,), seconds of each query in turn, measured
    embed: float  # seconds to embed everything once, measured
    search: float  # seconds of one exact search after that, measured

    def crossing(self) -> tuple[int | None, bool]:
        """Return the query at which brute force has cost less, and whether it was measured.

        None where it never does: a cascade query costs no more than an exact search.
        """
        queries = np.arange(1, len(self.cascade) + 1)
        dearer = np.cumsum(self.cascade) > self.embed + self.search * queries
        if dearer.any():
            return int(queries[dearer][0]), True
        late = float(self.cascade[-LATE:].mean()) - self.search
        if late <= 0:
            return None, False
        left = self.embed + self.search * len(queries) - float(self.cascade.sum())
        return len(queries) + int(left // late) + 1, False
