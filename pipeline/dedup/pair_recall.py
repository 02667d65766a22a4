"""The share of all similar pairs that a join found, from a sample of images compared with all."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.core.arrays import Ids, Mask
from pipeline.core.bounds import lower_bound
from pipeline.core.spread import Spread
from pipeline.core.store import Store
from pipeline.core.tables import flat_column
from pipeline.dedup.identical_sets import SetPairs, ends_of
from pipeline.dedup.join_shard import PartnersPlan
from pipeline.search.queries import stored_queries


@dataclass(frozen=True)
class PairRecall:
    """Found and true pairs of the sampled images, and a bound that needs no independence."""

    images: int  # sampled
    true: int  # pairs they are in, by brute force over all images
    found: int
    drawn: int  # pairs drawn uniformly from all pairs, see ``pair_recall``
    drawn_found: int
    confidence: float

    @property
    def recall(self) -> float:
        return self.found / self.true if self.true else float("nan")

    @property
    def low(self) -> float:
        """Clopper-Pearson lower bound on the recall over all pairs."""
        return lower_bound(self.drawn_found, self.drawn, self.confidence)


def measure_recall(
    spread: Spread,
    embeddings: Store,
    sets: SetPairs,
    ids: Ids,
    sample: int,
    similarity: float,
    confidence: float,
    seed: int,
    doubtful: bool = False,
) -> PairRecall:
    """Compare ``sample`` of ``ids`` int64 (n,), drawn, with all; look their pairs up in ``sets``.

    doubtful: as in SortPlan.
    Raises StoreError where a shard of ``embeddings`` is missing or damaged.
    """
    rng = np.random.default_rng([seed, 1])
    ids = np.sort(ids)
    ids = np.sort(rng.choice(ids, min(sample, len(ids)), replace=False))
    queries = stored_queries(embeddings, np.unique(sets.stand_ins(ids)[0]).tolist())
    asked = (queries.ids, queries.vectors, sets.further, similarity, doubtful)
    plan = PartnersPlan(embeddings.root, *asked)
    tables = list(spread(plan, [entry.shard for entry in embeddings.manifest()]))
    names = ("image", "partner")
    columns = {
        name: np.concatenate([flat_column(table, name) for table in tables]) for name in names
    }
    return pair_recall(sampled_pairs(ids, pa.table(columns), sets), sets, len(ids), confidence)


def sampled_pairs(images: Ids, partners: pa.Table, sets: SetPairs) -> pa.Table:
    """Return (image, stands, partner, pairs) of the sampled ``images`` int64 (m,).

    partners: (image, partner), every pair of one that stands for a sampled image with one that
    stands for its set, itself too. ``pairs``: how many partners of the image that is.
    """
    stands, _ = sets.stand_ins(images)
    asked, partner = partners["image"].to_numpy(), partners["partner"].to_numpy()
    order = np.lexsort((partner, asked))
    asked, partner = asked[order], partner[order]
    first = np.searchsorted(asked, stands)
    counts = np.searchsorted(asked, stands, side="right") - first
    line = np.repeat(np.arange(len(images)), counts)
    rows = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    pairs = sets.stand_ins(partner[rows])[1] - (partner[rows] == stands[line])
    columns = (images[line], stands[line], partner[rows], pairs)
    table = pa.table(dict(zip(("image", "stands", "partner", "pairs"), columns, strict=True)))
    return table.filter(pa.array((pairs > 0) & sets.count_between(stands[line], partner[rows])))


def pair_recall(
    true: pa.Table, found: SetPairs, images: int, confidence: float, seed: int = 0
) -> PairRecall:
    """Compare ``true`` pairs of ``images`` sampled, from ``sampled_pairs``, with ``found``.

    An image's pairs stand and fall together, so the bound counts one pair an image: an image with
    n partners is taken with chance n / max n, and one of its pairs drawn. Each pair of the
    collection is then as likely as any other, and the draws are independent.
    """
    names = ("image", "stands", "partner", "pairs")
    image, stands, partner, pairs = (true[name].to_numpy() for name in names)
    hits = _contains(found, np.minimum(stands, partner), np.maximum(stands, partner))
    order = np.lexsort((partner, image))
    image, hits, pairs = image[order], hits[order], pairs[order]
    _, first = np.unique(image, return_index=True)
    counts = np.add.reduceat(pairs, first) if len(first) else pairs
    rng = np.random.default_rng(seed)
    taken = rng.random(len(counts)) < counts / max(1, counts.max(initial=1))
    drawn = np.cumsum(counts) - counts + (rng.random(len(counts)) * counts).astype(np.int64)
    row = np.searchsorted(np.cumsum(pairs), drawn[taken], side="right")
    sizes = (images, int(pairs.sum()), int(pairs[hits].sum()), len(row), int(hits[row].sum()))
    return PairRecall(*sizes, confidence)


def _contains(found: SetPairs, a: Ids, b: Ids) -> Mask:
    one, other = found.first[found.one], found.first[found.other]
    known = ends_of(one, other)
    return np.isin(ends_of(a, b), known)
