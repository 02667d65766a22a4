"""Reading from what may fail for a moment: a fault that passes is waited for, any other is told."""

import socket
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from pipeline.core.errors import InputError
from pipeline.images.kinds.urls import is_unentitled

T = TypeVar("T")
TRIES = 5
BUSY = (408, 425, 429)  # of HTTP's 4xx, those that say: later
# Facts about a file, which another try would not change.
LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


def patiently(read: Callable[[], T], what: str) -> T:
    """Return ``read()``, tried TRIES times over some ten seconds where it fails for a moment.

    Raises what ``read`` raises of LASTING and of what is no fault of reading, InputError naming
    ``what`` where the fault stays, and at once where credentials are wanting.
    """
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

    again = Retrying(
        retry=retry_if_exception(_passing),
        stop=stop_after_attempt(TRIES),
        wait=wait_random_exponential(0.3, max=8),
        reraise=True,
    )
    try:
        return again(read)
    except Exception as error:
        if is_unentitled(error):
            raise InputError(
                f"{what} cannot be read ({_first_line(error)}); see that the credentials for it "
                "are set, here and on every node"
            ) from error
        if not _passing(error):
            raise
        raise InputError(
            f"{what} cannot be read now ({_first_line(error)}), {TRIES} times over; run the same "
            "command again when it can"
        ) from error


def read_files(fs: Any, paths: list[str]) -> list[bytes | Exception]:
    """Return the bytes of files, side by side where ``fs`` can; of a fact what was raised.

    Raises InputError where another fault stays.
    """
    found = fs.cat_ranges(paths, [None] * len(paths), [None] * len(paths), on_error="return")
    for place, data in enumerate(found):
        if isinstance(data, Exception) and (_passing(data) or is_unentitled(data)):
            found[place] = patiently(partial(fs.cat_file, paths[place]), paths[place])
        elif isinstance(data, Exception) and not _is_fact(data):
            raise data
    return [data if isinstance(data, Exception) else bytes(data) for data in found]


def _passing(error: BaseException) -> bool:
    """Return whether a fault may pass: those of disks and networks that are no facts."""
    network = type(error).__module__.partition(".")[0] in ("aiohttp", "botocore", "gcsfs", "s3fs")
    lasting = _is_fact(error) or is_unentitled(error)
    return (network or isinstance(error, OSError | TimeoutError)) and not lasting


def _is_fact(error: BaseException) -> bool:
    """Return whether another try would not change it.

    Those are LASTING, an answer of 4xx, a host that is not there, and a URL that is none.
    """
    status = getattr(error, "status", None)
    refused = isinstance(status, int) and 400 <= status < 500 and status not in BUSY
    cause = getattr(error, "os_error", error)  # as aiohttp has it
    nowhere = isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME
    return isinstance(error, (*LASTING, ValueError)) or refused or nowhere


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
