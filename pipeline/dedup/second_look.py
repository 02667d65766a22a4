"""The second look at candidate pairs: whole passes over their shards, kept below the join's store.

A pass is named by its pairs, so that one that was broken off goes on, and pairs of a grown
collection are a pass more: a picture's keypoints are found once, and a pair is looked at once.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

from pipeline.core.arrays import Ids, Mask, Scores
from pipeline.core.files import checksum
from pipeline.core.folder import Place, folders_in, remove_folder
from pipeline.core.spread import ShardPlan, Spreading
from pipeline.core.store import Store
from pipeline.core.tables import places
from pipeline.dedup.asked import Shares, chances, keep
from pipeline.dedup.identical_sets import SetPairs, connected, ends_of, set_pairs
from pipeline.dedup.keeping import keeping_order
from pipeline.dedup.keypoint_shard import KeypointPlan, kept_ids, shards_of
from pipeline.dedup.look import Weights, shipped_weights
from pipeline.dedup.look_shard import LOOKS, PART, LookPlan
from pipeline.dedup.looked import Looked, rows_of_pairs
from pipeline.images.source import Source

FOLDER = "second_look"
VERSION = 3  # of what a look tells of two pictures; to be raised where the same would tell other
NEAREST = 4  # others by the embedding that each picture is compared with
SIMILAR = 16  # others at most, of those similar enough, that it is compared with
# Of the squared distance to its last nearest one, that at which another one stands out among them.
OUTSTANDING = 0.95
FULLY_PAIRED = 64  # images of a group of which all pairs are looked at
ROUNDS = 2  # of looking at what looks connect, since those connect more
SHARING = 40  # others, of a larger one, that each is looked at with
BLOCK = 1024  # images whose partners' partners stand in memory


def look_at_candidates(
    spreading: Spreading,
    embeddings: Store,
    source: Source,
    root: Place,
    pairs: pa.Table,
    hashed: pa.Table,
    images: pa.Table,
    reference: Ids | None,
    precision: float | None,
    recall: float | None,
    confidence: float,
    similarity: float,
) -> Looked:
    """Look again at all candidates of a join at ``root``, and at what they connect; keep the sure.

    pairs: PAIRS of the join; hashed: (a, b) of the join by hashes; images: as ``keeping_order``
    takes them; reference int64 (r,): only pairs of one of these with one that is not count;
    precision, recall and confidence: as ``asked.keep`` takes them; similarity: that of the join.
    Raises as ``look_again`` does.
    """
    weights, sets = shipped_weights(), set_pairs(pairs)
    if reference is not None:
        sets = replace(sets, reference=reference)
    wanted, waiting = candidates(pairs, hashed, sets, similarity, NEAREST)
    asked = (spreading, embeddings, source, root)
    looks = look_again(*asked, wanted, weights)
    kept = keep(*_told(looks), precision, recall, confidence)
    found = of_found(waiting, surely(with_chances(looks, kept.shares), kept.least))
    if len(found[0]):  # they are candidates as others, by which to choose what is kept
        wanted = _united(wanted, found)
        looks = look_again(*asked, wanted, weights)
        kept = keep(*_told(looks), precision, recall, confidence)
    for _ in range(ROUNDS):
        sure = surely(with_chances(looks, kept.shares), kept.least)
        further = further_candidates(sure, images)
        counts = sets.count_between(*further)
        wanted = _united(wanted, (further[0][counts], further[1][counts]))
        wanted = _united(wanted, of_found(waiting, sure))
        looks = look_again(*asked, wanted, weights)
    looks = with_chances(looks, kept.shares)
    beyond = similar_beyond(pairs, sets, similarity, looks)
    passed = len(_not_among(waiting, looks)[0])
    unread = looks["sure"].null_count
    certain = surely(looks, kept.least)
    return Looked(certain, kept, looks.num_rows, similarity, unread, beyond, passed)


def _told(looks: pa.Table) -> tuple[Scores, Scores]:
    told = looks.filter(pc.is_valid(looks["sure"]))
    return told["sure"].to_numpy(), told["alike"].to_numpy()


def with_chances(looks: pa.Table, shares: Shares) -> pa.Table:
    """Return LOOKS that are as ``sure`` as they are likely copies where pairs are so in SHARES."""
    sure, alike = (pc.fill_null(looks[name], 0.0).to_numpy() for name in ("sure", "alike"))
    likely = pa.array(chances(sure, alike, shares), mask=pc.is_null(looks["sure"]).to_numpy())
    return looks.set_column(looks.column_names.index("sure"), "sure", likely)


def surely(looks: pa.Table, least: float) -> pa.Table:
    """Return the LOOKS that are as ``sure`` as ``least`` and above."""
    return looks.filter(pc.fill_null(pc.greater_equal(looks["sure"], least), False))


def of_found(waiting: tuple[Ids, Ids], sure: pa.Table) -> tuple[Ids, Ids]:
    """Return those of the pairs ``waiting`` of which a picture is in LOOKS that are ``sure``.

    What copies there are of it stand in each other's way: none is outstanding among them.
    """
    found = np.unique(np.concatenate([sure["a"].to_numpy(), sure["b"].to_numpy()]))
    one, other = waiting
    there = np.isin(one, found) | np.isin(other, found)
    return one[there], other[there]


def similar_beyond(pairs: pa.Table, sets: SetPairs, similarity: float, looks: pa.Table) -> int:
    """Return how many ``pairs`` that are similar enough no image has among its SIMILAR."""
    similar = pairs.filter(pc.greater_equal(pairs["score"], similarity))
    a, b, same = (similar[name].to_numpy() for name in ("a", "b", "identical"))
    return int(((rows_of_pairs(looks, a, b) < 0) & sets.count_between(a, b) & ~same).sum())


def _united(one: tuple[Ids, Ids], other: tuple[Ids, Ids]) -> tuple[Ids, Ids]:
    return _distinct(*(np.concatenate(ends) for ends in zip(one, other, strict=True)))


def _distinct(a: Ids, b: Ids) -> tuple[Ids, Ids]:
    found = np.unique(ends_of(a, b))
    return np.ascontiguousarray(found["a"]), np.ascontiguousarray(found["b"])


def look_again(
    spreading: Spreading,
    embeddings: Store,
    source: Source,
    root: Place,
    pairs: tuple[Ids, Ids],
    weights: Weights,
) -> pa.Table:
    """Return LOOKS of ``pairs`` (a, b) int64 (p,), by a, then b; those looked at before are read.

    Those by other weights, or by another VERSION, are no more. Raises InputError where ``source``
    cannot be read again, StoreError where a pass is damaged.
    """
    passes = finished_passes(root, weights)
    looks = read_looks(passes)
    pending = _not_among(pairs, looks)
    if len(pending[0]):
        new = _looked(spreading, embeddings, source, root, pending, weights, passes)
        looks = pa.concat_tables([looks, read_looks([new])])
    return looks.take(pa.array(rows_of_pairs(looks, *pairs)))


def finished_passes(root: Place, weights: Weights) -> list[Place]:
    """Return the folders of the passes below ``root`` that are whole, and by these weights."""
    rule = _rule(weights)
    passes = [folder for folder in folders_in(root / FOLDER) if folder.name.startswith(rule)]
    return [folder for folder in passes if (folder / "looks" / "manifest.json").exists()]


def _rule(weights: Weights) -> str:
    return checksum(repr((VERSION, LOOKS.names, weights)).encode())[:8]


def read_looks(passes: list[Place]) -> pa.Table:
    """Return LOOKS of all ``passes``."""
    tables = [LOOKS.empty_table()]
    for folder in passes:
        store = Store.open(folder / "looks", "looks")
        tables += [store.read(entry.shard) for entry in store.manifest()]
    return pa.concat_tables(tables)


def _looked(
    spreading: Spreading,
    embeddings: Store,
    source: Source,
    root: Place,
    pairs: tuple[Ids, Ids],
    weights: Weights,
    passes: list[Place],
) -> Place:
    """Make the pass over ``pairs``, or go on with it; return its folder."""
    name = _rule(weights) + checksum(b"".join(ends.tobytes() for ends in pairs))
    folder = root / FOLDER / name
    _clear_others(root, {*passes, folder})
    identity = {"pairs": name, "embeddings": embeddings.identity}
    keypoints = Store.create(folder / "keypoints", "keypoints", identity)
    before = [Store.open(path / "keypoints", "keypoints") for path in passes]
    ids = np.setdiff1d(np.unique(np.concatenate(pairs)), kept_ids(before))
    plan = KeypointPlan(source, embeddings.root, keypoints.root, ids)
    shards = [entry.shard for entry in embeddings.manifest()] if len(ids) else []
    _fill(spreading, plan, keypoints, shards, len(ids), "img")
    looks = Store.create(folder / "looks", "looks", identity)
    laid = laid_out(pairs, embeddings)
    roots = tuple(store.root for store in (*before, keypoints))
    look = LookPlan(roots, looks.root, laid, weights)
    _fill(spreading, look, looks, list(range(-(-laid.num_rows // PART))), laid.num_rows, "pairs")
    return folder


def _fill(
    spreading: Spreading, plan: ShardPlan, store: Store, shards: list[int], total: int, unit: str
) -> None:
    done = {entry.shard for entry in store.entries()}
    spread = spreading(total, unit, here=total <= PART)  # no longer than workers take to start
    for _ in spread(plan, [shard for shard in shards if shard not in done]):
        pass
    store.finish(len(shards))


def _clear_others(root: Place, kept: set[Place]) -> None:
    """Remove the passes that were broken off over other pairs than are asked for now."""
    for folder in folders_in(root / FOLDER):
        if folder not in kept:
            remove_folder(folder)


def laid_out(pairs: tuple[Ids, Ids], embeddings: Store) -> pa.Table:
    """Return the pairs (a, b, a_shard, b_shard), those of the same few pictures near each other.

    Pictures are ordered as Cuthill and McKee do the nodes of a graph (Reducing the bandwidth of
    sparse symmetric matrices, 1969), pairs by the first of theirs.
    """
    ids = np.unique(np.concatenate(pairs))
    shards = shards_of(ids, embeddings)
    ends = [np.searchsorted(ids, end) for end in pairs]
    one, other = np.concatenate(ends), np.concatenate(ends[::-1])
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(len(ids),) * 2)
    rank = np.empty(len(ids), np.int64)
    rank[reverse_cuthill_mckee(graph.tocsr(), symmetric_mode=True)] = np.arange(len(ids))
    a, b = (rank[end] for end in ends)
    order = np.lexsort((np.maximum(a, b), np.minimum(a, b)))
    a_shard, b_shard = (shards[end] for end in ends)
    columns = {"a": pairs[0], "b": pairs[1], "a_shard": a_shard, "b_shard": b_shard}
    return pa.table({name: column[order] for name, column in columns.items()})


def _not_among(pairs: tuple[Ids, Ids], looks: pa.Table) -> tuple[Ids, Ids]:
    new = rows_of_pairs(looks, *pairs) < 0
    return pairs[0][new], pairs[1][new]


def among_nearest(
    pairs: pa.Table, similarity: float, nearest: int, reference: Ids | None = None
) -> pa.Table:
    """Return the pairs of an image and its ``nearest``, and its SIMILAR of ``similarity``, with
    ``waits`` bool: neither similar nor, to one of the two, OUTSTANDING among its nearest.

    reference int64 (r,): images whose own nearest are not among the pairs: to them none stands out.

    More of these would be pairs by the square of pictures that are alike, as pages of text are.
    Parts that were joined as a collection grew hold more: those that were nearest until then.
    That one stands out is Lowe's test of a match, by the last of the nearest (Distinctive Image
    Features from Scale-Invariant Keypoints, 2004, 7.1); one of fewer is not put to it.
    """
    a, b, scores = (pairs[name].to_numpy() for name in ("a", "b", "score"))
    rows = np.tile(np.arange(len(a)), 2)
    image, other = np.concatenate([a, b]), np.concatenate([b, a])
    order = np.lexsort((other, -scores[rows], image))
    image, rows = image[order], rows[order]
    first = np.searchsorted(image, image)
    rank, count = np.arange(len(image)) - first, np.searchsorted(image, image, "right") - first
    similar = scores >= similarity
    last = scores[rows[np.minimum(first + nearest, len(image)) - 1]]
    out = (count < nearest) | (1 - scores[rows] < OUTSTANDING * (1 - last))
    out &= reference is None or ~np.isin(image, reference)
    near = rank < nearest
    kept, waits = np.zeros(len(a), np.bool_), np.ones(len(a), np.bool_)
    kept[rows[np.where(similar[rows], rank < SIMILAR, near)]] = True
    waits[rows[similar[rows] | (near & out)]] = False
    return pairs.append_column("waits", pa.array(waits)).filter(pa.array(kept))


def candidates(
    pairs: pa.Table, hashed: pa.Table, sets: SetPairs, similarity: float, nearest: int
) -> tuple[tuple[Ids, Ids], tuple[Ids, Ids]]:
    """Return the pairs (a, b) int64 (p,), a < b, that a second look is for, by a, then b; and
    those that it is for where copies of one of the two are found.

    pairs: PAIRS of the join, of which those that are not identical are looked at if they are
    ``among_nearest``. hashed: (a, b) of the hash join, any images; those of identical images are
    left out, for others stand for them.
    """
    apart = pairs.filter(pc.invert(pairs["identical"]))
    apart = among_nearest(apart, similarity, nearest, sets.reference)
    waiting = apart.filter(apart["waits"])
    apart = apart.filter(pc.invert(apart["waits"]))
    one, other = (
        np.concatenate([apart[name].to_numpy(), sets.stand_ins(hashed[name].to_numpy())[0]])
        for name in ("a", "b")
    )
    counts = sets.count_between(one, other) & (one != other)
    a, b = waiting["a"].to_numpy(), waiting["b"].to_numpy()
    there = sets.count_between(a, b)
    return _distinct(one[counts], other[counts]), (a[there], b[there])


def further_candidates(sure: pa.Table, images: pa.Table) -> tuple[Ids, Ids]:
    """Return the pairs (a, b) within each group that LOOKS that are ``sure`` connect.

    Of a group of more than FULLY_PAIRED images those of the one that is kept first with each, and
    of each with SHARING others: what two groups have in common, as a collage, makes them one.
    """
    a, b = sure["a"].to_numpy(), sure["b"].to_numpy()
    ids = np.unique(np.concatenate([a, b]))
    if not len(ids):
        return ids, ids
    one, two = np.searchsorted(ids, a), np.searchsorted(ids, b)
    labels = connected(one, two, len(ids))
    rank = np.empty(images.num_rows, np.int64)
    rank[keeping_order(images)] = np.arange(images.num_rows)
    rank = rank[places(ids, images["id"].to_numpy())]
    large = np.bincount(labels)[labels] > FULLY_PAIRED
    inside = large[one]
    near = [ids[ends] for ends in _sharing(one[inside], two[inside], large, rank)]
    order = np.lexsort((rank, labels))
    ids, labels = ids[order], labels[order]
    first = np.searchsorted(labels, labels)
    reach = np.where(large[order], 1, np.arange(len(ids)) - first)
    reach[first == np.arange(len(ids))] = 0
    # Each image with the ``reach`` first ones of its group.
    mine = np.repeat(np.arange(len(ids)), reach)
    other = np.arange(len(mine)) - np.repeat(np.cumsum(reach) - reach, reach) + first[mine]
    return _united((ids[mine], ids[other]), (near[0], near[1]))


def _sharing(one: Ids, other: Ids, large: Mask, rank: Ids) -> tuple[Ids, Ids]:
    """Return each of the places ``large`` bool (n,) with the SHARING that share most partners.

    one, other int64 (p,): places that are partners; of as many shared the first by ``rank`` (n,).
    """
    ends = np.concatenate([one, other]), np.concatenate([other, one])
    graph = coo_array((np.ones(len(ends[0]), np.int32), ends), shape=(len(rank),) * 2).tocsr()
    mine, near, asked = [np.empty(0, np.int64)], [np.empty(0, np.int64)], np.flatnonzero(large)
    for start in range(0, len(asked), BLOCK):
        some = asked[start : start + BLOCK]
        shared = (graph[some] @ graph).tocoo()
        apart = some[shared.row] != shared.col
        row, place, partners = (part[apart] for part in (shared.row, shared.col, shared.data))
        order = np.lexsort((rank[place], -partners, row))
        row, place = row[order], place[order]
        nearest = np.arange(len(row)) - np.searchsorted(row, row) < SHARING
        mine.append(some[row[nearest]])
        near.append(place[nearest].astype(np.int64))
    return np.concatenate(mine), np.concatenate(near)
