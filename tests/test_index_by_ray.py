"""An index made and searched by Ray workers is the one made in this process."""

import pyarrow.parquet as pq
import pytest

from jobs.index import index
from jobs.search import search
from tests.test_index import config, digests, in_one_process, synthetic


@pytest.mark.ray
def test_workers_change_no_bit(tmp_path, ray_cluster):
    synthetic(tmp_path / "embeddings")
    index(config(tmp_path))
    search(config(tmp_path, "search.index=true"))
    alone = (f"index.output={tmp_path}/alone", f"search.output={tmp_path}/alone-search")
    with in_one_process():
        index(config(tmp_path, *alone))
        search(config(tmp_path, "search.index=true", *alone))
    assert digests(tmp_path / "index") == digests(tmp_path / "alone")
    answers = [pq.read_table(tmp_path / n / "results.parquet") for n in ("search", "alone-search")]
    assert answers[0].equals(answers[1])
