import numpy as np
import pyarrow as pa

from pipeline.pair_recall import pair_recall


def test_all_found_and_none_found():
    true = pa.table({"image": [5, 5, 1], "partner": [1, 9, 5]})
    whole = pair_recall(true, pa.table({"a": [1, 5], "b": [5, 9]}), 10, 0.95)
    assert (whole.true, whole.found, whole.recall) == (3, 3, 1)
    nothing = pair_recall(true, pa.table({"a": [1], "b": [9]}), 10, 0.95)
    assert (nothing.found, nothing.low) == (0, 0)


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
        seen = pair_recall(
            pa.table({"image": image, "partner": partner}), pa.table({"a": a, "b": b}), 300, 0.95
        )
        below += seen.low <= (1 + 9 * 0.8) / 10
    assert below >= 200 * 0.92
