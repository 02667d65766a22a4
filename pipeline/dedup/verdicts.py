"""What a user has judged of pairs, kept beside them; one that is no duplicate never comes back."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import AnyArray, Ids
from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes, table_of
from pipeline.dedup.identical_sets import SetPairs

NAME = "verdicts.parquet"
VERDICTS = pa.schema([("a", pa.int64()), ("b", pa.int64()), ("duplicate", pa.bool_())])  # a < b


def read_verdicts(store: Store) -> pa.Table:
    """Return VERDICTS kept in ``store``, by a, then b; none where nothing was judged.

    Raises StoreError where they are damaged.
    """
    data = store.attached(NAME, f"delete it and its .json: what was judged of {store.root} is lost")
    return VERDICTS.empty_table() if data is None else table_of(data)


def keep_verdicts(store: Store, judged: pa.Table) -> pa.Table:
    """Keep ``judged`` (a, b, duplicate), the later ones for earlier ones; return all VERDICTS.

    A null takes back what was judged. Raises InputError where a pair is of one image.
    """
    if pc.any(pc.equal(judged["a"], judged["b"])).as_py():
        raise InputError("an image cannot be judged beside itself")
    low, high = (
        function(judged["a"], judged["b"])
        for function in (pc.min_element_wise, pc.max_element_wise)
    )
    new = pa.table([low, high, judged["duplicate"]], schema=VERDICTS)
    known = pa.concat_tables([read_verdicts(store), new])
    order = np.arange(known.num_rows)
    last = known.append_column("order", pa.array(order)).group_by(["a", "b"])
    rows = np.sort(last.aggregate([("order", "max")])["order_max"].to_numpy())
    kept = known.take(pa.array(rows)).filter(pc.is_valid(pc.field("duplicate")))
    kept = kept.sort_by([("a", "ascending"), ("b", "ascending")])
    store.attach(NAME, parquet_bytes(kept))
    return kept


def rejected(verdicts: pa.Table) -> tuple[Ids, Ids]:
    """Return the pairs that are no duplicates, ids int64 (n,) each."""
    no = verdicts.filter(pc.invert(verdicts["duplicate"]))
    return no["a"].to_numpy(), no["b"].to_numpy()


def without_rejected(sets: SetPairs, verdicts: pa.Table) -> SetPairs:
    """Return the pairs of sets of which no two images were judged to be no duplicates.

    Two images that are identical stay in their set; ``group_pairs`` sets them apart.
    """
    one, other = (sets.stand_ins(ids)[0] for ids in rejected(verdicts))
    gone = np.isin(_both(sets.first[sets.one], sets.first[sets.other]), _both(one, other))
    return sets.some(~gone | (sets.one == sets.other))


def _both(one: Ids, other: Ids) -> AnyArray:
    pairs = np.empty(len(one), [("a", np.int64), ("b", np.int64)])
    pairs["a"], pairs["b"] = np.minimum(one, other), np.maximum(one, other)
    return pairs
