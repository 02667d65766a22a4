"""`sluice dedup`, then `sluice apply` and `sluice undo`, on photos in folders, in this process."""

import json

import pytest

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
