"""What a store keeps beside its shards: files under names of their own, each with its record."""

from contextlib import suppress
from dataclasses import dataclass

from pipeline.core.errors import StoreError
from pipeline.core.files import checksum, opened, read_recorded, sealed, write_atomically
from pipeline.core.folder import Place, moved
from pipeline.core.makers import made_by
from pipeline.core.side_by_side import side_by_side

PENDING = ".pending"


@dataclass(frozen=True)
class Attachments:
    """The files kept in ``folder``, of a store of ``kind``.

    A file's record is what makes it count: a crash before the record is written leaves what was
    there, one after it leaves the new file under its pending name.
    """

    folder: Place
    kind: str

    def keep(self, name: str, data: bytes) -> None:
        """Keep ``data`` under ``name``, which may hold folders ("a/b"); replaces what is there."""
        path = self.folder / name
        first = False
        with suppress(StoreError):
            there = self.read(name)
            if there == data:
                return
            first = there is None
        write_atomically(path if first else _pending(path), data)
        record = {"bytes": len(data), "checksum": checksum(data)}
        write_atomically(_record(path), sealed(record))
        if not first:
            moved(_pending(path), path)

    def read(self, name: str, remedy: str | None = None) -> bytes | None:
        """Return what is kept under ``name``, None where nothing is.

        A file without its record is what a crash left behind, and counts as nothing. Raises
        StoreError, ending with ``remedy`` (none: how to make it again), where it is damaged.
        """
        path, remedy = self.folder / name, remedy or self._remedy()
        try:
            recorded = _recorded_checksum(_record(path), remedy)
        except FileNotFoundError:
            return None
        for place in (path, _pending(path)):
            with suppress(OSError):
                data = place.read_bytes()
                if checksum(data) == recorded:
                    return data
        return read_recorded(path, recorded, remedy)

    def has(self, name: str) -> bool:
        """Return whether anything is kept under ``name``, damaged or not."""
        return _record(self.folder / name).exists()

    def path(self, name: str) -> Place:
        """Return where the file kept under ``name`` lies, for those who read a part of it.

        Its bytes are not checked. Raises StoreError where it is missing or has another size.
        """
        path = self.folder / name
        try:
            whole = path.stat().st_size == opened(_record(path))["bytes"]
        except (OSError, ValueError, KeyError) as error:
            raise StoreError(f"{path} cannot be read ({error}); {self._remedy()}") from error
        if not whole:
            raise StoreError(f"{path} does not have its size; {self._remedy()}")
        return path

    def names(self, pattern: str = "**/*") -> list[str]:
        """Return the names of what is kept, in order; ``pattern`` is a glob over them."""
        start = len(str(self.folder)) + 1
        records = sorted(str(record)[start:] for record in self.folder.glob(f"{pattern}.json"))
        return [name.removesuffix(".json") for name in records]

    def damaged(self) -> dict[str, str]:
        """Return a line for each file whose bytes are not those recorded for it, by its name."""
        names = self.names()
        found = zip(names, side_by_side(self.folder, self._problem, names), strict=True)
        return {name: line for name, line in found if line}

    def was(self, name: str, data: bytes) -> bool:
        """Return whether ``data`` is what was kept under ``name``, which is damaged.

        Its record tells, or where that is damaged or gone, what lies there.
        """
        path = self.folder / name
        try:
            return checksum(data) == _recorded_checksum(_record(path), "")
        except (StoreError, FileNotFoundError):
            return path.exists() and path.read_bytes() == data

    def _problem(self, name: str) -> str:
        try:
            self.read(name)
        except StoreError as error:
            return str(error)
        return ""

    def remove(self, name: str) -> None:
        """Remove the file kept under ``name``, first what makes it count."""
        for path in (_record(self.folder / name), self.folder / name):
            path.unlink(missing_ok=True)

    def settle(self) -> None:
        """Give pending files that count their names; remove the others."""
        for pending in self.folder.rglob(f".*{PENDING}"):
            path = pending.with_name(pending.name[1:].removesuffix(PENDING))
            record = _record(path)
            counts = record.exists() and _recorded_checksum(record, self._remedy())
            if counts == checksum(pending.read_bytes()):
                moved(pending, path)
            else:
                pending.unlink()

    def _remedy(self) -> str:
        return f"delete it and its .json, then run {made_by(self.kind)} again"


def _record(attached: Place) -> Place:
    return attached.with_name(f"{attached.name}.json")


def _pending(attached: Place) -> Place:
    return attached.with_name(f".{attached.name}{PENDING}")


def _recorded_checksum(record: Place, remedy: str) -> str:
    try:
        return str(opened(record)["checksum"])
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"{record} cannot be read ({error}); {remedy}") from error
