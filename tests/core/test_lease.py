"""Two drivers on one output of an object store."""

import threading
import time

import pytest

from pipeline.core import lease as leases
from pipeline.core.errors import StoreError
from pipeline.core.files import write_atomically
from pipeline.core.folder import place
from pipeline.core.lease import HELD, Lease, leased
from pipeline.core.lock import locked
from tests.helpers.object_store import object_store


@pytest.fixture(scope="module")
def server():
    with object_store() as server:
        yield server


@pytest.fixture
def folder(server, request, monkeypatch):
    monkeypatch.setattr(leases, "RENEWED", 0.1)
    monkeypatch.setattr(leases, "LAPSED", 1.0)
    return place(f"s3://bucket/{request.node.name}")


def test_one_works_and_the_other_is_refused(folder):
    with locked(folder):
        told = pytest.raises(StoreError, match=r"another job is writing s3://bucket/.* \(process")
        with told, locked(folder):
            pass
        write_atomically(folder / "x", b"mine")
    with locked(folder):  # left to others at once
        write_atomically(folder / "x", b"theirs")


def died(folder):
    """Leave the lease of a holder that renews it no more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lease, "keep", lambda self: None)
        patch.setattr(Lease, "end", lambda self: None)
        holding = leased(folder)
        holding.__enter__()
    return HELD.pop(folder), holding


def test_the_lease_of_a_dead_job_is_taken_over(folder):
    lease, holding = died(folder)
    began = time.monotonic()
    with leased(folder):
        assert time.monotonic() - began > leases.LAPSED
        assert HELD[folder].number > lease.number
    del holding


def test_a_job_thought_dead_writes_no_more(folder):
    write_atomically(folder / "manifest.json", b"before")
    stale, holding = died(folder)
    with leased(folder):
        write_atomically(folder / "manifest.json", b"by the new one")
        HELD[folder], new = stale, HELD[folder]
        stale._renewed -= 100  # it slept meanwhile
        with pytest.raises(StoreError, match="another job has taken over"):
            write_atomically(folder / "manifest.json", b"by the stale one")
        HELD[folder] = new
    assert (folder / "manifest.json").read_bytes() == b"by the new one"
    del holding


def test_of_many_that_begin_at_once_one_works(folder):
    held, most, refused = [0], [0], []

    def job(number):
        try:
            with leased(folder / f"{number}"):
                held[0] += 1
                most[0] = max(most[0], held[0])
                time.sleep(0.5)
                held[0] -= 1
        except StoreError:
            refused.append(number)

    for race in range(3):
        held[0] = most[0] = 0
        jobs = [threading.Thread(target=job, args=(race,)) for _ in range(5)]
        for each in jobs:
            each.start()
        for each in jobs:
            each.join()
        assert most[0] == 1
    assert refused


def test_the_lease_outlives_a_server_that_fails(server, folder):
    with leased(folder), server.failing(0.3):
        time.sleep(1.0)
        write_atomically(folder / "x", b"held all along")
        assert not HELD[folder]._lost


def test_a_server_that_heeds_no_conditions_is_refused(server, folder, monkeypatch):
    told = server.asked.app

    def heedless(environ, start):
        environ.pop("HTTP_IF_NONE_MATCH", None)
        environ.pop("HTTP_IF_MATCH", None)
        return told(environ, start)

    monkeypatch.setattr(server.asked, "app", heedless)
    with pytest.raises(StoreError, match="heeds no conditions"), leased(folder):
        pass
