import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.core.store import Store
from pipeline.search.queries import refuse_nothing_to_ask, split_queries
from pipeline.search.query_files import embed_files


def encode(squares):
    return np.ones((len(squares), 4), np.float32)


def test_a_folders_bad_query_is_told_and_the_others_are_asked(tmp_path, jpegs):
    store = Store.create(tmp_path / "store", "embeddings", {})
    folder = tmp_path / "asked"
    (folder / "@eaDir").mkdir(parents=True)
    for name in ("a.jpg", "photo[1].jpg", "@eaDir/thumb.jpg"):
        (folder / name).write_bytes(jpegs[0])
    (folder / "bad.jpg").write_text("no photo")
    (folder / "gone.jpg").symlink_to("nowhere")
    ids, paths = split_queries(store, (str(folder), str(folder / "a.jpg"), "id:-7", "id:-7"))
    assert ids == [-7]
    assert [path.name for path in paths] == ["a.jpg", "bad.jpg", "photo[1].jpg"]
    asked = embed_files([*paths, tmp_path / "nowhere.jpg"], encode, 32)
    assert asked.keys == [str(folder / "a.jpg"), str(folder / "photo[1].jpg")]
    assert not asked.stored.any()
    assert asked.vectors.shape == (2, 4)
    [bad, gone] = asked.refused
    assert bad.startswith(f"{folder}/bad.jpg (not-an-image: ")
    assert gone == f"{tmp_path}/nowhere.jpg (unreadable: No such file or directory)"


def test_without_a_usable_query_nothing_is_asked(tmp_path):
    (tmp_path / "bad.jpg").write_text("no photo")
    asked = embed_files([tmp_path / "bad.jpg"], encode, 32)
    with pytest.raises(InputError, match=r"no query is a usable image: .*bad\.jpg .not-an-image"):
        refuse_nothing_to_ask(len(asked.keys), asked.refused)
    with pytest.raises(InputError, match="the query folders hold no images; name others"):
        refuse_nothing_to_ask(0, ())
