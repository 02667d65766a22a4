from dataclasses import replace
from itertools import combinations
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.config import SourceConfig
from pipeline.images.kinds import KINDS
from pipeline.images.manifest import plan_manifest
from pipeline.images.reader import read_shard
from pipeline.images.source import list_source
from tests.helpers.images import write_tar


def test_a_file_is_of_one_kind():
    found = [kind for kind in KINDS.values() if not kind.by_column]
    for one, other in combinations(found, 2):
        assert not one.suffixes & other.suffixes


def test_the_settings_offer_the_kinds_there_are():
    assert get_args(SourceConfig.model_fields["kind"].annotation) == ("auto", *KINDS)


def test_a_new_kind_is_a_line_in_the_dict(tmp_path, jpegs, monkeypatch):
    renamed = replace(KINDS["folder"], suffixes=frozenset({".photo"}), files_a_shard=2)
    monkeypatch.setitem(KINDS, "photos", renamed)
    for number, data in enumerate(jpegs[:3]):
        (tmp_path / f"{number}.photo").write_bytes(data)
    listed = list_source(str(tmp_path))
    source, manifest = listed.source, plan_manifest(listed, 1000).manifest
    assert (source.kind, manifest["shard"].to_pylist()) == ("photos", [0, 0, 1])
    assert read_shard(source, manifest, 1)["bytes"].to_pylist() == [jpegs[2]]


WRITERS = {
    "folder": lambda root, jpegs: [(root / f"{n}.jpg").write_bytes(d) for n, d in enumerate(jpegs)],
    "webdataset": lambda root, jpegs: write_tar(root / "a.tar", {"x/1.jpg": jpegs[0]}),
    "parquet": lambda root, jpegs: pq.write_table(pa.table({"bytes": jpegs}), root / "a.parquet"),
    "paths": lambda root, jpegs: (root / "a.csv").write_text("url\nnone.jpg\n"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_tells_the_file_of_an_image(tmp_path, kind, jpegs):
    WRITERS[kind](tmp_path, jpegs)
    by_column = {"kind": kind, "column": "url"} if KINDS[kind].by_column else {}
    listed = list_source(str(tmp_path), **by_column)
    source, manifest = listed.source, plan_manifest(listed, 1000).manifest
    assert source.kind == kind
    files = read_shard(source, manifest, 0)["file"].to_pylist()
    assert set(files) == set(manifest["path"].to_pylist())
