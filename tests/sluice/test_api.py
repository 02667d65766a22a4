import re
import sys
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import sluice
from pipeline.core.store import Store
from pipeline.core.tables import embedding_matrix
from tests.helpers.images import jpeg_bytes
from tests.helpers.networks import FirstToken, write_onnx

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory, jpegs):
    folder = tmp_path_factory.mktemp("photographs")
    for number, data in enumerate(jpegs):
        (folder / f"{number}.jpg").write_bytes(data)
    (folder / "copy.jpg").write_bytes(jpegs[0])
    (folder / "bad.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory, photographs):
    folder = tmp_path_factory.mktemp("made")
    model = write_onnx(FirstToken(), folder / "vit.onnx")
    found = sluice.embed(
        photographs, folder / "e", model=model, workers=0, settings={"source.shard_rows": 5}
    )
    gone = found.arrow(["id", "key"]).to_pylist()
    store = Store.open(found.root, "embeddings")
    store.bury([row["id"] for row in gone if row["key"] == "11.jpg"])
    return found


def test_a_store_is_read_as_what_is_wanted(made, tmp_path):
    table = made.arrow()
    assert len(made) == table.num_rows == 12
    assert "11.jpg" not in table["key"].to_pylist()
    assert len(list(made.tables(["id"]))) == 3
    ids, vectors = made.numpy(tmp_path)
    assert isinstance(vectors, np.memmap)
    assert np.array_equal(np.load(tmp_path / "ids.npy"), table["id"].to_numpy())
    assert np.array_equal(vectors, embedding_matrix(table["embedding"]))
    assert list(made.pandas(["key"])["key"]) == table["key"].to_pylist()
    assert len(ids) == 12


def test_search_and_dedup_return_tables_and_print_none(made, photographs, tmp_path, capsys):
    hits = sluice.search([photographs / "0.jpg", "3.jpg"], made.root, k=2)
    assert hits["key"].to_pylist()[:2] == ["0.jpg", "copy.jpg"]
    assert hits["query"].to_pylist()[2:] == ["3.jpg"] * 2
    assert hits["score"][0].as_py() == pytest.approx(1, abs=1e-6)
    found = sluice.dedup(
        embeddings=made.root, output=tmp_path / "d", similarity=1.0, doubtful=True, workers=0
    )
    assert sorted(found.groups["key"].to_pylist()) == ["0.jpg", "copy.jpg"]
    assert found.pairs.num_rows == 1
    assert capsys.readouterr().out == ""


def test_mistakes_are_told_as_the_commands_tell_them(tmp_path):
    with pytest.raises(sluice.SluiceError, match="holds no embeddings"):
        sluice.read_store(tmp_path)
    with pytest.raises(sluice.SluiceError, match="sluice embed has no flag modle; settings="):
        sluice.embed(tmp_path, modle="x")
    with pytest.raises(sluice.SluiceError, match=r"no setting source\.knd"):
        sluice.embed(tmp_path, settings={"source.knd": "folder"})
    with pytest.raises(sluice.SluiceError, match=r"embed.batch_size: .*greater than or equal to 1"):
        sluice.embed(tmp_path, batch_size=0)


@pytest.fixture(scope="module")
def embedder(made):
    return sluice.Embedder(store=made.root)


def test_an_embedder_embeds_as_the_store_was_and_keeps_every_row(made, embedder, jpegs):
    data = [jpegs[3], b"no image", None, jpegs[5]]
    out = embedder({"bytes": np.array(data, object), "n": np.arange(4)})
    known = {row["key"]: row["embedding"] for row in made.arrow().to_pylist()}
    assert out["n"].tolist() == [0, 1, 2, 3]
    assert np.array_equal(out["embedding"][[0, 3]], np.float32([known["3.jpg"], known["5.jpg"]]))
    assert np.isnan(out["embedding"][[1, 2]]).all()
    assert [str(why).partition(":")[0] for why in out["refused"]] == [
        "None",
        "not-an-image",
        "empty",
        "None",
    ]
    table = embedder(pa.table({"bytes": pa.array(data, pa.binary())}))
    assert np.array_equal(embedding_matrix(table["embedding"]), out["embedding"], equal_nan=True)
    assert table["refused"].null_count == 2


def test_an_embedder_takes_pixels_too(made, photos):
    embedder = sluice.Embedder(store=made.root, column="image")
    photo, grey = Image.fromarray(photos[0]), photos[0][..., :1]
    clear = np.dstack([photos[0], np.full(grey.shape, 255, np.uint8)])
    whole = {"path": None, "bytes": jpeg_bytes(photos[0])}
    first = [photos[0], photo, clear, whole, photo.convert("CMYK")]
    images = np.empty(12, object)
    images[:] = [
        *(*first, grey, grey[..., 0]),
        *(photos[0].astype(np.float32), photos[0].transpose(2, 0, 1), "a.jpg", photos[0][:0]),
        photos[0][:1].repeat(30, axis=1),
    ]
    out = embedder({"image": images})
    found = out["embedding"]
    assert (found[:5] @ found[0] > 0.99).all()
    assert np.array_equal(found[5], found[6])
    assert [str(why)[:27] for why in out["refused"]] == [
        *["None"] * 7,
        "unreadable: ndarray of floa",
        "unreadable: ndarray of uint",
        "unreadable: str of <U5 (), ",
        "empty: it has no pixels",
        "extreme-shape: 13530 x 1 pi",
    ]
    with pytest.raises(sluice.SluiceError, match=r"no column image among x; set column="):
        embedder({"x": images})


def test_a_faiss_index_that_faiss_opens(made, tmp_path):
    assert sluice.to_faiss(made.root, tmp_path / "e.faiss") == 12
    index, table = faiss.read_index(str(tmp_path / "e.faiss")), made.arrow()
    _, found = index.search(embedding_matrix(table["embedding"]), 1)
    keys = dict(zip(table["id"].to_pylist(), table["key"].to_pylist(), strict=True))
    same = {"copy.jpg": "0.jpg"}
    wanted = [same.get(key, key) for key in table["key"].to_pylist()]
    assert [same.get(keys[i], keys[i]) for i in found[:, 0].tolist()] == wanted


def test_a_dataset_that_huggingface_opens(made, tmp_path):
    datasets = pytest.importorskip("datasets")
    paths = sluice.to_huggingface(made.root, tmp_path / "hf")
    assert len(paths) == 3
    assert sum(pq.read_metadata(path).num_rows for path in paths) == 12
    loaded = datasets.load_dataset(
        str(tmp_path / "hf"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded["key"][:] == made.arrow(["key"])["key"].to_pylist()
    assert np.array_equal(
        np.float32(loaded["embedding"][:]), embedding_matrix(made.arrow()["embedding"])
    )


def test_a_dataset_that_lance_opens(made, tmp_path, monkeypatch):
    lance = pytest.importorskip("lance")
    sluice.to_lance(made.root, tmp_path / "e.lance")
    loaded = lance.dataset(str(tmp_path / "e.lance")).to_table()
    assert loaded["key"].to_pylist() == made.arrow(["key"])["key"].to_pylist()
    monkeypatch.setitem(sys.modules, "lance", None)
    with pytest.raises(sluice.SluiceError, match="pip install pylance"):
        sluice.to_lance(made.root, tmp_path / "again.lance")


def test_a_dataset_that_fiftyone_opens(made, photographs, tmp_path, monkeypatch):
    monkeypatch.setenv("FIFTYONE_DATABASE_DIR", str(tmp_path / "database"))
    fiftyone = pytest.importorskip("fiftyone")
    with pytest.raises(sluice.SluiceError, match=r"has no 0\.jpg; name the folder"):
        sluice.to_fiftyone(made.root, "made", tmp_path)
    sluice.to_fiftyone(made.root, "made", photographs)
    loaded, table = fiftyone.load_dataset("made"), made.arrow()
    assert loaded.values("image_id") == table["id"].to_pylist()
    assert loaded.values("key") == table["key"].to_pylist()
    assert np.array_equal(loaded.values("embedding"), embedding_matrix(table["embedding"]))
    assert all(Path(path).is_file() for path in loaded.values("filepath"))
    with pytest.raises(sluice.SluiceError, match="give another name"):
        sluice.to_fiftyone(made.root, "made", photographs)


@pytest.fixture
def of_names(made, tmp_path):
    """A store whose images have columns of every name given."""

    def of(**columns):
        store = Store.create(tmp_path / "named", "embeddings", {"model": "made"})
        table = made.arrow(["id", "key", "embedding"])
        for name, value in columns.items():
            table = table.append_column(name, pa.array([value] * table.num_rows))
        store.write_shard(0, table)
        store.finish(1)
        return store.root

    return of


def test_columns_named_as_fiftyones_own_are_renamed(of_names, photographs, tmp_path, monkeypatch):
    monkeypatch.setenv("FIFTYONE_DATABASE_DIR", str(tmp_path / "database"))
    fiftyone = pytest.importorskip("fiftyone")
    sluice.to_fiftyone(of_names(tags="a", metadata="b", pk=1, label="c"), "named", photographs)
    loaded = fiftyone.load_dataset("named")
    assert loaded.values("image_tags") == ["a"] * 12
    assert loaded.first()["image_metadata"] == "b"
    assert loaded.first()["label"] == "c"


@pytest.mark.parametrize(("name", "value"), [("_x", 1), ("a.b", 1), ("bytes", b"x")])
def test_what_fiftyone_does_not_take_is_told(
    of_names, photographs, tmp_path, monkeypatch, name, value
):
    monkeypatch.setenv("FIFTYONE_DATABASE_DIR", str(tmp_path / "database"))
    fiftyone = pytest.importorskip("fiftyone")
    with pytest.raises(sluice.SluiceError, match="FiftyOne does not take"):
        sluice.to_fiftyone(of_names(**{name: value}), "refused", photographs)
    assert not fiftyone.dataset_exists("refused")


def test_without_fiftyone_it_is_told_how_to_have_it(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(sluice.SluiceError, match="pip install fiftyone"):
        sluice.to_fiftyone(made.root, "made", made.root)


@pytest.mark.ray
def test_the_example_of_the_readme_and_a_ray_dataset(
    made, photographs, tmp_path, monkeypatch, ray_cluster, capsys
):
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in photographs.glob("?.jpg"):
        (photos / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    told = {}
    exec(example.replace("/my/photos", str(photos)), told)
    assert told["vectors"].shape == (10, 1280)
    assert "(2, 1280)" in capsys.readouterr().out
    rows = made.ray(["id", "embedding"]).to_pandas().sort_values("id")
    known = made.arrow(["id", "embedding"]).sort_by("id")
    assert isinstance(rows, pd.DataFrame)
    assert rows["id"].tolist() == known["id"].to_pylist()
    assert np.array_equal(np.stack(rows["embedding"]), embedding_matrix(known["embedding"]))
