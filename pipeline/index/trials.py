"""What searches in rounds find of sampled images' neighbours, at several levels of effort."""

from dataclasses import dataclass, replace

import numpy as np

from pipeline.core.arrays import AnyArray, Ids, Mask, Numbers, Scores, Vectors
from pipeline.index.coarse_codes import unpacked
from pipeline.index.evidence import NOT_THERE, TRIALS, Levels, Trials
from pipeline.index.gains import (
    NEVER,
    Facts,
    Gains,
    bucket_facts,
    candidate_facts,
    fit_gains,
)
from pipeline.index.rounds import (
    FIRST_TIMES,
    FirstRound,
    Look,
    Ranked,
    Searched,
    chosen_buckets,
    difficulty,
    first_round,
    further_rounds,
    least_scores,
    probes_of,
)

MISSED = np.geomspace(0.3, 0.001, 12)  # shares of the planning queries' neighbours below a level
BEYOND = (1.5, 4.0)  # log of how far below the last of them further levels are
GENEROUS = 0.01  # share of the neighbours whose bucket is missed where candidates are learned of
MOST = 4096  # candidates of a query
TIED = 200  # candidates of the first look at vectors, on average
MORE = 2  # times the candidates of any planning query: of others some take more
CANDIDATE_ROW = 4  # numbers held of one
NUMBERS_AT_ONCE = 2**24


@dataclass(frozen=True)
class Sampled:
    """Sampled images as queries, and their true neighbours."""

    ids: Ids  # (q,) of the images themselves
    queries: Vectors  # f32 (q, d)
    neighbours: Ids  # (q, k)
    vectors: Vectors  # f32 (q, k, d) of the neighbours
    buckets: Numbers  # (q, k) of the neighbours, NOT_THERE where there are fewer

    def part(self, some: slice | Mask) -> "Sampled":
        """Return ``some`` of the queries."""
        return Sampled(
            self.ids[some],
            self.queries[some],
            self.neighbours[some],
            self.vectors[some],
            self.buckets[some],
        )


@dataclass(frozen=True)
class _Neighbours:
    """The true neighbours of the planning queries, a row each."""

    query: Ids  # (m,)
    bucket: Numbers
    score: Vectors  # (m,) of their codes


def fitted(searched: Searched, planning: Sampled, rows: Ids) -> tuple[Gains, Levels] | None:
    """Return gains fitted to the ``planning`` queries, and levels of effort to try.

    None where so many images have the same codes that to look at them is the work of a search,
    whatever its effort. rows (b,): images of each bucket.
    """
    first, near = first_round(searched, planning.queries), _neighbours(searched, planning)
    gains = Gains(_bucket_weights(first, near, rows), np.zeros(1), rows)
    place = (near.query, near.bucket)
    expected = gains.of_buckets(first.nearness, first.places, first.least) - gains.cost_of_buckets()
    needed = np.where(first.probed()[place], np.inf, expected[place])
    level = _missing(needed, GENEROUS)
    chosen = chosen_buckets(first, gains, np.full(len(planning.ids), level))
    found = Ranked.of(searched.nominated(planning.queries, probes_of(chosen), MOST))
    if (found.rank <= FIRST_TIMES * searched.answers).sum() > TIED * len(planning.ids):
        return None
    gains, worth, of_all = _with_candidates(searched, planning, gains, found, near, chosen[place])
    needed = np.minimum(needed, worth)
    levels = np.array([_missing(needed, share) for share in MISSED])
    # Rounded: of the queries that plan, some would stand on a level but for the last bits.
    levels = np.floor(1000 * np.append(levels, levels[-1] - np.array(BEYOND))) / 1000
    return gains, Levels(levels, _most(found, of_all, levels))


def _neighbours(searched: Searched, planning: Sampled) -> _Neighbours:
    query, column = np.nonzero(planning.buckets != NOT_THERE)
    coder = searched.coder
    codes = unpacked(coder.codes(planning.vectors[query, column]), coder.bits)
    scores = (coder.queries(planning.queries)[query] * codes).sum(axis=1)
    return _Neighbours(query, planning.buckets[query, column], scores)


def _bucket_weights(first: FirstRound, near: _Neighbours, rows: Ids) -> Scores:
    facts = bucket_facts(first.nearness, first.places, rows, first.least)
    apart, late = ~first.probed(), ~first.probed()[near.query, near.bucket]
    held = (near.query[late], near.bucket[late])
    return fit_gains(_at(facts, apart.shape, apart), _at(facts, apart.shape, held))


def _with_candidates(
    searched: Searched,
    planning: Sampled,
    gains: Gains,
    found: Ranked,
    near: _Neighbours,
    seen: Mask,
) -> tuple[Gains, Scores, Scores]:
    """Return ``gains`` with candidates', and what is expected a byte of ``near`` and of ``found``.

    found: the candidates in some buckets, which hold those of ``near`` (m,) that are ``seen`` (m,).
    Of those that the first look at vectors takes in any case it is inf.
    """
    step, offset = searched.coder.estimating(planning.queries)
    early = found.rank <= FIRST_TIMES * searched.answers
    looked = searched.scored(planning.queries, found.some(early), searched.answers)
    least = least_scores(looked, len(planning.ids), searched.answers)
    rank = _ranks(found, near)
    mine = (near.score * step[near.query] + offset[near.query], rank, least[near.query])
    every = (found.estimates(step, offset), found.rank, least[found.query])
    seen = seen & (rank <= MOST)
    weights = fit_gains(candidate_facts(*every), _at(candidate_facts(*mine), rank.shape, seen))
    gains = replace(gains, candidates=weights)
    byte = np.log(4.0 * planning.queries.shape[1])
    later = seen & (rank > FIRST_TIMES * searched.answers)
    worth = np.where(later, gains.of_candidates(*mine) - byte, np.inf)
    others = np.where(early, np.inf, gains.of_candidates(*every) - byte)
    return gains, worth, others


def _most(found: Ranked, worth: Scores, levels: Scores) -> Ids:
    """Return (l,): MORE times any query's candidates at each level, MOST at most.

    worth (m,): what is expected a byte of each of ``found``.
    """
    largest = [np.bincount(found.query[worth >= level]).max(initial=1) for level in levels]
    most: Ids = np.minimum(MOST, MORE * np.array(largest, np.int64))
    return most


def _ranks(found: Ranked, near: _Neighbours) -> Ids:
    """Return (m,): one plus how many of the candidates ``found`` score above each of ``near``."""
    edges = np.searchsorted(found.query, np.arange(near.query.max(initial=0) + 2))
    ranks = np.ones(len(near.query), np.int64)
    for row, (query, score) in enumerate(zip(near.query, near.score, strict=True)):
        mine = found.score[edges[query] : edges[query + 1]]
        ranks[row] += np.searchsorted(-mine, -score)
    return ranks


def _at(facts: Facts, shape: tuple[int, ...], some: Mask | tuple[AnyArray, ...]) -> Facts:
    return [np.broadcast_to(fact, shape)[some] for fact in facts]


def _missing(needed: Scores, share: float) -> float:
    """Return the level below which a ``share`` of the neighbours stand that ``needed`` it (m,)."""
    if not len(needed):
        return NEVER
    return float(min(np.quantile(needed, share, method="lower"), -NEVER))


def tried(searched: Searched, sampled: Sampled, gains: Gains, levels: Levels) -> Trials:
    """Return what the ``sampled`` queries find and take at each of ``levels``."""
    held = len(levels.gains) * len(gains.rows) + CANDIDATE_ROW * int(levels.most.sum())
    rows = max(1, NUMBERS_AT_ONCE // held)
    starts = range(0, max(1, len(sampled.ids)), rows)
    parts = [_tried(searched, sampled.part(slice(s, s + rows)), gains, levels) for s in starts]
    return Trials(*(np.concatenate([getattr(part, name) for part in parts]) for name in TRIALS))


def _tried(searched: Searched, sampled: Sampled, gains: Gains, levels: Levels) -> Trials:
    """All levels are tried at once, each query being as many: workers start but once."""
    first, count = first_round(searched, sampled.queries), len(sampled.ids)
    each = len(levels.gains)
    queries = np.repeat(sampled.queries, each, axis=0)
    asked = (np.tile(levels.gains, count), np.tile(levels.most, count), searched.answers)
    look = further_rounds(searched, queries, first.repeated(each), gains, *asked)
    found = _found(look, sampled, each).astype(np.int64) << np.arange(each)[:, None]
    return Trials(
        found.sum(axis=1),
        difficulty(first, gains),
        look.probed.reshape(count, each),
        look.taken.reshape(count, each),
        look.read.reshape(count, each),
    )


def _found(look: Look, sampled: Sampled, each: int) -> Mask:
    """Return (q, l, k): whether each neighbour is among the answers at each of so many levels."""
    found = look.found
    rank = np.arange(len(found.query)) - np.searchsorted(found.query, found.query)
    shape = (len(sampled.ids) * each, int(rank.max(initial=0)) + 1)
    ids, there = np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
    ids[found.query, rank], there[found.query, rank] = found.ids, True
    neighbours = np.repeat(sampled.neighbours, each, axis=0)
    same = (neighbours[:, :, None] == ids[:, None]) & there[:, None]
    mine: Mask = same.any(axis=2).reshape(len(sampled.ids), each, -1)
    mine &= (sampled.buckets != NOT_THERE)[:, None]
    return mine
