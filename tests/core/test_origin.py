import re
from datetime import datetime

from pipeline.core.origin import VERSION, machine
from pipeline.core.run_record import RunRecord, read_runs


def test_a_record_says_when_where_and_by_which_version(tmp_path):
    assert re.search(r", \d+ cores?$", machine())
    RunRecord("embed", 1, 0).save(tmp_path)
    [kept] = read_runs(tmp_path)
    assert (kept.version, kept.machine) == (VERSION, machine())
    assert datetime.fromisoformat(kept.ended).utcoffset().total_seconds() == 0
