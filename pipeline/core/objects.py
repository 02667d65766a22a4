"""Places on object stores, with the part of ``pathlib.Path`` that outputs stand on.

All of it is obstore's, which puts under a condition and reads by ranges. Credentials come from the
environment, or from where botocore finds them if it is installed: no place and no message has them.
"""

import io
import json
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, takewhile
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from pipeline.core.errors import StoreError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")
URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://?([^/]*)/?(.*)", re.DOTALL)
RIGHTS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    "memory": "",  # of one process
}
# What an error tells where there are none: the paths of clouds' own machines, an account.
WANTING = (
    *("/latest/api/token", "/latest/meta-data", "computeMetadata", "/metadata/identity"),
    "Account must be specified",
)
CONFLICT = "ConditionalRequestConflict"  # S3's word for another request at that moment
TAIL = 2**16  # bytes fetched of a file's end with its size: most footers are in them
CHUNK = 2**23  # bytes
PAGE = 1000  # objects of a listing that a server tells at once
PAGES = 8  # of them in a row, before a list is asked for in parts
STEP = 900  # numbers of a part, which is then one page
AT_ONCE = 32  # requests, where an answer is waited for each time
TRIES = 4
PATIENCE = {"max_retries": 8, "retry_timeout": timedelta(seconds=30)}  # of a try
TIMEOUTS = {"connect_timeout": "10s", "read_timeout": "30s", "timeout": "15m"}
CREDENTIALS_LAST = timedelta(minutes=30)


class Facts(NamedTuple):
    """What a store tells of an object."""

    st_size: int
    st_mtime: float  # seconds since the epoch
    tag: str  # another one: other bytes


@dataclass(frozen=True, order=True)
class ObjectPath:
    """``key`` in the bucket ``root`` ("s3://bucket"): an object, or what lies below it."""

    root: str
    key: str

    def __str__(self) -> str:
        return f"{self.root}/{self.key}".rstrip("/")

    def __truediv__(self, name: str | PurePosixPath) -> "ObjectPath":
        return ObjectPath(self.root, str(PurePosixPath(self.key) / name))

    @property
    def name(self) -> str:
        """Return the last part of the key."""
        return PurePosixPath(self.key).name

    @property
    def suffix(self) -> str:
        """Return the name's suffix with its dot, empty where there is none."""
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> "ObjectPath":
        """Return the place that holds this one."""
        return ObjectPath(self.root, key_of(PurePosixPath(self.key).parent))

    def with_name(self, name: str) -> "ObjectPath":
        """Return the place of ``name`` beside this one."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> "ObjectPath":
        """Return this place with another suffix."""
        return ObjectPath(self.root, key_of(PurePosixPath(self.key).with_suffix(suffix)))

    def relative_to(self, other: "ObjectPath") -> PurePosixPath:
        """Return the key below ``other``. Raises ValueError where it is not below it."""
        return PurePosixPath(self.key).relative_to(PurePosixPath(other.key))

    def resolve(self) -> "ObjectPath":
        """Return itself, for it is absolute."""
        return self

    def as_uri(self) -> str:
        """Return the URL."""
        return str(self)

    def exists(self) -> bool:
        """Return whether there is such an object. Raises StoreError where that cannot be told."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Return whether anything lies below it. Raises StoreError as ``exists`` does."""
        prefix = f"{self.key}/" if self.key else None
        return self._asked(lambda obs, store: any(obs.list(store, prefix, chunk_size=1)))

    def stat(self) -> Facts:
        """Return the object's size, time and tag. Raises FileNotFoundError, or StoreError."""
        return self._asked(lambda obs, store: _facts(obs.head(store, self.key)))

    def read_bytes(self) -> bytes:
        """Return the object's bytes. Raises FileNotFoundError, or StoreError."""
        return self.read_tagged()[0]

    def read_tagged(self) -> tuple[bytes, Any]:
        """Return the object's bytes and the version that ``put`` takes. Raises as ``stat`` does."""

        def read(obs: Any, store: "ObjectStore") -> tuple[bytes, Any]:
            got = obs.get(store, self.key)
            return bytes(got.bytes()), _version(got.meta)

        return self._asked(read)

    def open(self, mode: str = "rb") -> "Ranges":
        """Return the object as a file that reads by ranges. Raises as ``stat`` does."""

        def read(obs: Any, store: "ObjectStore") -> Ranges:
            if self.root.startswith("az:"):  # where no range is told from the end
                size = obs.head(store, self.key)["size"]
                span = {"start": max(0, size - TAIL), "end": size}
                return Ranges(self, size, bytes(obs.get_range(store, self.key, **span)))
            end = obs.get(store, self.key, options={"range": {"suffix": TAIL}})
            return Ranges(self, end.meta["size"], bytes(end.bytes()))

        return self._asked(read)

    def read_range(self, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start`` on. Raises as ``stat`` does."""
        return self._asked(
            lambda obs, store: bytes(obs.get_range(store, self.key, start=start, length=length))
        )

    def fetch(self, file: IO[bytes]) -> None:
        """Write the object's bytes to ``file``, which is empty. Raises as ``stat`` does."""

        def fetch(obs: Any, store: "ObjectStore") -> None:
            file.seek(0)
            for part in obs.get(store, self.key).stream(min_chunk_size=CHUNK):
                file.write(part)

        self._asked(fetch)

    def put(self, data: bytes, version: Any | None = None) -> bool:
        """Put ``data`` in one request where nothing is, or what is there has ``version`` still.

        Return whether it was put; otherwise something else is there, or ``data`` itself, where an
        answer was lost and it was put again. Raises StoreError.
        """
        return self.put_tagged(data, version) is not None

    def put_tagged(self, data: bytes, version: Any | None = None) -> Any | None:
        """Put ``data`` as ``put`` does; return its version, None where it was not put."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode = version or "create"
        try:
            return _version(
                self._asked(
                    lambda obs, store: obs.put(
                        store, self.key, data, mode=mode, use_multipart=False
                    )
                )
            )
        except FileNotFoundError as error:  # removed meanwhile, or the bucket itself is not there
            if version is None:
                raise StoreError(
                    f"{self} cannot be written: {self.root} is not there; make it, or name another"
                ) from error
            return None
        except (AlreadyExistsError, PreconditionError):
            return None

    def replace(self, target: "ObjectPath") -> None:
        """Give the object the place ``target``. Raises as ``stat`` does."""
        self._asked(lambda obs, store: obs.copy(store, self.key, target.key))
        self.unlink()

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object; one that is not there is none to remove. Raises StoreError."""
        remove_objects([self])

    def folders(self) -> "list[ObjectPath]":
        """Return what lies in it and holds objects itself, in order. Raises StoreError."""
        prefix = f"{self.key}/"
        listed = self._asked(lambda obs, store: obs.list_with_delimiter(store, prefix=prefix))
        return [ObjectPath(self.root, key.strip("/")) for key in sorted(listed["common_prefixes"])]

    def below(self) -> "list[tuple[ObjectPath, Facts]]":
        """Return all that lies below it, with its facts, in order. Raises StoreError."""
        found = ((ObjectPath(self.root, m["path"]), _facts(m)) for p in self._pages() for m in p)
        return sorted(found)

    def numbered(self) -> dict[str, Facts]:
        """Return what lies in it by name, where a name begins with a number of six digits or more.

        A page tells only where the next one begins, so that they are waited for one by one; those
        of a long list are asked for side by side, by numbers.
        """
        pages = self._pages(most=PAGES)
        if len(pages) < PAGES or not _begins_anywhere(self.root):
            return _by_name(pages if len(pages) < PAGES else self._pages())
        with ThreadPoolExecutor(AT_ONCE) as pool:
            parts = list(takewhile(bool, pool.map(self._from_number, range(0, 10**6, STEP))))
            pool.shutdown(cancel_futures=True)
        return _by_name(parts)

    def _from_number(self, number: int) -> list[Any]:
        """Return what has a number of STEP from ``number`` on; none where nothing comes after."""
        start = f"{self.key}/{number:06d}"
        stop = f"{self.key}/{number + STEP:06d}" if number + STEP < 10**6 else f"{self.key}/:"

        def ask(obs: Any, store: "ObjectStore") -> list[Any]:
            found: list[Any] = []
            for page in obs.list(store, f"{self.key}/", offset=start, chunk_size=PAGE):
                found += page
                if page[-1]["path"] >= stop:
                    break
            return found

        return self._asked(ask)

    def _pages(self, most: int | None = None) -> list[Any]:
        prefix = f"{self.key}/" if self.key else None
        return self._asked(
            lambda obs, store: list(islice(obs.list(store, prefix=prefix, chunk_size=PAGE), most))
        )

    def glob(self, pattern: str) -> "Iterator[ObjectPath]":
        """Yield what lies below it and has a name like ``pattern``, as Path.glob does of files."""
        from fsspec.utils import glob_translate

        like = re.compile(glob_translate(pattern))
        for path, _ in self.below():
            if like.match(str(path.relative_to(self))):
                yield path

    def rglob(self, pattern: str) -> "Iterator[ObjectPath]":
        """Yield what lies below it at any depth and has such a name."""
        return self.glob(f"**/{pattern}")

    def _asked(self, ask: Callable[[Any, "ObjectStore"], T]) -> T:
        """Return what ``ask`` gets by obstore from the bucket.

        What fails for a moment is tried again; else FileNotFoundError or StoreError tells of it.
        """
        import obstore
        from obstore import exceptions as theirs
        from tenacity import (
            Retrying,
            retry_if_exception,
            stop_after_attempt,
            wait_random_exponential,
        )

        try:
            # What breaks off within an answer, or after a put, its library leaves to others.
            again = Retrying(
                retry=retry_if_exception(
                    lambda error: (
                        (isinstance(error, theirs.GenericError) and not _wanting(error))
                        or CONFLICT in str(error)
                    )
                ),
                stop=stop_after_attempt(TRIES),
                wait=wait_random_exponential(0.3, max=5),
                reraise=True,
            )
            return again(ask, obstore, _bucket(self.root))
        except (theirs.NotFoundError, FileNotFoundError) as error:
            raise FileNotFoundError(2, "No such object", str(self)) from error
        except (theirs.AlreadyExistsError, theirs.PreconditionError):
            raise
        except (theirs.BaseError, OSError) as error:
            refused = isinstance(error, theirs.PermissionDeniedError | theirs.UnauthenticatedError)
            if refused or _wanting(error):
                raise StoreError(
                    f"{self} cannot be used: {_first_line(error)}; set credentials that have the "
                    f"right to read and write it ({_rights(self.root)}), here and on every node"
                ) from error
            raise StoreError(
                f"{self} cannot be used: {_first_line(error)}; see that its bucket is there and "
                "its server answers, then run the same command again"
            ) from error


class Ranges(io.RawIOBase):
    """An object of ``size`` bytes as a file; its ``end`` is here, the rest is read by ranges."""

    def __init__(self, path: ObjectPath, size: int, end: bytes) -> None:
        self.path, self.size, self.end, self.at = path, size, end, 0

    def __str__(self) -> str:
        return str(self.path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self.size - self.at)
        length = left if size is None or size < 0 else min(size, left)
        from_end = self.at - (self.size - len(self.end))
        if not length:
            return b""
        if from_end >= 0:
            data = self.end[from_end : from_end + length]
        else:
            data = self.path.read_range(self.at, length)
        self.at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def remove_objects(paths: list[ObjectPath]) -> None:
    """Remove objects of one bucket, many a request, where they are there. Raises StoreError."""
    if not paths:
        return
    try:
        _remove(paths)
    except FileNotFoundError:  # S3 alone does not tell of it
        for path in paths:
            with suppress(FileNotFoundError):
                _remove([path])


def _remove(paths: list[ObjectPath]) -> None:
    keys = [path.key for path in paths]
    paths[0]._asked(lambda obs, store: obs.delete(store, keys))


def key_of(path: PurePosixPath) -> str:
    return "" if str(path) == "." else str(path)


def _facts(meta: Any) -> Facts:
    modified: datetime = meta["last_modified"]
    return Facts(meta["size"], modified.timestamp(), meta["e_tag"] or meta["version"] or "")


def _begins_anywhere(root: str) -> bool:
    """Return whether the server begins a list where it is asked to, and tells it in order.

    Azure begins at the start, and S3's buckets in one zone know no order.
    """
    return root.startswith(("s3:", "gs:")) and not root.endswith("--x-s3")


def _by_name(pages: list[Any]) -> dict[str, Facts]:
    return {meta["path"].rpartition("/")[2]: _facts(meta) for page in pages for meta in page}


def _version(meta: Any) -> dict[str, str]:
    return {name: tag for name in ("e_tag", "version") if (tag := meta[name])}


def _rights(root: str) -> str:
    return RIGHTS[root.partition(":")[0]]


def _wanting(error: BaseException) -> bool:
    """Return whether there are no credentials: a machine of the cloud was then asked for some."""
    return any(part in str(error) for part in WANTING)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


@lru_cache
def _bucket(root: str) -> "ObjectStore":
    from obstore.store import MemoryStore, from_url

    if root.startswith("memory:"):
        return MemoryStore()
    options: dict[str, Any] = {"client_options": dict(TIMEOUTS), "retry_config": PATIENCE}
    if root.startswith("s3:"):
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        config = {"endpoint": endpoint} if endpoint else {}
        options["client_options"]["allow_http"] = (endpoint or "").startswith("http:")
        options |= {"config": config, "credential_provider": _credentials()}
    if root.startswith("gs:") and (server := os.environ.get("STORAGE_EMULATOR_HOST")):
        options["client_options"]["allow_http"] = server.startswith("http:")
        options["config"] = {"service_account_key": _no_account(server)}
    return from_url(root, **options)


def _no_account(server: str) -> str:
    """Return the key of an account that asks ``server`` for no token, as Google's emulators."""
    nobody = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
    return json.dumps(nobody | {"gcs_base_url": server.rstrip("/"), "disable_oauth": True})


def _credentials() -> Callable[[], Any] | None:
    """Return what gives botocore's credentials, None where the environment's will do."""
    if "AWS_ACCESS_KEY_ID" in os.environ:
        return None
    try:
        import botocore.session
    except ImportError:
        return None
    found = botocore.session.Session().get_credentials()
    if found is None:
        return None

    def credentials() -> dict[str, Any]:
        now = found.get_frozen_credentials()
        return {
            "access_key_id": now.access_key,
            "secret_access_key": now.secret_key,
            "token": now.token,
            "expires_at": datetime.now(UTC) + CREDENTIALS_LAST,
        }

    return credentials
