"""`sluice dedup` on a synthetic embedding store, in this process."""

import numpy as np
import pytest
from PIL import Image

from jobs.dedup import command, dedup
from jobs.embed import embed
from pipeline.core.errors import InputError, StoreError
from pipeline.core.store import Store
from pipeline.dedup.results import read_results
from tests.helpers import main_way
from tests.helpers.images import jpeg_bytes
from tests.helpers.scenes import config, synthetic

SIZE = ("embed.input_size=64", "embed.batch_size=8")  # as of main_way: one network is converted


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("dedup")
    vectors = synthetic(root / "embeddings")
    scores = vectors @ vectors.T
    truth = {tuple(map(int, p)) for p in np.argwhere(np.triu(scores >= 0.85, 1))}
    return root, truth, dedup(config(root))


def pairs_of(table):
    return set(zip(table["a"].to_pylist(), table["b"].to_pylist(), strict=True))


def keys_of_pairs(root, output="dedup"):
    store = Store.open(root / "embeddings")
    shards = [store.read(entry.shard, ["id", "key"]) for entry in store.manifest()]
    keys = {row["id"]: row["key"] for shard in shards for row in shard.to_pylist()}
    pairs, _ = read_results(root / output)
    return {tuple(sorted((keys[a], keys[b]))) for a, b in pairs_of(pairs)}


def test_one_bucket_gives_all_pairs(done, tmp_path):
    root, truth, _ = done
    found = dedup(config(root, "dedup.buckets=1", f"dedup.output={tmp_path}"))
    assert len(truth) > 200
    assert pairs_of(found.pairs) == truth
    assert found.recall is None


def test_the_join_misses_little_and_knows_how_much(done):
    root, truth, found = done
    pairs = pairs_of(found.pairs)
    assert pairs <= truth
    assert found.buckets == 20
    assert found.recall.low <= len(pairs) / len(truth) + 0.02
    assert abs(found.recall.recall - len(pairs) / len(truth)) < 0.05
    assert list(Store.open(root / "dedup").problems()) == []
    assert all(
        kept.equals(made)
        for kept, made in zip(
            read_results(root / "dedup"), (found.pairs, found.groups), strict=True
        )
    )


def test_an_image_in_all_buckets_misses_nothing(done, tmp_path):
    root, truth, _ = done
    every = ("dedup.buckets=8", "dedup.assignments=8", f"dedup.output={tmp_path}")
    assert pairs_of(dedup(config(root, *every)).pairs) == truth


def test_added_shards_give_the_pairs_of_a_rebuild(tmp_path):
    synthetic(tmp_path / "embeddings", shards=2)
    dedup(config(tmp_path))
    synthetic(tmp_path / "embeddings", shards=3)
    dedup(config(tmp_path))
    synthetic(tmp_path / "embeddings")
    added = dedup(config(tmp_path))
    same_grid = (f"dedup.grid_from={tmp_path}/dedup", f"dedup.output={tmp_path}/whole")
    whole = dedup(config(tmp_path, *same_grid))
    assert added.pairs.equals(whole.pairs)
    assert added.groups.equals(whole.groups)
    for name in ("pairs", "groups"):
        path = f"attached/{name}.parquet"
        assert (tmp_path / "dedup" / path).read_bytes() == (tmp_path / "whole" / path).read_bytes()


def test_a_resumed_join_gives_the_same_bytes(done):
    root, _, found = done
    (root / "dedup" / "entries" / "000001.json").unlink()
    (root / "dedup" / "partitions" / "entries" / "000002.json").unlink()
    (root / "dedup" / "attached" / "pairs.parquet.json").unlink()
    with pytest.raises(InputError, match="not finished; run sluice dedup again"):
        read_results(root / "dedup")
    before = {p: p.read_bytes() for p in (root / "dedup").rglob("*.parquet")}
    assert dedup(config(root)).pairs.equals(found.pairs)
    assert {p: p.read_bytes() for p in (root / "dedup").rglob("*.parquet")} == before


def test_pairs_of_tombstoned_images_are_gone(tmp_path):
    synthetic(tmp_path / "embeddings", shards=2)
    before = dedup(config(tmp_path))
    gone = before.pairs["a"].to_pylist()[:5]
    Store.open(tmp_path / "embeddings").bury(gone)
    left = pairs_of(dedup(config(tmp_path)).pairs)
    assert left == {p for p in pairs_of(before.pairs) if not set(p) & set(gone)}


def test_other_settings_are_refused(done):
    with pytest.raises(StoreError, match="assignments: 3 there, 2 asked for"):
        dedup(config(done[0], "dedup.assignments=2"))


def test_a_folder_is_embedded_before_the_join_and_only_what_is_new(tmp_path, jpegs, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in (0, 1, 2):
        (folder / f"{number}.jpg").write_bytes(jpegs[number])
    (folder / "twin.jpg").write_bytes(jpegs[1])
    (folder / "bad.jpg").write_text("a text")
    (folder / "notes.txt").write_text("a text")
    few = ("dedup.buckets=1", "dedup.similarity=0.999", *SIZE)
    wanted = config(tmp_path, f"dedup.folders={folder}", *few)
    command(wanted)
    told = capsys.readouterr().out
    assert "│ not-an-image │      1 │" in told
    assert ".txt suffix" in told
    first = (tmp_path / "embeddings" / "shards" / "000000.parquet").stat().st_mtime_ns
    assert keys_of_pairs(tmp_path) == {("1.jpg", "twin.jpg")}
    assert "twin.jpg" in (tmp_path / "dedup" / "report.html").read_text()
    (folder / "late.jpg").write_bytes(jpegs[2])
    command(wanted)
    assert keys_of_pairs(tmp_path) == {("1.jpg", "twin.jpg"), ("2.jpg", "late.jpg")}
    assert (tmp_path / "embeddings" / "shards" / "000000.parquet").stat().st_mtime_ns == first


def test_without_a_folder_nothing_is_embedded(tmp_path):
    with pytest.raises(InputError, match=r"holds no embeddings .* run sluice embed first"):
        command(config(tmp_path))
    assert not (tmp_path / "embeddings").exists()


def test_adding_to_no_output_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no pairs to add to; leave --add out"):
        command(config(tmp_path, "dedup.add=true"))


def test_images_that_are_no_evidence_are_left_out_and_counted(tmp_path, jpegs):
    (tmp_path / "photos").mkdir()
    blank = jpeg_bytes(np.full((80, 80, 3), 200, np.uint8))
    in_part = jpegs[0][: len(jpegs[0]) // 2] + b"\xff\xd9"
    files = {"a": jpegs[0], "b": jpegs[0], "c": blank, "d": blank, "e": in_part, "f": in_part}
    for name, data in files.items():
        (tmp_path / "photos" / f"{name}.jpg").write_bytes(data)
    photos = f"source.url={tmp_path}/photos"
    embed(main_way.config(tmp_path, photos, "ray.workers=0"))
    kept = main_way.config(tmp_path, photos, "ray.workers=0", f"dedup.output={tmp_path}/kept")
    found = dedup(kept)
    assert keys_of_pairs(tmp_path, "kept") == {("a.jpg", "b.jpg")}
    assert found.left_out == {"decoded in part": 2, "without contrast": 2}
    every = ("ray.workers=0", "dedup.doubtful=true", f"dedup.output={tmp_path}/every")
    assert not dedup(main_way.config(tmp_path, photos, *every)).left_out
    assert {("a.jpg", "b.jpg"), ("c.jpg", "d.jpg"), ("e.jpg", "f.jpg")} <= keys_of_pairs(
        tmp_path, "every"
    )


def test_a_collection_without_evidence_has_no_pairs(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in "ab":
        Image.new("RGB", (64, 64), "white").save(tmp_path / "photos" / f"{name}.png")
    wanted = main_way.config(
        tmp_path, f"source.url={tmp_path}/photos", "ray.workers=0", f"dedup.output={tmp_path}/dedup"
    )
    embed(wanted)
    found = dedup(wanted)
    assert found.pairs.num_rows == found.images.num_rows == 0
    assert found.left_out == {"without contrast": 2}
