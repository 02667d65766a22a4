"""`sluice leaks` on two small folders, in this process."""

import csv
import io

import pytest
from PIL import Image, ImageOps

from jobs.leaks import command, leaks
from pipeline.core.errors import ConfigError, InputError, SluiceError
from pipeline.core.store import Store
from pipeline.dedup.results import read_results
from pipeline.dedup.verdicts import keep_verdicts
from tests.helpers import main_way


@pytest.fixture
def folders(tmp_path, jpegs):
    """Eight images of train, four of test: one a copy, another a link to train, under labels."""
    files = {f"train/{'ab'[n % 2]}/{n}.jpg": jpegs[n] for n in range(8)}
    files |= {
        "test/b/copy.jpg": recompressed(jpegs[0]),
        "test/a/new.jpg": jpegs[8],
        "test/flat.jpg": jpegs[9],
    }
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "test/a/link.jpg").symlink_to(tmp_path / "train/a/2.jpg")
    return tmp_path


def recompressed(data):
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).save(out, "JPEG", quality=80)
    return out.getvalue()


def config(root, *overrides, folders=("train", "test")):
    named = [str(root / folder) for folder in folders]
    small = (f"leaks.output={root}/leaks", f"leaks.folders={named}", "dedup.similarity=0.97")
    return main_way.config(root, *small, "ray.workers=0", "leaks.copies=8", *overrides)


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_copies_links_labels_and_a_split_without_leaks(folders, capsys):
    found = leaks(config(folders))
    assert (found.images, found.found, found.sure, found.copies) == (4, 2, 1, 8)
    told = capsys.readouterr().out
    assert "1 to 4 of 4 test images (25.000% to 100.000%)" in told
    leaked = {row["test_key"]: row["train_key"] for row in rows(folders / "leaks/leaks.csv")}
    copy, link = f"{folders}/test/b/copy.jpg", f"{folders}/test/a/link.jpg"
    assert leaked == {copy: "a/0.jpg", link: ""}
    labels = rows(folders / "leaks/labels.csv")
    assert {(row["key"], row["label"]) for row in labels} == {("a/0.jpg", "a"), (copy, "b")}
    split = {row["path"]: row for row in rows(folders / "leaks/split.csv")}
    assert split[copy]["side"] == "train"
    assert len(split) == 11
    moved = {path for path, row in split.items() if row["moved"] == "true"}
    assert len(moved) == 2  # the copy, and one of its label in its place
    assert {row["side"] for path, row in split.items() if path in moved - {copy}} == {"test"}
    assert (folders / "leaks/drop.txt").read_text() == f"{copy}\n"


def test_more_than_at_most_ends_with_exit_code_1_and_names_the_split(folders):
    with pytest.raises(SluiceError, match=r"2 of 4 test images \(50.000%\).* --at-most 0.25") as no:
        command(config(folders, "leaks.at_most=0.25"))
    assert no.value.exit_code == 1
    command(config(folders, "leaks.at_most=0.5"))


def test_a_copy_that_was_rejected_is_no_leak_when_run_again(folders):
    leaks(config(folders))
    pairs, _ = read_results(folders / "leaks")
    judged = pairs.select(["a", "b"]).append_column("duplicate", [[False] * len(pairs)])
    keep_verdicts(Store.open(folders / "leaks", "pairs"), judged)
    found = leaks(config(folders))
    assert (found.found, found.judged, found.right) == (1, 1, 0)
    assert not any(row["moved"] == "true" for row in rows(folders / "leaks/split.csv"))


def test_a_second_look_finds_a_mirrored_copy_and_says_what_was_done(folders):
    with Image.open(folders / "train/b/3.jpg") as photo:
        ImageOps.mirror(photo).save(folders / "test/a/new.jpg")
    found = leaks(config(folders, "dedup.similarity="))
    assert (found.found, found.sure) == (3, 1)
    told = {row["train_key"]: row["why"] for row in rows(folders / "leaks/leaks.csv")}
    assert told == {"": "", "a/0.jpg": "another size, detail or compression", "b/3.jpg": "mirrored"}


def test_folders_that_cannot_be_train_and_test_are_refused(folders):
    with pytest.raises(ConfigError, match="sluice leaks TRAIN TEST"):
        command(config(folders, folders=("train",)))
    for names in (("train", "train/a"), ("test/a", "test"), ("train", "train")):
        with pytest.raises(InputError, match=r"lies in .*; name two folders apart"):
            command(config(folders, folders=names))
    with pytest.raises(InputError, match="none is not there; mend"):
        command(config(folders, folders=("train", "none")))
    assert not (folders / "leaks").exists()
    (folders / "blank").mkdir()
    with pytest.raises(InputError, match="blank holds no image that can be compared"):
        command(config(folders, folders=("train", "blank")))
