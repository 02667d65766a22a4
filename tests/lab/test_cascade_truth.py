import numpy as np
import pyarrow as pa

from pipeline.cascade.sampler import changed_copy
from pipeline.core.tables import ipc_bytes, ipc_table
from pipeline.images.decode import decode_rgb
from pipeline.lab.cascade_truth import true_pairs

IDS = np.array([10, 11, 12, 13, 14])
GROUP = np.array([0, 0, 1, 1, 2])
ANGLES = np.radians([0, 50, 10, 20, 5])
VECTORS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)


def pairs(neighbours, k):
    asked, wanted = true_pairs(IDS, VECTORS, GROUP, np.array([0, 2]), neighbours, k)
    return list(zip(asked.tolist(), wanted.tolist(), strict=True))


def test_semantic_neighbours_are_the_nearest_of_other_groups():
    assert pairs("semantic", 2) == [(10, 14), (10, 12), (12, 14), (12, 10)]


def test_copies_are_those_that_brute_force_finds_among_k():
    assert pairs("copies", 3) == [(12, 13)]
    assert pairs("copies", 4) == [(10, 11), (12, 13)]


def test_a_changed_copy_depends_on_its_number_alone(jpegs):
    first, again, other = (changed_copy(jpegs[0], number) for number in (7, 7, 8))
    assert first == again
    assert first[0] != other[0]
    assert min(decode_rgb(first[0], 64).pixels.shape[:2]) > 32
    kinds = {changed_copy(jpegs[0], number)[1] for number in range(200)}
    assert len(kinds) > 40
    assert all(len(set(kind.split("+"))) == 2 for kind in kinds)


def test_tables_travel_as_bytes():
    table = pa.table({"id": [1, 2], "x": ["a", None]})
    assert ipc_table(ipc_bytes(table)).equals(table)
