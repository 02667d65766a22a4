"""Copies of photographs under changes that the corpus maker does not make, and who finds them."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import simplejpeg

from pipeline.core.arrays import Ids, Mask, Pixels, Scores
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix
from pipeline.corpus.changes import CHANGES, changed
from pipeline.dedup.looked import with_roles
from pipeline.images.decode import decode_rgb
from pipeline.lab.process_tree import TreeUse

COVERED = 512  # pixels: photographs are changed at the scaled decode that covers this
QUALITIES = (60, 95)  # of the JPEGs that copies are saved as
PRECISE = 0.99
# Of a copy under each change a reason that is true, among those told: what is finer than the 128
# pixels of a look is a matter of detail, and what is seen aslant is told as the nearest affine map.
DETAIL, CROP, FRAME = "another size|copy is softer", "copy is a crop", "copy has a border"
OVER = "covered"
REASONS: dict[str, str] = {
    **dict.fromkeys(("recompressed", "resized", "64 px", "blurred", "noise", "sharpened"), DETAIL),
    "grey": "copy is grey",
    **dict.fromkeys(("sepia", "brighter", "darker", "less contrast", "more colour"), "recoloured"),
    **dict.fromkeys(("hue", "vignette"), "recoloured"),
    **dict.fromkeys(("crop to 90 %", "crop to 75 %", "crop to 60 %", "crop to 45 %"), CROP),
    "sides cut": CROP,
    "stretched": "stretched",
    **dict.fromkeys(("border", "bars", "screenshot"), FRAME),
    "mirrored": "mirrored(?! upside)",
    "upside down": "mirrored upside down",
    "turned by 90": "turned by -?(89|90|91) deg",
    "turned by 180": "turned by -?(179|180) deg",
    "turned by 3 to 8": "turned by -?[2-9] deg",
    "turned by 15 to 25": "turned by -?(1[4-9]|2[0-6]) deg",
    "aslant": f"stretched|turned|{CROP}|{FRAME}|{OVER}",
    "caption": OVER,
    "sticker": OVER,
    "watermark": f"{OVER}|recoloured",
    "mirrored crop": f"mirrored.*{CROP}",
    "turned crop": f"turned by -?(89|90|91) deg.*{CROP}",
    "collage": f"photo is a crop|{FRAME}",
}


@dataclass(frozen=True)
class Found:
    """What one way took, and the pairs it found: files one, other, and how sure it is of each.

    Pairs below ``least``, its own threshold, are there to tell what another one would give.
    """

    use: TreeUse
    pairs: pa.Table  # one, other string, score float64
    least: float = -np.inf

    @property
    def usual(self) -> pa.Table:
        """The pairs that it gives where no threshold is named."""
        return self.pairs.filter(pc.greater_equal(self.pairs["score"], self.least))


def write_copies(photos: list[Path], folder: Path, seed: int, each: int | None) -> pa.Table:
    """Write copies of each of ``photos`` under CHANGES; return file, photo, change.

    each: copies of a photograph, its changes in turn; none: one under every change.
    """
    rows = []
    for number, path in enumerate(photos):
        rng = np.random.default_rng([seed, number])
        picture = _pixels(path)
        others = [_pixels(photos[place]) for place in rng.integers(0, len(photos), 3)]
        for name in _in_turn(number, each):
            copy = changed(picture, name, rng, others)
            file = folder / name.replace(" ", "_") / f"{number:04d}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            quality = int(rng.integers(*QUALITIES))
            file.write_bytes(simplejpeg.encode_jpeg(copy, quality, "RGB", "420"))
            rows.append({"file": str(file), "photo": str(path), "change": name})
    return pa.Table.from_pylist(rows)


def _in_turn(number: int, each: int | None) -> list[str]:
    names = list(CHANGES)
    count = each or len(names)
    return [names[(number * count + place) % len(names)] for place in range(count)]


def _pixels(path: Path) -> Pixels:
    return decode_rgb(path.read_bytes(), COVERED).pixels


def share_by_change(ways: Mapping[str, Found], copies: pa.Table) -> pa.Table:
    """Return a row a change: the share of its copies that each way pairs with their photo."""
    photo_of = dict(zip(copies["file"].to_pylist(), copies["photo"].to_pylist(), strict=True))
    hits = {name: _paired_with_photo(found.usual, photo_of) for name, found in ways.items()}
    changes = copies["change"].to_pylist()
    files = copies["file"].to_pylist()
    rows = []
    for change in CHANGES:
        mine = [file for file, name in zip(files, changes, strict=True) if name == change]
        count = max(1, len(mine))
        shares = {way: sum(f in hit for f in mine) / count for way, hit in hits.items()}
        rows.append({"change": change, "copies": len(mine), **shares})
    return pa.Table.from_pylist(rows)


def told_by_change(pairs: pa.Table, copies: pa.Table) -> pa.Table:
    """Return a row a change: copies ``found``, and of how many ``told`` is one of its REASONS.

    pairs: files one, other, and why string, which names them a and b.
    """
    photo_of = dict(zip(copies["file"].to_pylist(), copies["photo"].to_pylist(), strict=True))
    change_of = dict(zip(copies["file"].to_pylist(), copies["change"].to_pylist(), strict=True))
    found, told = Counter[str](), Counter[str]()
    ways = (("one", "other", ("copy", "photo")), ("other", "one", ("photo", "copy")))
    for copy, photo, roles in ways:
        why = with_roles(pairs["why"], *roles).to_pylist()
        files = zip(pairs[copy].to_pylist(), pairs[photo].to_pylist(), why, strict=True)
        for mine, theirs, words in files:
            if photo_of.get(mine) == theirs:
                change = str(change_of[mine])
                found[change] += 1
                told[change] += bool(re.search(REASONS[change], words or ""))
    rows = [{"change": name, "found": found[name], "told": told[name]} for name in CHANGES]
    return pa.Table.from_pylist(rows)


def _paired_with_photo(pairs: pa.Table, photo_of: Mapping[str, str]) -> set[str]:
    found = set()
    for one, other in zip(pairs["one"].to_pylist(), pairs["other"].to_pylist(), strict=True):
        found |= {copy for copy, file in ((one, other), (other, one)) if photo_of.get(copy) == file}
    return found


def photos_kept(groups: pa.Table, copies: pa.Table) -> tuple[int, int]:
    """Return how many photographs with a copy in their group are its survivor, and of how many.

    groups: file string, group int64 and survivor bool of every image in one.
    """
    photos = set(copies["photo"].to_pylist())
    photo_of = dict(zip(copies["file"].to_pylist(), copies["photo"].to_pylist(), strict=True))
    rows = groups.to_pylist()
    met = {(row["group"], photo_of.get(row["file"])) for row in rows}
    mine = [r for r in rows if r["file"] in photos and (r["group"], r["file"]) in met]
    return sum(row["survivor"] for row in mine), len(mine)


def quality_by_way(ways: Mapping[str, Found], copies: pa.Table) -> pa.Table:
    """Return a row a way: time, memory, and how right its usual pairs are.

    At a precision of PRECISE, and for micro-AP, all of its pairs are looked at.
    A pair is right where both are of one photograph, copies or itself; pairs of two photographs
    may be copies or not, and are left out, as are those of a collage with a photograph that may be
    in it. recall: of all copies, those paired with their photo.
    """
    return pa.Table.from_pylist([_quality(name, found, copies) for name, found in ways.items()])


def at_precision(found: Found, copies: pa.Table) -> Found:
    """Return ``found`` with its surest pairs alone, of as many as are PRECISE in quality_by_way."""
    rows, rights, _ = _ranked(found, copies)
    kept = found.pairs.take(pa.array(rows[: _precise(_precisions(rights))]))
    return replace(found, pairs=kept, least=-np.inf)


def _precisions(rights: Mask) -> Scores:
    """Return (p,): the share that is right of the surest pair, of the two surest, and so on."""
    shares: Scores = np.cumsum(rights) / np.arange(1, len(rights) + 1)
    return shares


def _precise(precisions: Scores) -> int:
    """Return how many pairs, the surest, are PRECISE."""
    return int(np.flatnonzero(precisions >= PRECISE).max(initial=-1)) + 1


def similar_pairs(embeddings: Store, least: float) -> pa.Table:
    """Return a_key, b_key and score of all pairs of vectors as similar as ``least``."""
    shards = [entry.shard for entry in embeddings.manifest()]
    images = pa.concat_tables([embeddings.read(shard, ["key", "embedding"]) for shard in shards])
    vectors = embedding_matrix(images["embedding"])
    scores = np.triu(vectors @ vectors.T, 1)
    one, other = np.nonzero(scores >= least)
    keys = [images["key"].take(pa.array(rows)) for rows in (one, other)]
    found = scores[one, other].astype(np.float64)
    return pa.table({"a_key": keys[0], "b_key": keys[1], "score": found})


def _ranked(found: Found, copies: pa.Table) -> tuple[Ids, Mask, Mask]:
    """Return the pairs of which it is known whether they are right, the surest first.

    Their rows int64 (p,), whether each is right, and whether it is of a copy with its photo.
    """
    photo_of = dict(zip(copies["file"].to_pylist(), copies["photo"].to_pylist(), strict=True))
    one, other = found.pairs["one"].to_pylist(), found.pairs["other"].to_pylist()
    collages = set(copies.filter(pc.equal(copies["change"], "collage"))["file"].to_pylist())
    known = [
        photo_of.get(a, a) == photo_of.get(b, b)
        or ((a in photo_of or b in photo_of) and not collages & {a, b})
        for a, b in zip(one, other, strict=True)
    ]
    right = [photo_of.get(a, a) == photo_of.get(b, b) for a, b in zip(one, other, strict=True)]
    direct = [photo_of.get(a) == b or photo_of.get(b) == a for a, b in zip(one, other, strict=True)]
    order = np.argsort(-found.pairs["score"].to_numpy(), kind="stable")
    order = order[np.array(known, np.bool_)[order]]
    return order, np.array(right, np.bool_)[order], np.array(direct, np.bool_)[order]


def _quality(name: str, found: Found, copies: pa.Table) -> dict[str, object]:
    order, rights, directs = _ranked(found, copies)
    usual = int((found.pairs["score"].to_numpy()[order] >= found.least).sum())
    precisions, recalls = _precisions(rights), np.cumsum(directs) / copies.num_rows
    precise = _precise(precisions)
    return {
        "way": name,
        "seconds": found.use.seconds,
        "peak MiB": found.use.peak / 2**20,
        "pairs": usual,
        "precision": float(precisions[usual - 1]) if usual else None,
        "recall": float(recalls[usual - 1]) if usual else 0.0,
        "recall at P .99": float(recalls[precise - 1]) if precise else 0.0,
        "micro-AP": float((precisions * directs).sum() / copies.num_rows) if len(order) else 0.0,
    }
