"""Moving, linking or deleting the images to drop, and putting them back.

What is to be done is written down whole before the first file is touched. Whether a file's turn has
come is read off the files themselves, so that a run that was killed is simply done again, and a
file counts as undone once it is back. Right before a file is touched, its bytes and those of the
image kept must be the ones that were compared.
"""

import errno
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from pipeline.core.errors import StoreError
from pipeline.core.files import checksum, write_atomically
from pipeline.core.folder import Place
from pipeline.core.objects import AT_ONCE
from pipeline.core.progress import advance
from pipeline.dedup.acting_far import (
    DONE,
    Row,
    before_far,
    done_far,
    is_far,
    refusal_far,
    undone_far,
)
from pipeline.dedup.groups import kept_of, to_drop

Action = Literal["move", "hard", "sym", "delete"]

STEPS = pa.schema(
    [
        ("path", pa.string()),
        ("checksum", pa.string()),
        ("bytes", pa.int64()),
        ("kept", pa.string()),  # the path of the image that stays
        ("kept_checksum", pa.string()),
        ("moved", pa.string()),  # where it goes; null: it is not moved
        ("modified", pa.int64()),  # ns since the epoch, before; null: nothing to act on
        ("mode", pa.int64()),  # its rights, before
        ("owner", pa.int64()),
        ("owner_group", pa.int64()),
    ]
)


def steps_of(groups: pa.Table, folder: Place | None) -> pa.Table:
    """Return STEPS of the images ``to_drop`` of ``groups``, to be moved below ``folder``.

    groups: those of a finished deduplication, with the files of their images.
    """
    drop = to_drop(groups)
    kept = kept_of(drop, groups)
    moved = [None if folder is None else _below(folder, key) for key in drop["key"].to_pylist()]
    pairs = zip(drop["path"].to_pylist(), kept["path"].to_pylist(), strict=True)
    before = [_before(*pair) for pair in pairs]
    columns = (
        *(drop[name] for name in ("path", "checksum", "bytes")),
        *(kept[name] for name in ("path", "checksum")),
        pa.array(moved, pa.string()),
        *(pa.array([facts[n] for facts in before], pa.int64()) for n in range(4)),
    )
    return pa.table(dict(zip(STEPS.names, columns, strict=True))).cast(STEPS)


def _below(folder: Place, key: str) -> str:
    # A key may be a whole path, of an image in another folder than the first.
    parts = [part for part in Path(key).parts if part not in ("/", "..")]
    return str(folder / "/".join(parts))


def _before(path: str, kept: str) -> tuple[int | None, ...]:
    """Return the last four of STEPS of a file; None where it is gone, or is the one kept."""
    if is_far(path):
        return before_far(path, kept)
    try:
        facts = os.lstat(path)
        if os.path.samefile(path, kept):
            return (None,) * 4
    except OSError:
        return (None,) * 4
    return facts.st_mtime_ns, *_rights(facts)


def _rights(facts: os.stat_result) -> tuple[int, int, int]:
    return facts.st_mode & 0o7777, facts.st_uid, facts.st_gid


@dataclass(frozen=True)
class Outcome:
    """What became of the files: counted by DONE, or by why one was left alone."""

    counts: Counter[str]
    bytes: int  # of those done

    @property
    def done(self) -> int:
        return self.counts[DONE]

    def left(self) -> list[tuple[str, int]]:
        """Return how many were left alone, by reason."""
        return sorted((reason, n) for reason, n in self.counts.items() if reason != DONE)


def tell(steps: pa.Table, action: Action) -> Outcome:
    """Return what ``act`` would do; every file is read, none is touched."""
    return _each(steps, lambda row: _refusal(row, action) or DONE)


def act(steps: pa.Table, action: Action) -> Outcome:
    """Do ``action`` with each of ``steps`` that is as it was; those done before count as done."""
    return _each(steps, lambda row: _done(row, action))


def put_back(steps: pa.Table, action: Action) -> Outcome:
    """Undo what ``act`` did; files that are back, or were never touched, count as done."""
    return _each(steps, lambda row: _undone(row, action))


def _each(steps: pa.Table, one: Callable[[Row], str]) -> Outcome:
    def of_one(row: Row) -> tuple[Row, str]:
        try:
            return row, one(row)
        except (OSError, StoreError) as error:  # of one file, which never stops the others
            return row, getattr(error, "strerror", None) or str(error)

    counts, size = Counter[str](), 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        far = steps.num_rows > 0 and is_far(steps["path"][0].as_py())
        for row, told in (pool.map if far else map)(of_one, _rows(steps)):
            counts[told] += 1
            size += row["bytes"] or 0 if told == DONE else 0
            advance(1)
    return Outcome(counts, size)


def _rows(steps: pa.Table) -> Iterator[Row]:
    for batch in steps.to_batches(max_chunksize=1024):
        yield from batch.to_pylist()


def _refusal(row: Row, action: Action) -> str | None:
    """Return why a file must not be touched, None where it may be."""
    if is_far(row["path"]):
        return refusal_far(row, action)
    path, kept = Path(row["path"]), Path(row["kept"])
    if not os.path.lexists(path):
        return "gone already"
    if path.is_symlink():
        return "a link, not a file"
    if not kept.exists():
        return "the image to keep is gone"
    if os.path.samefile(path, kept):
        return "the same file as the image to keep, under another name"
    if action in ("hard", "sym") and row["checksum"] != row["kept_checksum"]:
        return "not the same bytes as the image to keep: a link would lose them"
    if action == "hard" and _rights(path.stat()) != _rights(kept.stat()):
        return "other rights or another owner than the image to keep: links share them"
    if _sum(path) != row["checksum"]:
        return "changed since it was compared"
    if _sum(kept) != row["kept_checksum"]:
        return "the image to keep has changed since it was compared"
    if action == "move" and os.path.lexists(row["moved"]) and not _there(row):
        return "another file is where it would go"
    return None


def _sum(path: Path) -> str | None:
    try:
        return checksum(path.read_bytes())
    except OSError:
        return None


def _there(row: Row) -> bool:
    """Return whether the file lies where it is moved to."""
    moved = Path(row["moved"])
    return moved.is_file() and _sum(moved) == row["checksum"]


def _done(row: Row, action: Action) -> str:
    if is_far(row["path"]):
        return done_far(row, action)
    path, kept = Path(row["path"]), Path(row["kept"])
    _taken_back(path)
    if _is_done(row, action):
        return DONE
    reason = _refusal(row, action)
    if reason:
        return reason
    if action == "delete":
        return _deleted(path, kept)
    if action == "move":
        _move(path, Path(row["moved"]))
    else:
        _link(path, kept, action)
    return DONE


def _is_done(row: Row, action: Action) -> bool:
    path, kept = Path(row["path"]), Path(row["kept"])
    if row["modified"] is None:  # it was gone before
        return False
    if action == "move":
        return not os.path.lexists(path) and _there(row)
    if action == "delete":
        return not os.path.lexists(path)
    same = kept.exists() and path.exists() and os.path.samefile(path, kept)
    return same and path.is_symlink() == (action == "sym")


def _move(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(to):  # a run was killed between the copy and here
        path.unlink()
        return
    try:
        os.rename(path, to)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(path, to)
        path.unlink()


def _copy(path: Path, to: Path) -> None:
    """Copy to another filesystem: whole or not at all, with the times and rights."""
    write_atomically(to, path.read_bytes())
    shutil.copystat(path, to)


def _deleted(path: Path, kept: Path) -> str:
    """Put the file out of the way first: some mounts show one file under two names."""
    os.rename(path, _beside(path))
    if not kept.exists():
        os.rename(_beside(path), path)
        return "the same file as the image to keep, under another name"
    _beside(path).unlink()
    return DONE


def _taken_back(path: Path) -> None:
    """Undo what a run that was killed has left of ``_deleted`` or ``_link``."""
    if os.path.lexists(path):
        _beside(path).unlink(missing_ok=True)
    elif os.path.lexists(_beside(path)):
        os.rename(_beside(path), path)


def _link(path: Path, kept: Path, action: Action) -> None:
    beside = _beside(path)
    if action == "hard":
        os.link(kept, beside)
    else:
        os.symlink(kept.resolve(), beside)
    os.replace(beside, path)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.sluice")


def _undone(row: Row, action: Action) -> str:
    if is_far(row["path"]):
        return undone_far(row, action)
    if row["modified"] is None:
        return "not acted on"
    _taken_back(Path(row["path"]))
    return _moved_back(row) if action == "move" else _copied_back(row)


def _moved_back(row: Row) -> str:
    path = Path(row["path"])
    if os.path.lexists(path):
        if _sum(path) != row["checksum"]:
            return "another file is in its place"
        if _there(row) and not os.path.samefile(path, row["moved"]):
            Path(row["moved"]).unlink()  # a run was killed between a copy and here
        return DONE
    if not _there(row):
        return "not where it was moved to, or changed there"
    _move(Path(row["moved"]), path)
    _as_before(path, row)
    return DONE


def _copied_back(row: Row) -> str:
    """A link, or nothing, is replaced by the bytes of the image kept where they are the same."""
    path, kept = Path(row["path"]), Path(row["kept"])
    linked = path.exists() and kept.exists() and os.path.samefile(path, kept)
    if os.path.lexists(path) and not linked:
        return DONE if _sum(path) == row["checksum"] else "another file is in its place"
    if row["checksum"] != row["kept_checksum"]:
        return "deleted: its bytes were no other file's"
    data = kept.read_bytes()
    if checksum(data) != row["checksum"]:
        return "the image kept has changed since"
    beside = _beside(path)
    write_atomically(beside, data)
    _as_before(beside, row)
    os.replace(beside, path)
    return DONE


def _as_before(path: Path, row: Row) -> None:
    if _rights(path.stat())[1:] != (row["owner"], row["owner_group"]):
        with suppress(PermissionError):  # only root may give files away
            os.chown(path, row["owner"], row["owner_group"])
    os.chmod(path, row["mode"])
    os.utime(path, ns=(row["modified"], row["modified"]))
