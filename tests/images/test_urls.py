"""What a URL's own library raises is told in a line, and at once where no second try mends it."""

import sys

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.core.errors import InputError
from pipeline.images.kinds.patience import patiently
from pipeline.images.kinds.urls import open_url
from pipeline.images.source import list_source


class PartialCredentialsError(Exception):
    """As botocore has it, which is not installed where this runs."""


class RefreshError(Exception):
    """As google.auth has it."""


RAISED = {
    "no key": (PartialCredentialsError("missing: AWS_SECRET_ACCESS_KEY\nand more"), "credentials"),
    "an old token": (RefreshError("reauthenticate"), "credentials"),
    "no right": (PermissionError("Access Denied"), "credentials"),
    "no server": (ConnectionRefusedError(111, "refused"), "see that its server answers"),
    "no account": (ValueError("Must provide an account_name with credentials!!"), "credentials"),
}


@pytest.fixture
def store():
    """A store at refusing:// that raises what the test says."""
    raised = []

    class Refusing(MemoryFileSystem):
        protocol = "refusing"
        cachable = False

        def _refuse(self, *args, **kwargs):
            raise raised[0]

        info = ls = exists = isdir = _refuse

    fsspec.register_implementation("refusing", Refusing, clobber=True)
    return raised


@pytest.mark.parametrize("what", RAISED)
def test_what_a_store_refuses_is_told(store, what):
    error, remedy = RAISED[what]
    store.append(error)
    with pytest.raises(InputError) as told:
        list_source("refusing://bucket/photos")
    assert str(told.value).startswith("refusing://bucket/photos cannot be opened")
    assert f"({type(error).__name__}: {str(error).splitlines()[0]})" in str(told.value)
    assert remedy in str(told.value)
    assert "\n" not in str(told.value)


def test_a_mistake_of_ours_is_not_taken_for_the_stores(store):
    store.append(KeyError("bug"))
    with pytest.raises(KeyError):
        list_source("refusing://bucket/photos")


@pytest.mark.parametrize("url", ["s3://b/p", "gs://b/p", "abfs://b/p", "sftp://b/p"])
def test_a_package_that_is_missing_is_named(monkeypatch, url):
    packages = {"s3": "s3fs", "gs": "gcsfs", "abfs": "adlfs", "sftp": "paramiko"}
    package = packages[url.partition(":")[0]]
    monkeypatch.setitem(sys.modules, package, None)
    known = sys.modules[fsspec.get_filesystem_class.__module__]._registry
    monkeypatch.delitem(known, url.partition(":")[0], raising=False)  # opened by other tests
    with pytest.raises(InputError, match=f"pip install {package}, here and on every node"):
        open_url(url)


def test_wanting_credentials_are_not_tried_again():
    calls = []

    def read():
        calls.append(1)
        raise PartialCredentialsError("missing: AWS_SECRET_ACCESS_KEY")

    with pytest.raises(
        InputError, match=r"b/1.jpg cannot be read \(missing: AWS_SECRET_ACCESS_KEY"
    ):
        patiently(read, "b/1.jpg")
    assert len(calls) == 1
