"""How many images a shard takes: as many as are asked for, or as leave every worker several."""

from dataclasses import dataclass

LEAST, MOST = 64, 1024  # images a shard where no number is asked for
SHARDS_A_WORKER = 4  # at least, so that none waits long for another's last one


@dataclass(frozen=True)
class Evenly:
    """Shards of which each of ``workers`` gets SHARDS_A_WORKER, within LEAST and MOST."""

    workers: int


ShardRows = int | Evenly


def rows_a_shard(wanted: ShardRows, images: int) -> int:
    """Return the rows of a shard of ``images``: a multiple of LEAST, so that batches are full."""
    if not isinstance(wanted, Evenly):
        return wanted
    share = images // (SHARDS_A_WORKER * max(1, wanted.workers))
    return min(max(share - share % LEAST, LEAST), MOST)
