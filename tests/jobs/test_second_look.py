"""`sluice dedup` of files as a user runs it: copies that vectors miss, why, and whom to keep."""

import shutil

import cv2
import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from jobs.commands import sluice
from jobs.config import DedupConfig
from pipeline.core.store import Store
from pipeline.corpus.photos import find_photos, load_photos
from pipeline.dedup import look_shard, second_look
from pipeline.dedup.results import read_results
from pipeline.images.manifest import stored_source
from pipeline.images.pictures import read_pictures

PHOTOS = {photo.name: photo.levels[0] for photo in load_photos(find_photos(None))[0]}
NAMES = ("chelsea.png", "astronaut.png", "coffee.png", "coins.png")
CHANGES = {
    "crop": lambda p: p[30:-40, 60:-20],
    "quarter": lambda p: np.rot90(p),
    "border": lambda p: cv2.copyMakeBorder(p, *[40] * 4, cv2.BORDER_CONSTANT, value=(255,) * 3),
    "tiny": lambda p: cv2.resize(p, (64, 48), interpolation=cv2.INTER_AREA),
    "grey": lambda p: np.repeat(p.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8),
}


def _write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.ascontiguousarray(pixels)[:, :, ::-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("looked")
    for name in NAMES:
        picture = cv2.resize(PHOTOS[name], (400, 300), interpolation=cv2.INTER_AREA)
        _write(root / "photos" / name, picture)
        for change, made in CHANGES.items():
            _write(root / "photos" / change / f"{name[:-4]}.jpg", made(picture))
    shutil.copy(root / "photos/coffee.png", root / "photos/coffee_again.png")
    return root


def _dedup(folder, output, *more):
    arguments = [
        "dedup",
        str(folder / "photos"),
        "--workers",
        "0",
        "--output",
        str(folder / output),
    ]
    arguments += ["--set", f"embed.output={folder}/embeddings", "--set", "embed.input_size=96"]
    result = CliRunner().invoke(sluice, [*arguments, *more])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def found(folder):
    _dedup(folder, "dedup")
    return read_results(folder / "dedup")


def _name(key):
    return key.split("/")[-1].split(".")[0].removesuffix("_again")


def test_each_copy_is_in_the_group_of_its_photo_and_no_other(found):
    pairs, groups = found
    assert all(_name(row["a_key"]) == _name(row["b_key"]) for row in pairs.to_pylist())
    assert groups.num_rows == len(NAMES) * (1 + len(CHANGES)) + 1
    assert len(set(groups["group"].to_pylist())) == len(NAMES)


def test_the_photo_itself_is_kept(found):
    kept = [row["key"] for row in found[1].to_pylist() if row["survivor"]]
    assert {key.removesuffix("_again.png").removesuffix(".png") for key in kept} == {
        name[:-4] for name in NAMES
    }


def test_why_is_told_of_each_pair(found):
    why = {}
    for row in found[0].to_pylist():
        assert 0 < row["score"] <= 1
        assert row["why"]
        why[frozenset((row["a_key"], row["b_key"]))] = row["why"]
    assert why[frozenset(("coffee.png", "coffee_again.png"))] == "the same picture"
    for change, words in (
        ("crop", "crop of"),
        ("quarter", "turned by"),
        ("border", "border"),
        ("grey", "is grey"),
    ):
        told = [why.get(frozenset((n, f"{change}/{n[:-4]}.jpg"))) for n in NAMES]
        told = [text for text in told if text]  # that of coffee may stand for its copy
        assert sum(words in text for text in told) >= len(told) - 1, (change, told)


def test_another_run_finds_all_done_says_the_same_and_starts_no_ray(folder, found, monkeypatch):
    from cluster import session

    monkeypatch.setattr(session, "ray_session", None)
    before = {p: p.stat().st_mtime_ns for p in (folder / "dedup/second_look").rglob("*.parquet")}
    assert before
    result = _dedup(folder, "dedup", "--workers", "2")
    assert "look again:" not in result.stderr
    for table, again in zip(found, read_results(folder / "dedup"), strict=True):
        assert table.equals(again)
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_a_run_that_was_broken_off_goes_on_to_the_same(folder, found):
    shutil.copytree(folder / "dedup", folder / "broken")
    for looks in sorted((folder / "broken/second_look").glob("*/looks")):
        (looks / "manifest.json").unlink()
        next(iter((looks / "entries").glob("*.json"))).unlink()
    _dedup(folder, "broken")
    for table, again in zip(found, read_results(folder / "broken"), strict=True):
        assert table.equals(again)


def test_other_shards_and_parts_give_the_same(folder, found, monkeypatch):
    for module in (look_shard, second_look):
        monkeypatch.setattr(module, "PART", 5)
    more = ("--set", f"embed.output={folder}/small", "--set", "source.shard_rows=7")
    _dedup(folder, "small_dedup", *more)
    pairs, groups = read_results(folder / "small_dedup")
    assert pairs.equals(found[0])
    assert groups.equals(found[1])


def test_another_precision_looks_at_nothing_again(folder, found):
    shutil.copytree(folder / "dedup", folder / "other")
    _dedup(folder, "other", "--set", "dedup.recall=0.2")
    fewer, _ = read_results(folder / "other")
    looks = list((folder / "other/second_look").glob("*/looks/manifest.json"))
    assert {path.parents[1].name for path in looks} >= {
        path.parents[1].name
        for path in (folder / "dedup/second_look").glob("*/looks/manifest.json")
    }
    assert 0 < fewer.num_rows < found[0].num_rows


def test_verdicts_on_the_pairs_that_are_drawn_prove_a_precision(folder, found):
    shutil.copytree(folder / "dedup", folder / "proven")
    result = _dedup(folder, "proven")
    assert "not proven: judge the " in result.stdout
    asked = folder / "proven/to_judge.csv"
    lines = asked.read_text().splitlines()
    asked.write_text("\n".join([lines[0], *(line.replace(",,", ",true,") for line in lines[1:])]))
    result = _dedup(folder, "proven", "--verdicts", str(asked))
    assert f"proven by your verdicts on {len(lines) - 1} pairs" in result.stdout
    assert f"of which {len(lines) - 1} are copies" in result.stdout


def test_what_would_be_found_is_told_by_kind_of_change(folder, found):
    shutil.copytree(folder / "dedup", folder / "told")
    result = _dedup(folder, "told", "--set", "dedup.copies=20")
    rows = [line.split("│") for line in result.output.splitlines() if "recompressed" in line]
    assert [float(cell) for cell in rows[0][2:5]] == [1.0, 1.0, 1.0]
    assert "what would be found" in result.output


def test_pictures_that_changed_since_are_counted(folder):
    shutil.copytree(folder / "photos", folder / "apart/photos")
    _dedup(folder / "apart", "dedup", "--set", "dedup.similarity=0.999")
    _write(folder / "apart/photos/tiny/coins.jpg", 255 - PHOTOS["coins.png"])
    arguments = ["dedup", "--workers", "0", "--output", str(folder / "apart/again")]
    arguments += ["--set", f"embed.output={folder}/apart/embeddings"]
    result = CliRunner().invoke(sluice, arguments)
    assert result.exit_code == 0
    assert "no longer to be read" in result.output
    store = Store.open(folder / "apart/embeddings", "embeddings")
    ids = ids_by_key(store)
    shown = read_pictures(stored_source(store), store, set(ids.values()))
    assert shown[ids["tiny/coins.jpg"]].key.endswith("(changed since it was embedded)")
    assert shown[ids["coins.png"]].key == "coins.png"


def ids_by_key(store):
    """Return the id of each key."""
    tables = [store.read(entry.shard, ["id", "key"]) for entry in store.manifest()]
    return {row["key"]: row["id"] for table in tables for row in table.to_pylist()}


def test_similarity_and_precision_are_not_asked_for_together():
    with pytest.raises(ValidationError, match="vectors alone"):
        DedupConfig(similarity=0.9, precision=0.9)


def test_columns_of_pairs(found):
    names = [
        "a",
        "b",
        "score",
        "identical",
        "a_key",
        "b_key",
        "points",
        "places",
        "alignment",
        "why",
    ]
    assert found[0].column_names == names
    assert found[0].schema.field("alignment").type == pa.list_(pa.float64(), 6)
