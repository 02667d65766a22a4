"""`sluice dedup`, then `sluice apply` and `sluice undo`, on photos in folders, in this process."""

import json
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from jobs.apply import command as apply
from jobs.corpus import make_corpus
from jobs.dedup import command as dedup
from jobs.undo import command as undo
from pipeline.core.errors import ConfigError, InputError
from pipeline.dedup.results import read_results
from tests.helpers import main_way

DEDUP = ("dedup.similarity=1.0", "dedup.buckets=1", "ray.workers=0")


@pytest.fixture
def folder(tmp_path, jpegs):
    for name, data in {
        "a/one.jpg": 0,
        "a/copy.jpg": 0,
        "b/two.jpg": 1,
        "b/one again.jpg": 0,
    }.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpegs[data])
    return tmp_path / "photos"


def config(root, *overrides):
    wanted = f"dedup.folders={json.dumps([f'{root}/photos'])}"
    return main_way.config(root, wanted, f"dedup.output={root}/dedup", *DEDUP, *overrides)


def names(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.jpg"))


def test_all_identical_images_are_found_moved_and_put_back(tmp_path, folder, capsys):
    prefer = "dedup.prefer=['b/*']"
    dedup(config(tmp_path, prefer))
    _, groups = read_results(tmp_path / "dedup")
    assert groups["key"].to_pylist()[0] == "b/one again.jpg"
    drop = [f"{folder}/a/copy.jpg", f"{folder}/a/one.jpg"]
    assert sorted((tmp_path / "dedup" / "drop.txt").read_text().splitlines()) == drop
    assert '"b/one again.jpg"' in (tmp_path / "dedup" / "groups.csv").read_text()
    before = names(folder)
    apply(config(tmp_path))
    assert names(folder) == before
    assert "would be dropped; none was touched" in capsys.readouterr().out
    moved = f"apply.move={tmp_path}/moved"
    apply(config(tmp_path, moved))
    assert names(folder) == ["b/one again.jpg", "b/two.jpg"]
    assert names(tmp_path / "moved") == ["a/copy.jpg", "a/one.jpg"]
    apply(config(tmp_path, moved))
    undo(config(tmp_path))
    assert names(folder) == before
    undo(config(tmp_path))
    assert "all of it is undone" in capsys.readouterr().out


def test_a_name_with_a_line_break_is_no_line_of_drop_txt_and_is_dropped(tmp_path, folder, capsys):
    (folder / "a/copy.jpg").rename(folder / "a/co\npy.jpg")
    dedup(config(tmp_path, "dedup.prefer=['b/*']"))
    assert (tmp_path / "dedup" / "drop.txt").read_text() == f"{folder}/a/one.jpg\n"
    assert "1 whose names hold a line break are not in drop.txt" in capsys.readouterr().err
    apply(config(tmp_path, f"apply.move={tmp_path}/moved"))
    assert names(folder) == ["b/one again.jpg", "b/two.jpg"]


def test_what_could_not_be_put_back_can_be_tried_again(tmp_path, folder, capsys):
    dedup(config(tmp_path))
    before = names(folder)
    apply(config(tmp_path, f"apply.move={tmp_path}/moved"))
    away = next((tmp_path / "moved").rglob("*.jpg"))
    away.rename(tmp_path / "elsewhere")
    undo(config(tmp_path))
    assert "not where it was moved to" in capsys.readouterr().out
    (tmp_path / "elsewhere").rename(away)
    undo(config(tmp_path))
    assert names(folder) == before


def test_a_folder_below_the_source_and_two_ways_at_once_are_refused(tmp_path, folder):
    dedup(config(tmp_path))
    with pytest.raises(InputError, match="name a folder outside of it"):
        apply(config(tmp_path, f"apply.move={folder}/dropped"))
    with pytest.raises(ConfigError, match="say one"):
        config(tmp_path, "apply.delete=true", "apply.link=hard")


def test_rows_of_tables_are_no_files_to_act_on(tmp_path):
    made = ("corpus.images=8", f"dedup.folders=['{tmp_path}/corpus']", "embed.input_size=32")
    wanted = main_way.config(tmp_path, f"dedup.output={tmp_path}/dedup", *DEDUP, *made)
    make_corpus(wanted)
    dedup(wanted)
    assert not (tmp_path / "dedup" / "drop.txt").exists()
    with pytest.raises(InputError, match="not files of their own"):
        apply(wanted)


def test_against_a_collection_only_what_is_new_is_dropped(tmp_path, jpegs):
    there = {"old/a.jpg": 0, "old/a twin.jpg": 0, "old/b.jpg": 1}
    come = {"new/a.jpg": 0, "new/c.jpg": 2, "new/c twin.jpg": 2, "new/b.jpg": 1}
    for name, data in (there | come).items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(jpegs[data])
    folders = (f"dedup.folders=['{tmp_path}/new']", f"dedup.against={tmp_path}/old")
    wanted = main_way.config(tmp_path, f"dedup.output={tmp_path}/dedup", *DEDUP, *folders)
    dedup(wanted)
    drop = (tmp_path / "dedup" / "drop.txt").read_text().splitlines()
    assert sorted(drop) == [f"{tmp_path}/new/a.jpg", f"{tmp_path}/new/b.jpg"]
    pairs, _ = read_results(tmp_path / "dedup")
    assert len(pairs) == 3  # a twin of old/a stands beside it
    apply(wanted.model_copy(update={"apply": wanted.apply.model_copy(update={"delete": True})}))
    assert names(tmp_path / "old") == ["a twin.jpg", "a.jpg", "b.jpg"]
    assert names(tmp_path / "new") == ["c twin.jpg", "c.jpg"]
    undo(wanted)
    assert names(tmp_path / "new") == ["a.jpg", "b.jpg", "c twin.jpg", "c.jpg"]
    with pytest.raises(ConfigError, match="use rule=survivor"):
        main_way.config(tmp_path, *folders, "dedup.rule=components")
    with pytest.raises(ConfigError, match="sluice dedup NEW"):
        dedup(main_way.config(tmp_path, folders[1], f"dedup.output={tmp_path}/other"))


def twins(root, jpegs, *overrides):
    """Return the settings for a folder of two pairs of files of the same bytes."""
    (root / "photos").mkdir(exist_ok=True)
    for name, data in {"a": 0, "a twin": 0, "b": 1, "b twin": 1}.items():
        (root / "photos" / f"{name}.jpg").write_bytes(jpegs[data])
    folders = (f"dedup.folders=['{root}/photos']", f"dedup.output={root}/dedup")
    return main_way.config(root, *DEDUP, *folders, *overrides)


def dropped(root):
    lines = (root / "dedup" / "drop.txt").read_text().splitlines()
    return sorted(Path(line).name for line in lines)


def test_what_a_review_rejects_is_not_dropped_nor_applied_nor_back(tmp_path, jpegs, monkeypatch):
    def review(asked, told):
        told("http://127.0.0.1:1/token/")
        (a, b) = read_results(tmp_path / "dedup")[1].sort_by("key")["id"].to_pylist()[:2]
        assert asked.picture(a)[:2] == b"\xff\xd8"
        with pytest.raises(KeyError):
            asked.judge(a, 7, False)
        assert asked.judge(b, a, False) == 1
        with pytest.raises(InputError, match="run the same sluice dedup again"):
            apply(wanted)
        assert asked.verdicts() == [(str(min(a, b)), str(max(a, b)), False)]

    monkeypatch.setattr("jobs.dedup.serve_review", review)
    wanted = twins(tmp_path, jpegs)
    dedup(twins(tmp_path, jpegs, "dedup.review=true"))
    assert dropped(tmp_path) == ["b twin.jpg"]
    apply(wanted.model_copy(update={"apply": wanted.apply.model_copy(update={"delete": True})}))
    assert names(tmp_path / "photos") == ["a twin.jpg", "a.jpg", "b.jpg"]
    dedup(wanted)
    assert dropped(tmp_path) == []
    assert "a.jpg" in (tmp_path / "dedup" / "verdicts.csv").read_text()


def test_verdicts_of_a_page_opened_from_disk_are_taken_in(tmp_path, jpegs):
    dedup(twins(tmp_path, jpegs))
    assert dropped(tmp_path) == ["a twin.jpg", "b twin.jpg"]
    a, b, *_ = read_results(tmp_path / "dedup")[1].sort_by("key")["id"].to_pylist()
    path = tmp_path / "verdicts.csv"
    path.write_text(f'a,b,duplicate,a_key,b_key\n{a},{b},false,"a, or so",\n')
    dedup(twins(tmp_path, jpegs, f"dedup.verdicts={path}"))
    assert dropped(tmp_path) == ["b twin.jpg"]
    path.write_text(f"a,b,duplicate\n{a},{b},\n")
    dedup(twins(tmp_path, jpegs, f"dedup.verdicts={path}"))
    assert dropped(tmp_path) == ["a twin.jpg", "b twin.jpg"]
    for text in ("a,b\n1,2\n", "a,b,duplicate\n1,x,true\n", f"a,b,duplicate\n{a},7,true\n", ""):
        path.write_text(text)
        with pytest.raises(InputError, match=r"verdicts.csv (holds no verdicts|judges image 7)"):
            dedup(twins(tmp_path, jpegs, f"dedup.verdicts={path}"))


def test_of_several_pages_nothing_is_dropped_by_the_first_alone(tmp_path, jpegs, capsys):
    first, *others = (Image.open(BytesIO(data)).convert("RGB") for data in jpegs[:3])
    (tmp_path / "photos").mkdir()
    for name, further in {"one": others[:1], "other": others[1:], "still": []}.items():
        path = tmp_path / "photos" / f"{name}.tif"
        first.save(path, save_all=True, append_images=further)
    twin = tmp_path / "photos" / "a twin of one.tif"
    twin.write_bytes((tmp_path / "photos" / "one.tif").read_bytes())
    dedup(config(tmp_path, "dedup.prefer=['a twin*']"))
    assert sorted(dropped(tmp_path)) == ["one.tif", "still.tif"]
    assert "images left of several pages" in capsys.readouterr().out
    apply(config(tmp_path, "apply.delete=true"))
    assert sorted(path.name for path in (tmp_path / "photos").iterdir()) == [twin.name, "other.tif"]
