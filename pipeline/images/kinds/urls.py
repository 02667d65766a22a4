"""Opening what a URL names, and telling in a line what its library finds wrong with it."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from pipeline.core.errors import InputError

Read = TypeVar("Read", bound=Callable[..., Any])
# What gives the right to read, as fsspec's packages take it, by the first letters of a URL.
RIGHTS = {
    "s3": (
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
        "or FSSPEC_S3_ANON=true for a public bucket"
    ),
    "g": "GOOGLE_APPLICATION_CREDENTIALS",
    "a": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
# Of the names of errors that no second try mends.
UNENTITLED = ("Credential", "Profile", "Token", "Refresh", "Unauthorized", "Authentication")


def open_url(url: str) -> tuple[Any, str]:
    """Return the filesystem of ``url`` and the path on it.

    Raises InputError where the package for such URLs is not installed, or refuses this one.
    """
    import fsspec  # here, for most who read have files of this machine's alone

    try:
        fs, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = getattr(error.__cause__, "name", None) or error.name
        raise InputError(
            f"{url} cannot be opened: {error}; pip install {package}, here and on every node"
        ) from error
    except Exception as error:
        raise _told(url, error) from error
    return fs, path


def is_unentitled(error: BaseException) -> bool:
    """Return whether ``error`` tells of credentials that are missing, partial or refused."""
    return any(part in type(error).__name__ for part in UNENTITLED)


def told_by_url(read: Read) -> Read:
    """Have what other libraries raise while ``read`` asks for a URL raised as InputError."""

    @wraps(read)
    def reading(url: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return read(url, *args, **kwargs)
        except InputError:
            raise
        except Exception as error:
            foreign = type(error).__module__ != "builtins" or isinstance(
                error, OSError | ValueError
            )
            import fsspec

            if not foreign or fsspec.utils.get_protocol(url) in ("file", "local"):
                raise
            raise _told(url, error) from error

    return cast(Read, reading)


def _told(url: str, error: Exception) -> InputError:
    said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    scheme = url.rpartition("::")[2].partition("://")[0]
    rights = next((names for start, names in RIGHTS.items() if scheme.startswith(start)), None)
    wanting = is_unentitled(error) or isinstance(error, PermissionError) or "credential" in said
    remedy = "mend the URL, or see that its server answers"
    if wanting:
        remedy = f"set {rights or 'the credentials for it'}, here and on every node"
    return InputError(f"{url} cannot be opened ({said}); {remedy}")
