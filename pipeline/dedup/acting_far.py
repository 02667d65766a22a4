"""Moving or deleting objects to drop, and putting them back: copied, verified, and then deleted."""

from typing import Any

from pipeline.core.errors import StoreError
from pipeline.core.files import checksum
from pipeline.core.folder import place
from pipeline.core.objects import ObjectPath

DONE = "done"
Row = dict[str, Any]


def is_far(path: str) -> bool:
    """Return whether ``path`` is an object's URL. Raises InputError as ``place`` does."""
    return isinstance(place(path), ObjectPath)


def before_far(path: str, kept: str) -> tuple[int | None, ...]:
    """Return when an object was modified, and no rights; None where it is gone, or the one kept."""
    try:
        found = place(path).stat()
    except FileNotFoundError:
        return (None,) * 4
    return (None,) * 4 if path == kept else (int(found.st_mtime * 1e9), 0, 0, 0)


def refusal_far(row: Row, action: str) -> str | None:
    """Return why an object must not be touched, None where it may be."""
    if action in ("hard", "sym"):
        return "an object, to which there are no links"
    found, kept = _sum(row["path"]), _sum(row["kept"])
    if found is None:
        return "gone already"
    if row["path"] == row["kept"]:
        return "the same object as the image to keep"
    if kept is None:
        return "the image to keep is gone"
    if found != row["checksum"]:
        return "changed since it was compared"
    if kept != row["kept_checksum"]:
        return "the image to keep has changed since it was compared"
    if action == "move" and _sum(row["moved"]) not in (None, row["checksum"]):
        return "another file is where it would go"
    return None


def done_far(row: Row, action: str) -> str:
    """Do ``action`` with an object that is as it was."""
    path = _object(row["path"])
    gone = row["modified"] is not None and not path.exists()
    if gone and (action == "delete" or _sum(row["moved"]) == row["checksum"]):
        return DONE
    reason = refusal_far(row, action)
    if reason:
        return reason
    if action == "move":
        _copy(path, _object(row["moved"]), row["checksum"])
    path.unlink()
    return DONE


def undone_far(row: Row, action: str) -> str:
    """Put an object back where it was; of one deleted the bytes of the image kept, if the same."""
    if row["modified"] is None:
        return "not acted on"
    there = _sum(row["path"])
    if there is None:
        told = _copied_back(row, action)
        if told != DONE:
            return told
    elif there != row["checksum"]:
        return "another file is in its place"
    # Where a run was killed between the copy and its end there are two.
    if action == "move" and (there is None or _sum(row["moved"]) == row["checksum"]):
        _object(row["moved"]).unlink()
    return DONE


def _copied_back(row: Row, action: str) -> str:
    if action == "delete" and row["checksum"] != row["kept_checksum"]:
        return "deleted: its bytes were no other file's"
    source = _object(row["moved"] if action == "move" else row["kept"])
    if _sum(str(source)) != row["checksum"]:
        return "not where its bytes were, or changed there"
    _copy(source, _object(row["path"]), row["checksum"])
    return DONE


def _copy(path: ObjectPath, to: ObjectPath, told: str) -> None:
    data = path.read_bytes()
    if not to.put(data) and to.read_bytes() != data:
        raise StoreError(f"another job has written {to} meanwhile")
    if checksum(data) != told or _sum(str(to)) != told:
        raise StoreError(f"{to} is not what was put there; see that its server is well")


def _object(path: str) -> ObjectPath:
    found = place(path)
    assert isinstance(found, ObjectPath)
    return found


def _sum(path: str) -> str | None:
    try:
        return checksum(place(path).read_bytes())
    except FileNotFoundError:
        return None
