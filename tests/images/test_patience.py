"""Faults that pass are waited for; facts about a file are told at once."""

import pytest

from pipeline.core.errors import InputError
from pipeline.images.kinds import patience
from pipeline.images.kinds.patience import TRIES, patiently, read_files


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)


class Flaky:
    """Raises each of ``errors`` before it answers, as a filesystem of one file."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0

    def cat_file(self, path):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return f"bytes of {path}".encode()

    def cat_ranges(self, paths, starts, ends, on_error):
        found = []
        for path in paths:
            try:
                found.append(self.cat_file(path))
            except Exception as error:
                found.append(error)
        return found


def test_a_passing_fault_is_waited_for():
    fs = Flaky(TimeoutError("slow"), ConnectionResetError("reset"), OSError(5, "I/O"))
    assert read_files(fs, ["a.jpg"]) == [b"bytes of a.jpg"]
    assert fs.calls == 4


def test_a_fault_that_stays_ends_the_shard_with_its_name():
    fs = Flaky(*[OSError("503, busy\nsecond line")] * (TRIES + 1))
    with pytest.raises(InputError, match=r"a\.jpg cannot be read now \(503, busy\), 5 times over"):
        read_files(fs, ["a.jpg"])
    assert fs.calls == TRIES + 1


@pytest.mark.parametrize("fact", [FileNotFoundError("gone"), PermissionError("closed")])
def test_a_fact_is_given_back_at_once(fact):
    fs = Flaky(fact)
    assert read_files(fs, ["a.jpg", "b.jpg"]) == [fact, b"bytes of b.jpg"]
    assert fs.calls == 2


def test_what_is_no_fault_of_reading_is_raised():
    with pytest.raises(ZeroDivisionError):
        read_files(Flaky(ZeroDivisionError()), ["a.jpg"])
    with pytest.raises(InputError, match="no Parquet"):
        patiently(lambda: (_ for _ in ()).throw(InputError("no Parquet")), "a.parquet")
    assert patience.LASTING
