"""Whether queries are such as those a promise was made on; for others it is void, and that is said.

A recall is measured on sampled images as queries. Of queries of another kind it says nothing.
"""

from collections.abc import Sequence

import numpy as np

from pipeline.core.arrays import Mask, Scores

FALSE_ALARMS = 0.05  # share of queries such as those sampled that are called unlike them, at most
NAMED = 5  # queries


def unlike(nearest: Scores, best: Scores, alarms: float = FALSE_ALARMS) -> Mask:
    """Return (m,): whether queries are unlike those of which the recall is known.

    nearest (n,): the nearest neighbour's score of each of those; best (m,): of the queries, found
    in the same way. A query is unlike them where so low a score has a conformal p-value of at most
    ``alarms``: of queries drawn as they were no larger share is called so (Vovk, Gammerman &
    Shafer: Algorithmic learning in a random world, 2005).
    """
    as_low = np.searchsorted(np.sort(nearest), best, side="right")
    found: Mask = (1 + as_low) / (1 + len(nearest)) <= alarms
    return found


def promised(promise: str, keys: Sequence[str], void: Mask, remedy: str) -> str:
    """Return ``promise`` for the queries it holds for, and for which it is void.

    remedy: what else to do about those.
    """
    said = [] if void.all() else [promise]
    if void.any():
        said.append(
            f"void for {named(keys, void)}, which are less like the collection than "
            f"{1 - FALSE_ALARMS:.0%} of its own images; {remedy}"
        )
    return "; ".join(said)


def named(keys: Sequence[str], some: Mask) -> str:
    """Return how many of the queries ``keys`` are ``some`` of them, with the first ones' names."""
    names = [key for key, one in zip(keys, some, strict=True) if one]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} of {len(keys)} queries ({', '.join(names[:NAMED])}{more})"
