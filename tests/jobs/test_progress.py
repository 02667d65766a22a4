"""A bar counts every row once, and says so where there is no terminal."""

import time

import pyarrow as pa
import pytest

from jobs import progress
from jobs.config import RayConfig
from jobs.console import errors
from jobs.progress import Bar, bar
from jobs.sitting import Sitting
from pipeline.core.progress import advance
from pipeline.core.shard_stats import shard_stats


def done(shard, rows):
    return pa.table({"shard": [shard], "rows": [rows]})


def test_a_bar_holds_its_name_whole(capsys, monkeypatch):
    for terminal in (True, False):
        monkeypatch.setattr(errors, "_force_terminal", terminal)
        with bar("a[/b] [red]", 1, "[/img]", 1):
            pass
        assert "a[/b] [red]" in capsys.readouterr().err


def test_rows_count_as_they_are_done_and_once():
    shown, counts = Bar("embed", 100, "img", 2), []
    told = [(0, 32), (1, 32), (0, 64), (0, 32), (0, 40)]  # the second worker of 0 begins anew
    for shard, rows in told:
        shown.heard(shard, rows)
        counts.append(shown.task.completed)
    shown.done(done(0, 70))
    shown.done(done(1, 30))  # two that were listed had gone
    assert [*counts, shown.task.completed] == [32, 64, 96, 96, 96, 100]


def test_an_unknown_total_is_foretold_from_the_shards_done():
    shown = Bar("embed", 0, "img", 4)
    shown.heard(0, 5)
    assert shown.line().startswith("embed: 5 img, ")
    shown.done(done(0, 10))
    shown.heard(1, 5)
    assert shown.line().startswith("embed: 15 of 40 img, ")


def test_the_rate_and_the_time_to_come_are_those_of_the_rows_done(monkeypatch):
    shown, clock = Bar("embed", 1000, "img", 2), [0.0]
    monkeypatch.setattr(shown.progress, "get_time", lambda: clock[0])
    monkeypatch.setattr(shown.task, "_get_time", lambda: clock[0])
    shown.task.start_time = 0.0
    for second in (20, 21, 22, 23):  # the workers took 20 s to start
        clock[0] = second
        shown.heard(0, 32 * (second - 19))
    assert shown.line() == "embed: 128 of 1,000 img, 32 img/s, 0:00:23 so far, ETA 0:00:28"


class Lasting:
    """A shard of two batches, the second of which waits for a line to be there."""

    name = "sign"

    def start(self):
        def do(shard):
            advance(4)
            time.sleep(0.1)
            advance(6)
            return shard_stats(shard, 10, time.time())

        return do


@pytest.mark.parametrize("terminal", [False, True])
def test_without_a_terminal_there_are_lines(capsys, monkeypatch, terminal):
    monkeypatch.setattr(progress, "EVERY", 0.01)
    monkeypatch.setattr(errors, "_force_terminal", terminal)
    with Sitting("sign", 20, RayConfig(workers=0)) as sitting:
        sitting.fill(Lasting(), [0, 1])
    told = capsys.readouterr().err
    assert ("sign: 4 of 20 img, " in told) is not terminal
    assert ("\nsign: 20 of 20 img, " in told) is not terminal
    assert ("\x1b[" in told) is terminal
