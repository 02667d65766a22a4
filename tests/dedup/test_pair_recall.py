import numpy as np
import pyarrow as pa

from pipeline.dedup.identical_sets import PAIRS, set_pairs
from pipeline.dedup.pair_recall import pair_recall, sampled_pairs


def found_pairs(*rows):
    """SetPairs of (a, b) or of (a, b, True), where b is identical to a."""
    columns = zip(*((a, b, 1.0, bool(same)) for a, b, *same in rows), strict=True)
    return set_pairs(pa.table(dict(zip(PAIRS.names, columns, strict=True)), schema=PAIRS))


def singly(image, partner):
    return pa.table(
        {"image": image, "stands": image, "partner": partner, "pairs": np.ones(len(image), int)}
    )


def test_all_found_and_none_found():
    true = singly([5, 5, 1], [1, 9, 5])
    whole = pair_recall(true, found_pairs((1, 5), (5, 9)), 10, 0.95)
    assert (whole.true, whole.found, whole.recall) == (3, 3, 1)
    nothing = pair_recall(true, found_pairs((1, 9)), 10, 0.95)
    assert (nothing.found, nothing.low) == (0, 0)


def test_identical_images_count_one_by_one():
    """2, 3 and 4 are identical, 7 and 8 too; 2 has the partner 1, found, and 7, missed."""
    found = found_pairs((1, 2), (2, 3, True), (2, 4, True), (7, 8, True))
    partners = pa.table({"image": [2, 2, 2, 7, 7], "partner": [1, 2, 7, 2, 7]})
    true = sampled_pairs(np.array([3, 4, 7, 9]), partners, found)
    assert true.to_pylist() == [
        {"image": image, "stands": stands, "partner": partner, "pairs": pairs}
        for image, stands, partner, pairs in [
            (3, 2, 1, 1),
            (3, 2, 2, 2),
            (3, 2, 7, 2),
            (4, 2, 1, 1),
            (4, 2, 2, 2),
            (4, 2, 7, 2),
            (7, 7, 2, 3),
            (7, 7, 7, 1),
        ]
    ]
    seen = pair_recall(true, found, 4, 0.95)
    assert (seen.true, seen.found) == (14, 7)


def test_the_bound_holds_though_pairs_of_one_image_fall_together():
    """Half the images have 1 pair, all found; half have 9, found or missed together."""
    below = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        image, partner, a, b = [], [], [], []
        for number in range(300):
            many = rng.random() < 0.5
            hit = not many or rng.random() < 0.8
            others = 10_000 + 10 * number + np.arange(9 if many else 1)
            image += [number] * len(others)
            partner += others.tolist()
            if hit:
                a += [number] * len(others)
                b += others.tolist()
        found = found_pairs(*zip(a, b, strict=True))
        seen = pair_recall(singly(image, partner), found, 300, 0.95)
        below += seen.low <= (1 + 9 * 0.8) / 10
    assert below >= 200 * 0.92
