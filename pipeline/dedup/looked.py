"""What a second look found: the pairs it is sure of, and what they tell of the images."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import AnyArray, Ids, Mask
from pipeline.dedup.asked import Kept
from pipeline.dedup.difference import STRETCH
from pipeline.dedup.identical_sets import PAIRS, SetPairs, ends_of

FLAWS = {  # of each side, false if not known, by what images without are
    "uncropped": "cropped",
    "unchanged": "changed",
    "unstretched": "stretched",
    "finest": "coarser",
}
SOME = 6  # one in so many of an image's looks may be mistaken in what it tells of it
MOST = 2  # more than one in so many tell of an image that it is the one
MARGIN = 0.02  # share of a picture by which a stretch may be told too small
TOLD = ("points", "places", "alignment", "why")  # of LOOKS, what a pair's row keeps


@dataclass(frozen=True)
class Looked:
    """The looks that are kept, and over what they were taken."""

    looks: pa.Table  # LOOKS, each sure enough, in this collection
    kept: Kept  # from which chance on, and what that is expected to give
    candidates: int  # pairs that were looked at
    cosine: float  # from which pairs of vectors that were met are among them, but for ``beyond``
    unread: int  # of them those of which a picture could not be read again
    beyond: int = 0  # similar pairs that were not, for both have nearer ones
    passed: int = 0  # nearest ones that were not, for neither stands out among the other's


def looked_pairs(pairs: pa.Table, looks: pa.Table) -> pa.Table:
    """Return PAIRS of ``looks``, scored by their sureness, and the identical ones of ``pairs``."""
    same = pairs.filter(pairs["identical"])
    apart = [looks["a"], looks["b"], looks["sure"], pa.repeat(False, looks.num_rows)]
    found = pa.concat_tables([same, pa.table(apart, schema=PAIRS)])
    return found.sort_by([("a", "ascending"), ("b", "ascending")])


def with_looks(pairs: pa.Table, looks: pa.Table, sets: SetPairs) -> pa.Table:
    """Return ``pairs`` with TOLD of the look at those that stand for their sets in ``sets``."""
    one, other = (sets.stand_ins(pairs[name].to_numpy())[0] for name in ("a", "b"))
    rows = rows_of_pairs(looks, np.minimum(one, other), np.maximum(one, other))
    found = looks.take(pa.array(rows, mask=rows < 0))
    for name in TOLD:
        column = found[name]
        if name == "why":
            same = pa.array(one == other)
            column = pc.if_else(same, pc.coalesce(column, pa.scalar("the same picture")), column)
        pairs = pairs.append_column(name, column)
    return pairs


def with_changes(images: pa.Table, looks: pa.Table) -> pa.Table:
    """Return ``images`` with FLAWS that they are without, camera bool and own float64, by LOOKS.

    uncropped: no other one goes on beyond its edges; unchanged: not grey or soft where another is
    not; unstretched: not in unusual proportions where another is not; finest: no other one like it
    as large was saved at a higher quality; usual: not turned or recoloured against most others;
    camera: its file names one; own: the share of it that is the picture, without a border or what
    stretches it against most others. pixels become those alone. Of many looks at an image a few are
    mistaken: what fewer than one in SOME of those that know it tell is not believed.
    """
    rows = _rows_of_sides(images, looks)
    facts = {name: _sides(looks, name) for name in FLAWS.values()}
    facts["coarser"] = _where(_as_large(rows, images["pixels"].to_numpy()), facts["coarser"])
    told = {name: _told_of(rows, known, images.num_rows) for name, known in facts.items()}
    camera = np.zeros(images.num_rows, np.bool_)
    np.logical_or.at(camera, rows, pc.fill_null(_sides(looks, "camera"), False).to_numpy())
    own = _ranked(rows, _known(_sides(looks, "own"), 1.0), images.num_rows, 1.0, SOME)
    turned, recoloured, stretch = (
        _ranked(rows, np.tile(_known(looks[name], usual), 2), images.num_rows, usual, MOST)
        for name, usual in (("turned", False), ("recoloured", False), ("stretch", 1.0))
    )
    own = np.where(stretch > STRETCH, own * (1 / stretch - MARGIN), own)
    pixels = np.rint(images["pixels"].to_numpy() * own).astype(np.int64)
    place = images.column_names.index("pixels")
    images = images.set_column(place, "pixels", pa.array(pixels))
    for without, name in FLAWS.items():
        images = images.append_column(without, pa.array(~told[name]))
    images = images.append_column("usual", pa.array(~(turned | recoloured)))
    images = images.append_column("own", pa.array(own))
    return images.append_column("camera", pa.array(camera))


def _sides(looks: pa.Table, name: str) -> pa.ChunkedArray:
    """Return what looks tell of their pictures a, then of their pictures b."""
    one, other = looks[f"a_{name}"], looks[f"b_{name}"]
    return pa.chunked_array([*one.chunks, *other.chunks], one.type)


def _rows_of_sides(images: pa.Table, looks: pa.Table) -> Ids:
    ids, sides = images["id"].to_numpy(), [looks[side].to_numpy() for side in ("a", "b")]
    order = np.argsort(ids)
    rows: Ids = order[np.searchsorted(ids, np.concatenate(sides), sorter=order)]
    return rows


def _told_of(rows: Ids, known: pa.ChunkedArray, images: int) -> Mask:
    """Return bool (n,): whether one in SOME of the looks that know it tell it of an image."""
    asked = np.bincount(rows, known.is_valid().to_numpy(), minlength=images)
    told = np.bincount(rows, pc.fill_null(known, False).to_numpy(), minlength=images)
    flags: Mask = (told > 0) & (told * SOME >= asked)
    return flags


def _as_large(rows: Ids, pixels: Ids) -> Mask:
    """Return bool (2 looks,): whether the other picture of each side has as many pixels."""
    one, other = np.split(pixels[rows], 2)
    return np.tile(one == other, 2)


def _where(known: Mask, column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pa.array(known), column, pa.scalar(None, column.type))


def _known(column: pa.ChunkedArray, usual: bool | float) -> AnyArray:
    return np.asarray(pc.fill_null(column, usual).to_numpy())


def _ranked(rows: Ids, told: AnyArray, images: int, usual: bool | float, some: int) -> AnyArray:
    """Return what one in ``some`` of an image's looks tell or less, ``usual`` without looks."""
    order = np.lexsort((told, rows))
    counts = np.bincount(rows, minlength=images)
    starts = np.cumsum(counts) - counts
    found, there = np.full(images, usual, told.dtype), counts > 0
    found[there] = told[order][(starts + (counts - 1) // some)[there]]
    return found


def with_roles(why: pa.ChunkedArray, a: str, b: str) -> pa.ChunkedArray:
    """Return the words ``why`` of pairs, string (n,), with names for their two pictures."""
    for letter, name in (("a", a), ("b", b)):
        why = pc.replace_substring_regex(why, rf"\b{letter} (is|has)\b", rf"{name} \1")
        why = pc.replace_substring_regex(why, rf"\bof {letter}\b", f"of {name}")
    return why


def rows_of_pairs(looks: pa.Table, a: Ids, b: Ids) -> Ids:
    """Return the row of each pair (a, b) int64 (p,) in ``looks``, int64 (p,), -1 where in none."""
    known, asked = ends_of(looks["a"].to_numpy(), looks["b"].to_numpy()), ends_of(a, b)
    order = np.argsort(known, kind="stable")
    if not len(order):
        return np.full(len(asked), -1)
    place = np.minimum(np.searchsorted(known[order], asked), len(order) - 1)
    rows: Ids = np.where(known[order[place]] == asked, order[place], -1)
    return rows
