"""What outputs stand on, at a real S3 server on loopback."""

from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import obstore
import pyarrow as pa
import pytest
from obstore.store import LocalStore
from werkzeug.serving import make_server

from pipeline.core import objects
from pipeline.core.attachments import Attachments
from pipeline.core.errors import InputError, StoreError
from pipeline.core.files import write_atomically
from pipeline.core.folder import bytes_below, fetched, files_in, folders_in, place, remove_folder
from pipeline.core.lease import leased
from pipeline.core.objects import ObjectPath, remove_objects
from pipeline.core.paths import refuse_unwritable
from pipeline.core.store import Store
from tests.helpers.files import digests
from tests.helpers.object_store import SECRET, object_store, objects_below


@pytest.fixture(scope="module")
def server():
    with object_store() as server:
        yield server


@pytest.fixture
def folder(server, request):
    return place(f"s3://bucket/{request.node.name}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("s3://b/x/y/", ObjectPath("s3://b", "x/y")),
        ("s3a://b", ObjectPath("s3://b", "")),
        ("abfs://c/x", ObjectPath("az://c", "x")),
        ("memory://x/y", ObjectPath("memory://x", "y")),
    ],
)
def test_urls(text, told):
    assert place(text) == told


@pytest.mark.parametrize("text", ["work/x", "/tmp/x", "C:/x", "a:b", "file:///tmp/x"])
def test_paths_stay_paths(text):
    assert not isinstance(place(text), ObjectPath)


@pytest.mark.parametrize("text", ["ftp://h/x", "http://h/x", "s3:///x", "hdfs://h/x"])
def test_other_urls_are_refused(text):
    with pytest.raises(InputError, match=r"bucket|no kind"):
        place(text)


def test_a_place_is_like_a_path(folder):
    write_atomically(folder / "a" / "b.txt", b"12345")
    write_atomically(folder / "a" / "c" / "d.json", b"")
    assert (folder / "a" / "b.txt").read_bytes() == b"12345"
    assert not (folder / "a").exists()
    assert (folder / "a").is_dir()
    assert [str(path) for path in folder.glob("*/*.txt")] == [f"{folder}/a/b.txt"]
    assert [path.name for path in folder.rglob("*.json")] == ["d.json"]
    assert folders_in(folder) == [folder / "a"]
    assert bytes_below(folder) == 5
    assert [*files_in(folder / "a" / "c")] == ["d.json"]
    assert (folder / "a" / "b.txt").with_suffix(".csv").name == "b.csv"
    (folder / "a" / "none").unlink(missing_ok=True)
    remove_folder(folder)
    assert not folder.is_dir()
    with pytest.raises(FileNotFoundError):
        (folder / "a" / "b.txt").read_bytes()


def test_a_file_is_read_by_ranges(folder, server):
    data = bytes(range(256)) * 1024
    write_atomically(folder / "x", data)
    before = server.asked.requests["GET"]
    with (folder / "x").open() as file:
        assert file.seek(-10, 2) == len(data) - 10
        assert file.read() == data[-10:]
        assert server.asked.requests["GET"] == before + 1  # with the size, the end came
        assert file.seek(7) == 7
        assert file.read(5) == data[7:12]
        assert file.read(3) == data[12:15]
        assert file.seek(len(data))
        assert file.read(1) == b""


def test_a_process_fetches_once_what_stays_the_same(folder, server):
    write_atomically(folder / "x", b"one")
    assert fetched(folder / "x")[:] == b"one"
    before = server.asked.requests["GET"]
    assert fetched(folder / "x")[:] == b"one"
    assert server.asked.requests["GET"] == before
    write_atomically(folder / "x", b"two")
    assert fetched(folder / "x")[:] == b"two"


def test_of_many_writers_of_one_object_one_wins(folder):
    with ThreadPoolExecutor(4) as pool:
        for race in range(20):
            path = folder / f"{race}"
            write_atomically(path, b"before")
            version = path.read_tagged()[1]
            texts = [b"%d" % number for number in range(4)]
            won = list(pool.map(path.put, texts, [version] * 4))
            assert won.count(True) == 1
            assert path.read_bytes() == texts[won.index(True)]


def test_what_another_has_written_meanwhile_is_told(folder, monkeypatch):
    path = folder / "x"
    write_atomically(path, b"one")
    read = ObjectPath.read_tagged

    def overtaken(self):
        found = read(self)
        self.put(b"another's", found[1])
        return found

    monkeypatch.setattr(ObjectPath, "read_tagged", overtaken)
    with pytest.raises(StoreError, match="another job has written"):
        write_atomically(path, b"two")


def some(number):
    return pa.table({"id": range(number, number + 100), "text": [f"{number}"] * 100})


def filled(root):
    store = Store.create(root, "corpus", {"a": 1})
    with store.lock():
        for shard in range(4):
            store.write_shard(shard, some(shard), some(9).slice(0, 1) if shard == 2 else None)
        store.attach("tables/one.parquet", b"first")
        store.attach("tables/one.parquet", b"second")
        store.finish(4)
    return Store.open(root, "corpus")


def test_a_store_is_the_same_as_in_a_folder(folder, tmp_path):
    far, near = filled(folder), filled(tmp_path / "near")
    assert set(objects_below(folder)) == set(digests(tmp_path / "near"))
    for name, data in objects_below(folder).items():
        assert data == (tmp_path / "near" / name).read_bytes()
    assert far.read(3).equals(near.read(3))
    assert far.schema().equals(near.schema())
    assert far.read(3, ["text"]).equals(near.read(3, ["text"]))
    assert far.read_whole(3, None, [("id", ">", 90)]).num_rows == 12
    assert far.read_quarantine().equals(near.read_quarantine())
    assert far.attached("tables/one.parquet") == b"second"
    assert far.attached_names() == ["tables/one.parquet"]
    assert list(far.problems()) == []
    assert far.images() == 400


def test_what_has_changed_is_told(folder):
    store = filled(folder)
    path = store.shards.path(1)
    path.put(path.read_bytes()[:-1] + b"?", path.read_tagged()[1])
    (folder / "quarantine" / "000002.parquet").unlink()
    assert len(list(store.problems())) == 2
    with pytest.raises(StoreError, match="footer"):
        store.read(1)
    with pytest.raises(StoreError, match="cannot be read"):
        store.read_quarantine()


def test_a_store_made_while_the_server_fails_is_the_same(server, folder, tmp_path):
    with server.failing(0.25):
        filled(folder)
    filled(tmp_path / "near")
    assert {n: len(d) for n, d in objects_below(folder).items()} == {
        str(p.relative_to(tmp_path / "near")): p.stat().st_size
        for p in (tmp_path / "near").rglob("*")
        if p.is_file() and p.name != ".lock"
    }
    assert list(Store.open(folder).problems()) == []


def test_attempts_are_counted(folder):
    store = Store.create(folder, "corpus", {})
    store.attempts.begin(3).note("begun", 5)
    second = store.attempts.begin(3)
    second.note("refused", 6, "no image")
    assert second.past.attempts == 1
    assert store.attempts.shards() == [3]
    past = store.attempts.begin(3).past
    assert (past.attempts, past.attempts_now, past.refused) == (2, 2, {6: "no image"})
    store.attempts.new_run(3)
    assert store.attempts.begin(3).past.attempts_now == 0
    store.write_shard(3, some(3))
    assert store.attempts.shards() == []


def test_a_mistake_is_told_without_the_secret(server, folder, monkeypatch):
    with pytest.raises((InputError, StoreError), match="not-there") as told:
        refuse_unwritable(place("s3://not-there/x"))
    assert SECRET not in str(told.value)
    monkeypatch.setattr(server.asked, "app", forbidden)
    with pytest.raises(StoreError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") as told:
        Attachments(folder, "corpus").keep("x", b"")
    assert SECRET not in str(told.value)
    assert "tests" not in str(told.value)


def test_a_put_that_met_another_request_is_put_again(server, monkeypatch):
    """S3 answers 409 to one of two at once, which says nothing of what is there."""
    moto, conflicts = server.asked.app, iter([True, False] * 9)

    def busy(environ, start):
        if environ["REQUEST_METHOD"] == "PUT" and next(conflicts):
            start("409 Conflict", [("Content-Type", "application/xml")])
            return [b"<Error><Code>ConditionalRequestConflict</Code></Error>"]
        return moto(environ, start)

    monkeypatch.setattr(server.asked, "app", busy)
    path = place("s3://bucket/busy/x")
    assert path.put(b"1")
    assert path.put(b"2", path.read_tagged()[1])
    with leased(place("s3://bucket/busy")):
        assert path.read_bytes() == b"2"


def test_without_credentials_it_is_told_at_once_which_to_set(server, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    nothing = {"AWS_METADATA_ENDPOINT": "http://127.0.0.1:9", "AWS_EC2_METADATA_DISABLED": "true"}
    for name, value in nothing.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(objects.PATIENCE, "max_retries", 0)
    monkeypatch.setattr(objects, "TRIES", 10**6)
    objects._bucket.cache_clear()
    with pytest.raises(StoreError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        place("s3://bucket/x").stat()
    objects._bucket.cache_clear()
    with pytest.raises(StoreError, match="AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_K"):
        place("az://box/x").stat()


def test_azure_is_asked_for_what_it_answers(tmp_path, monkeypatch):
    """It knows no range from an end, and tells of what is to be removed and is not there."""
    get = obstore.get

    def told(store, key, options=None):
        assert "suffix" not in (options or {}).get("range", {})
        return get(store, key, options=options)

    monkeypatch.setattr(obstore, "get", told)
    monkeypatch.setattr(objects, "_bucket", lambda root: LocalStore(tmp_path))
    path, gone = place("az://box/x/there"), place("az://box/x/gone")
    assert path.put(b"0123456789")
    file = path.open()
    file.seek(-3, 2)
    assert file.read() == b"789"
    gone.unlink()
    remove_objects([gone, path])
    assert not path.exists()


def test_an_emulator_of_googles_is_asked_without_a_token_under_conditions(monkeypatch):
    asked = []

    def emulator(environ, start):
        told = ("PATH_INFO", "HTTP_X_GOOG_IF_GENERATION_MATCH", "HTTP_AUTHORIZATION")
        asked.append([environ["REQUEST_METHOD"], *map(environ.get, told)])
        start("200 OK", [("ETag", '"a"'), ("x-goog-generation", "7"), ("Content-Length", "0")])
        return [b""]

    server = make_server("127.0.0.1", 0, emulator)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}/")
    version = place("gs://emulated/x").put_tagged(b"")
    place("gs://emulated/x").put(b"", version)
    server.shutdown()
    asks = [["PUT", "/emulated/x", generation] for generation in ("0", "7")]
    assert [each[:3] for each in asked] == asks
    assert {each[3] for each in asked} <= {None, "Bearer "}


def forbidden(environ, start):
    start("403 Forbidden", [("Content-Length", "0")])
    return [b""]


def test_the_memory_of_a_process_is_a_place():
    store = filled(place("memory://x/store"))
    assert store.images() == 400
    assert list(store.problems()) == []
    with leased(place("memory://x/held")):
        pass


def test_a_long_list_is_asked_for_in_parts_and_holds_every_name_once(server, folder, monkeypatch):
    for number in (*range(5), 99_999, 100_000, 100_001, 123_456, 999_999, 1_000_000, 1_234_567):
        (folder / "numbers" / f"{number:06d}.parquet").put(b"x")
    (folder / "numbers.json").put(b"x")
    (folder / "numbers-not" / "000003.parquet").put(b"x")
    whole = {path.name: facts for path, facts in (folder / "numbers").below()}
    assert len(whole) == 12
    assert (folder / "numbers").numbered() == whole
    monkeypatch.setattr("pipeline.core.objects.PAGES", 1)
    monkeypatch.setattr("pipeline.core.objects.STEP", 100_000)
    before = server.asked.requests["LIST"]
    assert (folder / "numbers").numbered() == whole
    assert server.asked.requests["LIST"] - before > 10
