"""How many test images have a copy in train, from what was found, judged and measured."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrays import Ids
from pipeline.core.bounds import lower_bound
from pipeline.core.spread import Spread
from pipeline.core.store import Store
from pipeline.core.tables import flat_column
from pipeline.dedup.identical_sets import SetPairs, rows_of_pairs
from pipeline.dedup.join_shard import PartnersPlan
from pipeline.dedup.looked import with_roles
from pipeline.search.queries import stored_queries

CARRIED = ("why",)  # what is known of a pair beside its score, where it is
IDENTICAL, ALIKE = "identical", "similar"


@dataclass(frozen=True)
class LeakEvidence:
    """What is known of the test images; those in no pair were left out of ``found``."""

    images: int  # of test
    found: int  # those paired with an image of train
    sure: int  # of them, those identical to it, or judged to be its copy
    judged: int = 0  # those that a user has judged, and that are not identical
    right: int = 0  # of them, copies
    unmet: int = 0  # those that the join has met with no image of train
    asked: int | None = None  # of them, those compared with all of train; None: all pairs were
    missed: int = 0  # of these, those that had a partner
    copies: int = 0  # made of images of train and compared with these
    recognised: int = 0  # of them, those that would be found

    def interval(self, confidence: float = 0.95) -> tuple[int, int]:
        """Return the fewest and the most test images that may have a copy in train.

        Both hold with ``confidence`` where the judged were drawn from those found, or were the
        least sure of them, and the copies made are as those in test. Of what was neither judged
        nor identical nothing says that it is a copy: without a verdict only ``sure`` is the least.
        """
        tail = (1 - confidence) / 2
        likely = self.found - self.sure
        wrong = self.judged - self.right
        # Those judged wrong are not among the found, those judged right are sure.
        low, _ = counts_within(likely + self.judged, self.judged, self.right, tail)
        low = max(self.sure, self.sure - self.right + low)
        high = self.found
        tail /= 1 + (self.asked is not None) + (2 if self.copies else 0)
        if self.asked is not None:
            high += counts_within(self.unmet, self.asked, self.missed, tail)[1]
        if self.copies:
            recall = lower_bound(self.recognised, self.copies, 1 - tail)
            high = _most(high, recall, self.images - wrong, tail)
        return low, min(high, self.images - wrong)

    def told(self) -> str:
        """Return in a sentence or two what the interval rests on."""
        sure = self.judged or self.sure == self.found
        least = (
            f"The least rests on {self.judged:,} verdicts."
            if self.judged
            else "The least are all found."
            if sure
            else "The least are those identical alone: judge some pairs on the page of pictures "
            "(--review) to know of the others."
        )
        if not self.copies:
            return f"{least} The most allows for no copy that is not recognised: see --copies."
        return (
            f"{least} The most allows for copies that are not found, changed as those made: crops, "
            "mirrored, recoloured, overlaid, scaled, turned a little, recompressed."
        )


def counts_within(size: int, drawn: int, seen: int, tail: float) -> tuple[int, int]:
    """Return the fewest and the most marked things among ``size``, of which ``seen`` were drawn.

    drawn: how many were, without putting back. Each bound is broken with a chance of ``tail`` at
    most (the hypergeometric test inverted).
    """
    if not drawn:
        return 0, size
    from scipy.stats import hypergeom

    marked = np.arange(seen, size - (drawn - seen) + 1)
    enough = hypergeom.sf(seen - 1, size, marked, drawn) > tail
    few = hypergeom.cdf(seen, size, marked, drawn) > tail
    return int(marked[enough].min()), int(marked[few].max())


def _most(found: int, recall: float, images: int, tail: float) -> int:
    """Return the most copies of which at most ``found`` may be recognised, each with ``recall``."""
    from scipy.stats import binom

    copies = np.arange(found, images + 1)
    may = binom.cdf(found, copies, recall) > tail
    return int(copies[may].max(initial=found))


def leaked_images(sets: SetPairs, pairs: pa.Table) -> pa.Table:
    """Return (id, train, score, and CARRIED where known): each test image's nearest of train.

    sets: pairs across, whose reference is train; pairs: PAIRS of those that stand for them, and
    what is known of each. By score, the highest first, then id; of train images as near the one
    of the lowest id, which stands for its set.
    """
    assert sets.reference is not None
    one, other = sets.first[sets.one], sets.first[sets.other]
    theirs = np.isin(one, sets.reference)
    test, train = np.where(theirs, other, one), np.where(theirs, one, other)
    order = np.lexsort((train, -sets.scores, test))
    test, first = np.unique(test[order], return_index=True)
    stands = sets.first[sets.set_of]
    mine = np.isin(stands, test)
    nearest = order[first][np.searchsorted(test, stands[mine])]
    columns = (sets.ids[mine], train[nearest], sets.scores[nearest])
    found = pa.table(dict(zip(("id", "train", "score"), columns, strict=True)))
    known = [name for name in CARRIED if name in pairs.column_names]
    row = rows_of_pairs(pairs, stands[mine], train[nearest])
    for name in known:
        why = pairs[name].take(pa.array(row, mask=row < 0))
        named = (with_roles(why, *ends) for ends in (("test", "train"), ("train", "test")))
        first = pa.array(stands[mine] < train[nearest])  # a is the one of the lower id
        found = found.append_column(name, pc.if_else(first, *named))
    return found.sort_by([("score", "descending"), ("id", "ascending")])


def met_images(sets: SetPairs, test: Ids) -> Ids:
    """Return the images of ``test`` int64 (n,) that are in a pair of ``sets``, ascending."""
    paired = np.zeros(len(sets.sizes), np.bool_)
    paired[sets.one] = paired[sets.other] = True
    return np.intersect1d(sets.ids[paired[sets.set_of]], test)


def by_kind(leaked: pa.Table) -> list[tuple[str, int]]:
    """Return how many of ``leaked`` are copies of each kind, the most frequent first."""
    same = pc.equal(leaked["score"], 1.0)
    kinds = pc.if_else(same, IDENTICAL, ALIKE)
    if "why" in leaked.column_names:
        kinds = pc.coalesce(leaked["why"], kinds)
    counts = [(row["values"], row["counts"]) for row in pc.value_counts(kinds).to_pylist()]
    return sorted(counts, key=lambda row: (-row[1], row[0]))


def missed_images(
    spread: Spread,
    embeddings: Store,
    unmet: Ids,
    train: Ids,
    sample: int,
    similarity: float,
    seed: int,
    doubtful: bool = False,
) -> tuple[int, int]:
    """Compare ``sample`` of the test images ``unmet`` with all of ``train``, both int64 (n,).

    Returns how many were drawn, and how many of them have a partner. doubtful: as in SortPlan.
    """
    rng = np.random.default_rng([seed, 2])
    drawn = np.sort(rng.choice(np.sort(unmet), min(sample, len(unmet)), replace=False))
    if not len(drawn):
        return 0, 0
    queries = stored_queries(embeddings, drawn.tolist())
    nobody = np.empty(0, np.int64)
    plan = PartnersPlan(embeddings.root, queries.ids, queries.vectors, nobody, similarity, doubtful)
    tables = list(spread(plan, [entry.shard for entry in embeddings.manifest()]))
    image, partner = (
        np.concatenate([flat_column(table, name) for table in tables])
        for name in ("image", "partner")
    )
    return len(drawn), len(np.unique(image[np.isin(partner, train)]))


def judged_images(verdicts: pa.Table, test: Ids) -> tuple[Ids, Ids]:
    """Return the images of ``test`` int64 (n,) judged to be copies, and those judged not to be.

    One with a verdict of either kind is a copy. verdicts: VERDICTS of pairs across.
    """
    a, b = verdicts["a"].to_numpy(), verdicts["b"].to_numpy()
    mine, theirs = np.isin(a, test), np.isin(b, test)
    across, yes = mine != theirs, verdicts["duplicate"].to_numpy(zero_copy_only=False)
    image = np.where(mine, a, b)
    right = np.unique(image[across & yes])
    return right, np.setdiff1d(image[across & ~yes], right)


def found_evidence(
    leaked: pa.Table, test: Ids, verdicts: pa.Table, shared: int
) -> tuple[LeakEvidence, Ids]:
    """Return what was found and judged of the images ``test`` int64 (n,), and those not found.

    leaked: as of ``leaked_images``; verdicts: VERDICTS; shared: further images of test, whose files
    are train's too. Those judged to be no copies are not among those not found.
    """
    ids = leaked["id"].to_numpy()
    right, wrong = judged_images(verdicts, test)
    wrong = np.setdiff1d(wrong, ids)
    same = leaked.filter(pc.equal(leaked["score"], 1.0))["id"].to_numpy()
    right = np.setdiff1d(np.intersect1d(right, ids), same)
    evidence = LeakEvidence(
        images=len(test) + shared,
        found=len(ids) + shared,
        sure=len(same) + len(right) + shared,
        judged=len(right) + len(wrong),
        right=len(right),
    )
    return evidence, np.setdiff1d(test, np.concatenate([ids, wrong]))
