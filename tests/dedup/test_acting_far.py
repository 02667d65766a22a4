"""Images to drop that are objects: moved, deleted and put back, at a real S3 server on loopback."""

from collections import Counter

import pyarrow as pa
import pytest

from pipeline.core.files import checksum, write_atomically
from pipeline.core.folder import place, remove_folder
from pipeline.core.objects import ObjectPath
from pipeline.dedup.acting import DONE, act, put_back, steps_of, tell
from tests.helpers.object_store import object_store, objects_below

FILES = 3
KEPT, TWIN, OTHER = b"kept", b"kept", b"a near copy"


@pytest.fixture(scope="module")
def server():
    with object_store() as server:
        yield server


@pytest.fixture
def photos(server):
    folder = place("s3://bucket/photos")
    yield folder
    remove_folder(place("s3://bucket/photos"))
    remove_folder(place("s3://bucket/moved"))


@pytest.fixture
def groups(photos):
    """Groups of three: the first kept, a twin of the same bytes, a near copy."""
    rows = []
    for number in range(FILES):
        for at, data in enumerate((KEPT, TWIN, OTHER)):
            path = photos / f"{number}" / f"{'abc'[at]} ü.jpg"
            data += bytes([number])
            write_atomically(path, data)
            told = {"group": 10 * number, "id": 10 * number + at, "survivor": at == 0}
            facts = {"path": str(path), "bytes": len(data), "checksum": checksum(data), "pages": 1}
            rows.append(told | {"key": str(path.relative_to(photos))} | facts)
    return pa.Table.from_pylist(rows)


def test_objects_are_moved_and_come_back(photos, groups):
    before, moved = objects_below(photos), place("s3://bucket/moved")
    steps = steps_of(groups, moved)
    assert tell(steps, "move").counts == {DONE: 2 * FILES}
    assert objects_below(photos) == before
    for _ in range(2):  # done again it is done
        assert act(steps, "move").counts == {DONE: 2 * FILES}
    assert list(objects_below(photos)) == [f"{n}/a ü.jpg" for n in range(FILES)]
    assert len(objects_below(moved)) == 2 * FILES
    for _ in range(2):
        assert put_back(steps, "move").counts == {DONE: 2 * FILES}
    assert objects_below(photos) == before
    assert objects_below(moved) == {}


def test_of_an_undo_that_was_killed_no_second_copy_stays(photos, groups):
    before, moved = objects_below(photos), place("s3://bucket/moved")
    steps = steps_of(groups, moved)
    act(steps, "move")
    write_atomically(photos / "0" / "b ü.jpg", before["0/b ü.jpg"])  # and killed here
    assert put_back(steps, "move").counts == {DONE: 2 * FILES}
    assert (objects_below(photos), objects_below(moved)) == (before, {})


def test_of_deleted_objects_those_with_a_twin_come_back(photos, groups):
    before, steps = objects_below(photos), steps_of(groups, None)
    assert act(steps, "delete").counts == {DONE: 2 * FILES}
    told = put_back(steps, "delete").counts
    assert told == {DONE: FILES, "deleted: its bytes were no other file's": FILES}
    assert objects_below(photos) == {n: d for n, d in before.items() if "/c" not in n}


def test_an_object_that_has_changed_is_left_alone(photos, groups):
    steps = steps_of(groups, place("s3://bucket/moved"))
    changed = photos / "0" / "b ü.jpg"
    changed.put(b"changed", changed.read_tagged()[1])
    (photos / "1" / "a ü.jpg").unlink()
    write_atomically(place("s3://bucket/moved/2/c ü.jpg"), b"another")
    assert act(steps, "move").counts == Counter(
        {
            DONE: 2,
            "changed since it was compared": 1,
            "the image to keep is gone": 2,
            "another file is where it would go": 1,
        }
    )
    assert changed.read_bytes() == b"changed"


def test_there_are_no_links_to_objects(photos, groups):
    told = act(steps_of(groups, None), "sym")
    assert told.left() == [("an object, to which there are no links", 2 * FILES)]


@pytest.mark.parametrize("at", range(6))
def test_killed_anywhere_and_done_again_every_byte_is_there(photos, groups, at, monkeypatch):
    before, moved = objects_below(photos), place("s3://bucket/moved")
    steps, calls = steps_of(groups, moved), iter(range(10**6))
    put, unlink = ObjectPath.put, ObjectPath.unlink

    class Killed(BaseException):
        pass

    def killing(call):
        def killed(*args):
            if next(calls) == at:
                raise Killed
            return call(*args)

        return killed

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.dedup.acting.AT_ONCE", 1)
        patch.setattr(ObjectPath, "put", killing(put))
        patch.setattr(ObjectPath, "unlink", killing(unlink))
        with pytest.raises(Killed):
            act(steps, "move")
    there = {*objects_below(photos).values(), *objects_below(moved).values()}
    assert there == set(before.values())
    assert act(steps, "move").counts == {DONE: 2 * FILES}
    assert put_back(steps, "move").counts == {DONE: 2 * FILES}
    assert objects_below(photos) == before
