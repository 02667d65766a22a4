import pytest

from pipeline.core.errors import InputError
from pipeline.corpus.photos import find_photos, load_photos


def test_a_folder_gives_labels_and_leaves_out_what_is_no_photo(tmp_path, jpegs):
    (tmp_path / "dogs").mkdir()
    (tmp_path / "dogs" / "a.jpg").write_bytes(jpegs[0])
    (tmp_path / "b.jpg").write_bytes(jpegs[1])
    (tmp_path / "notes.jpg").write_text("not a photo")
    photos, refused = load_photos(find_photos(str(tmp_path)))
    assert [(photo.name, photo.label) for photo in photos] == [("b.jpg", "b"), ("a.jpg", "dogs")]
    assert len(refused) == 1
    assert "notes.jpg" in refused[0]


def test_levels_halve(jpegs, tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpegs[0])
    photo = load_photos(find_photos(str(tmp_path)))[0][0]
    assert [level.shape[:2] for level in photo.levels] == [(150, 200), (75, 100)]


def test_no_usable_photo_is_an_error(tmp_path):
    with pytest.raises(InputError, match="holds no images"):
        find_photos(str(tmp_path))
    (tmp_path / "a.jpg").write_text("no")
    with pytest.raises(InputError, match="none of 1 photos"):
        load_photos(find_photos(str(tmp_path)))
