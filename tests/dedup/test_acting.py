import errno
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.files import checksum
from pipeline.core.store import Store
from pipeline.dedup.acting import DONE, act, put_back, steps_of, tell
from pipeline.dedup.applied import applied, begin, mark_undone

KEPT, TWIN, OTHER = b"kept", b"kept", b"a near copy"
CALLS = ("rename", "link", "symlink", "replace", "unlink")


class Killed(BaseException):
    pass


def made(root, files):
    """Groups of three: the first kept, a twin of the same bytes, a near copy."""
    rows = []
    for number in range(files):
        for place, data in enumerate((KEPT, TWIN, OTHER)):
            path = root / "photos" / f"{number}" / f"{'abc'[place]} ü.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data + bytes([number]))
            os.utime(path, ns=(10**18 + number, 10**18 + number))
            path.chmod(0o640)
            rows.append(
                {
                    "group": 10 * number,
                    "id": 10 * number + place,
                    "survivor": place == 0,
                    "key": str(path.relative_to(root / "photos")),
                    "path": str(path),
                    "bytes": len(path.read_bytes()),
                    "checksum": checksum(path.read_bytes()),
                }
            )
    return pa.Table.from_pylist(rows)


def tree(root):
    facts = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() or path.is_symlink():
            told = path.lstat()
            link = os.readlink(path) if path.is_symlink() else None
            facts[str(path)] = (
                path.exists() and path.read_bytes(),
                told.st_mtime_ns,
                told.st_mode,
                link,
            )
    return facts


@pytest.mark.parametrize("action", ["move", "hard", "sym", "delete"])
def test_what_is_done_is_done_to_what_the_list_names_and_comes_back(tmp_path, action):
    folder = tmp_path / "moved" if action == "move" else None
    steps = steps_of(made(tmp_path, 3), folder)
    before = tree(tmp_path / "photos")
    would = tell(steps, action)
    assert tree(tmp_path / "photos") == before
    done = act(steps, action)
    assert done.counts == would.counts
    assert done.done == (3 if action in ("hard", "sym") else 6)
    left = tree(tmp_path / "photos")
    assert all(left[path] == facts for path, facts in before.items() if path.endswith("a ü.jpg"))
    links = [path for path, facts in left.items() if facts[3]]
    assert len(links) == (3 if action == "sym" else 0)
    assert len(tree(tmp_path / "moved")) == (6 if action == "move" else 0)
    assert act(steps, action).done == done.done
    back = put_back(steps, action)
    lost = {path for path in before if path.endswith("c ü.jpg")} if action == "delete" else set()
    assert tree(tmp_path / "photos") == {p: f for p, f in before.items() if p not in lost}
    assert back.left() == ([("deleted: its bytes were no other file's", 3)] if lost else [])


@pytest.mark.parametrize("seed", range(100))
def test_killed_anywhere_every_byte_is_reachable_and_undo_gives_the_same_tree(
    tmp_path, monkeypatch, seed
):
    rng = np.random.default_rng(seed)
    action = ("move", "hard", "sym", "delete")[seed % 4]
    across = bool(rng.integers(2))
    folder = tmp_path / "moved" if action == "move" else None
    groups = made(tmp_path, 3)
    steps, before = steps_of(groups, folder), tree(tmp_path / "photos")
    store = Store.create(tmp_path / "store", "pairs", {})
    left = int(rng.integers(1, 8))

    def dying(name, real):
        def call(*args, **kwargs):
            nonlocal left
            if name == "rename" and across:
                raise OSError(errno.EXDEV, "another filesystem")
            left -= 1
            if left == 0 and rng.integers(2):
                raise Killed
            answer = real(*args, **kwargs)
            if left == 0:
                raise Killed
            return answer

        return call

    begun = begin(store, steps, action)
    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, dying(name, getattr(os, name)))
        with suppress(Killed):
            act(begun, action)
    there = {data for data, *_ in tree(tmp_path).values()}
    lost = {data for data, *_ in before.values()} - there
    assert not lost if action != "delete" else {data[:-1] for data in lost} <= {OTHER}
    if rng.integers(2):  # the same command again
        again = begin(store, steps_of(groups, folder), action)
        assert again.equals(steps)
        assert act(again, action).done == (6 if action in ("move", "delete") else 3)
    for one in applied(store):
        put_back(one.steps, one.action)
        mark_undone(store, one.name)
    assert applied(store) == []
    now = tree(tmp_path / "photos")
    assert tree(tmp_path / "moved") == {}
    missing = {path for path in before if path not in now}
    assert now == {path: facts for path, facts in before.items() if path not in missing}
    assert (
        not missing if action != "delete" else {path[-7:] for path in missing} <= {"c \u00fc.jpg"}
    )


def test_a_link_that_cannot_be_made_or_would_share_rights_leaves_the_file(tmp_path, monkeypatch):
    steps = steps_of(made(tmp_path, 2), None)
    before = tree(tmp_path)
    private = tmp_path / "photos" / "0" / "b ü.jpg"
    private.chmod(0o600)
    assert "links share them" in act(steps.slice(0, 1), "hard").left()[0][0]

    def refused(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    assert act(steps.slice(2, 1), "hard").left() == [("Invalid cross-device link", 1)]
    private.chmod(0o640)
    assert tree(tmp_path) == before


def test_one_file_under_two_names_of_a_mount_is_not_deleted(tmp_path, monkeypatch):
    steps = steps_of(made(tmp_path, 1), None).slice(0, 1)
    before = tree(tmp_path)
    beside, kept = str(tmp_path / "photos" / "0" / ".b ü.jpg.sluice"), steps["kept"][0].as_py()
    real = Path.exists
    monkeypatch.setattr(
        Path,
        "exists",
        lambda path: real(path) and not (str(path) == kept and os.path.lexists(beside)),
    )
    told = act(steps, "delete").left()
    assert told == [("the same file as the image to keep, under another name", 1)]
    monkeypatch.undo()
    assert tree(tmp_path) == before


def test_what_changed_or_is_not_what_it_was_is_left_alone(tmp_path):
    groups = made(tmp_path, 7)
    paths = groups["path"].to_pylist()
    os.remove(paths[1])  # gone
    os.remove(paths[4])
    os.symlink(paths[3], paths[4])  # a link to the image kept
    os.remove(paths[7])
    os.symlink(paths[8], paths[7])  # a link to another
    Path(paths[10]).write_bytes(b"edited since")
    os.remove(paths[13])
    os.link(paths[12], paths[13])  # the image kept itself
    Path(paths[15]).write_bytes(b"the image kept was edited")
    os.remove(paths[18])  # the image kept is gone
    before = tree(tmp_path)
    steps = steps_of(groups, None)
    told = Counter(dict(tell(steps, "delete").left()))
    assert told == {
        "gone already": 1,
        "a link, not a file": 2,
        "changed since it was compared": 1,
        "the same file as the image to keep, under another name": 1,
        "the image to keep has changed since it was compared": 2,
        "the image to keep is gone": 2,
    }
    assert act(steps, "delete").counts[DONE] == 14 - 9
    after = tree(tmp_path)
    assert {path for path in before if path not in after} == {
        paths[2],
        paths[5],
        paths[8],
        paths[11],
        paths[14],
    }
    assert put_back(steps, "delete").done == 2  # those that are still there


def test_nothing_is_overwritten_where_images_are_moved_to(tmp_path):
    steps = steps_of(made(tmp_path, 1), tmp_path / "moved")
    taken = tmp_path / "moved" / "0" / "b ü.jpg"
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"mine")
    done = act(steps, "move")
    assert (done.done, done.left()) == (1, [("another file is where it would go", 1)])
    assert taken.read_bytes() == b"mine"


def test_whole_paths_stay_below_the_folder(tmp_path):
    groups = made(tmp_path, 1)
    keys = pa.array(["a", "/other/folder/b.jpg", "../../c.jpg"])
    groups = groups.set_column(groups.column_names.index("key"), "key", keys)
    moved = steps_of(groups, tmp_path)["moved"].to_pylist()
    assert moved == [f"{tmp_path}/other/folder/b.jpg", f"{tmp_path}/c.jpg"]
