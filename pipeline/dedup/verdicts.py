"""What a user has judged of pairs, kept beside them; one that is no duplicate never comes back."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from pipeline.core.arrays import Ids
from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes, table_of
from pipeline.dedup.identical_sets import SetPairs, ends_of

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


def verdicts_of_file(path: Path, embeddings: Store) -> pa.Table:
    """Return (a, b, duplicate) of a CSV file with these columns, as the page writes it.

    Raises InputError where it is none, or names an image that ``embeddings`` does not hold.
    """
    remedy = "give the verdicts.csv that a page of this output has downloaded"
    options = csv.ConvertOptions(
        column_types=dict(zip(VERDICTS.names, VERDICTS.types, strict=True)),
        include_columns=VERDICTS.names,
    )
    try:
        judged = csv.read_csv(path, convert_options=options)
    except (OSError, pa.ArrowException, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} holds no verdicts ({reason}); {remedy}") from error
    asked = pa.chunked_array([*judged["a"].chunks, *judged["b"].chunks], pa.int64())
    shards = [embeddings.read(entry.shard, ["id"])["id"] for entry in embeddings.manifest()]
    known = pa.chunked_array([chunk for ids in shards for chunk in ids.chunks], pa.int64())
    unknown = asked.filter(pc.invert(pc.is_in(asked, value_set=known)))
    if len(unknown):
        raise InputError(f"{path} judges image {unknown[0]}, which is not embedded here; {remedy}")
    return judged


def refuse_rejected(groups: pa.Table, verdicts: pa.Table) -> None:
    """Raise InputError where a group of GROUPS holds two images judged to be no duplicates."""
    one, other = (
        pc.index_in(pa.array(ids), value_set=groups["id"].combine_chunks())
        for ids in rejected(verdicts)
    )
    together = pc.equal(groups["group"].take(one), groups["group"].take(other))
    if pc.any(together).as_py():
        raise InputError(
            "pairs were judged to be no duplicates since these groups were made; run the same "
            "sluice dedup again, which groups anew without them"
        )


def rejected(verdicts: pa.Table) -> tuple[Ids, Ids]:
    """Return the pairs that are no duplicates, ids int64 (n,) each."""
    no = verdicts.filter(pc.invert(verdicts["duplicate"]))
    return no["a"].to_numpy(), no["b"].to_numpy()


def without_rejected(sets: SetPairs, verdicts: pa.Table) -> SetPairs:
    """Return the pairs of sets of which no two images were judged to be no duplicates.

    Two images that are identical stay in their set; ``group_pairs`` sets them apart.
    """
    one, other = (sets.stand_ins(ids)[0] for ids in rejected(verdicts))
    gone = np.isin(ends_of(sets.first[sets.one], sets.first[sets.other]), ends_of(one, other))
    return sets.some(~gone | (sets.one == sets.other))
