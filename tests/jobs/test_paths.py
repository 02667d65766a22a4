"""Every path that a user gives: what may be wrong with it is one message, and nothing is lost."""

import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest

from pipeline.core.errors import SluiceError
from pipeline.core.files import write_atomically
from tests.helpers.command_line import run
from tests.helpers.files import digests

NOBODY = 65534
OUTPUTS = {
    "corpus": "corpus.output",
    "embed": "embed.output",
    "sign": "sign.output",
    "search": "search.output",
    "index": "index.output",
    "dedup": "dedup.output",
    "cascade": "cascade.output",
    "report": "report.output",
}
STORES = ("corpus", "embed", "sign", "index", "dedup")


@contextmanager
def as_nobody():
    """Be a user without rights for the length of the block; root may do everything."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        yield


@pytest.fixture(scope="module")
def root():
    """A folder that every user may enter, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="sluice-paths-"))
    folder.chmod(0o755)
    yield folder
    for path in folder.iterdir():
        if not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


def settings(root, **changed):
    made = {key: root / job for job, key in OUTPUTS.items()}
    made |= {"source.url": root / "corpus", "search.queries": "[id:0]", "ray.workers": 0}
    made |= {"corpus.images": 24, "corpus.size": 64, "embed.input_size": 64}
    made |= {"index.calibration_queries": 4, "dedup.shown": 2, "report.output": root / "r.html"}
    made |= {key.replace("__", "."): value for key, value in changed.items()}
    return [part for key, value in made.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def done(root):
    """What every command but cascade has made."""
    import_module("jobs.cascade")  # nobody may not read what root's Python is made of
    for job in (*STORES, "search", "report"):
        told = run(job, *settings(root / "done"))
        assert told.exit_code == 0, told.exception
    return root / "done"


@pytest.fixture(scope="module")
def bad(root):
    """Paths where nothing can be put, and what is in the way."""
    (root / "file").write_text("mine")
    os.mkfifo(root / "pipe")
    for name, mode in (("locked", 0o555), ("closed", 0o600)):
        (root / name).mkdir()
        (root / name).chmod(mode)
    (root / "loop").symlink_to(root / "loop")
    below = {"file/below": "file", "locked/below": "locked", "closed/a/b": "closed"}
    alone = {name: name for name in ("file", "pipe", "locked", "closed", "loop")}
    return {root / path: root / culprit for path, culprit in (alone | below).items()}


@pytest.mark.parametrize("job", OUTPUTS)
def test_an_output_where_nothing_can_be_put(done, bad, job):
    for path, culprit in bad.items():
        if job == "report" and path.name in ("locked", "closed"):
            path = path / "page.html"
        if job == "report" and path.name == "file":
            continue  # a page replaces a file
        with as_nobody():
            told = run(job, *settings(done, **{OUTPUTS[job].replace(".", "__"): path}))
        assert isinstance(told.exception, SluiceError), (path, told.exception)
        assert str(culprit) in str(told.exception)
        assert "; " in str(told.exception)
    assert (done.parent / "file").read_text() == "mine"
    assert stat.S_ISFIFO(os.stat(done.parent / "pipe").st_mode)


@pytest.mark.parametrize("job", ["embed", "search", "index", "dedup", "report"])
@pytest.mark.parametrize(
    "part", [".", "store.json", "manifest.json", "entries", "shards/000000.parquet"]
)
def test_a_store_that_may_not_be_read(done, root, job, part):
    copy = root / "unreadable"
    shutil.copytree(done, copy)
    try:
        (copy / "embed" / part).chmod(0)
        (copy / "fresh").mkdir(mode=0o777)
        (copy / "fresh").chmod(0o777)
        elsewhere = (
            {} if job == "embed" else {OUTPUTS[job].replace(".", "__"): copy / "fresh" / "x"}
        )
        with as_nobody():
            told = run(job, *settings(copy, **elsewhere))
    finally:
        (copy / "embed" / part).chmod(0o755)
        shutil.rmtree(copy)
    assert isinstance(told.exception, SluiceError), told.exception
    assert str(copy / "embed") in str(told.exception)


@pytest.mark.parametrize("job", STORES)
def test_a_finished_store_that_may_not_be_written_to(done, job):
    before = digests(done / job)
    for path in (done / job).rglob("*"):
        assert not path.stat().st_mode & stat.S_IWOTH
    with as_nobody():
        told = run(job, *settings(done))
    assert told.exit_code == 0, told.exception
    assert f"{done / job} cannot be written to, and nothing had to be" in told.stderr
    assert digests(done / job) == before


def test_a_finished_store_with_something_to_do_says_what_it_lacks(done, root, jpegs):
    photos = root / "photos"
    photos.mkdir()
    (photos / "0.jpg").write_bytes(jpegs[0])
    some = settings(root / "few", source__url=photos)
    assert run("embed", *some).exit_code == 0
    (photos / "1.jpg").write_bytes(jpegs[1])
    with as_nobody():
        told = run("embed", *some)
    assert "source.parquet" in str(told.exception)
    assert "Permission denied; ask for the right" in str(told.exception)


def test_a_lock_that_may_not_be_taken(done, root):
    copy = shutil.copytree(done / "corpus", root / "shut")
    copy.chmod(0o777)
    (copy / ".lock").chmod(0o600)
    with as_nobody():
        told = run("corpus", *settings(done, corpus__output=copy))
    assert f"cannot use {copy}/.lock: Permission denied" in str(told.exception)


def test_a_link_stays_one_and_a_pipe_a_pipe(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "page")
    write_atomically(tmp_path / "link", b"one")
    assert (tmp_path / "page").read_bytes() == b"one"
    assert (tmp_path / "link").is_symlink()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SluiceError, match="pipe is no ordinary file"):
        write_atomically(tmp_path / "pipe", b"one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "page", "pipe"]
