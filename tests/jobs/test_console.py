"""What is printed is data: no file's name is markup, an emoji or a style."""

import os
import subprocess
import sys

import pytest

from jobs import __main__, commands, console
from pipeline.core.errors import InputError
from tests.helpers.command_line import run
from tests.helpers.images import write_tar

NAMES = ("[artist] one.jpg", "a[/b].jpg", ":cat:.jpg")
HOW = ("read", "odd")


def test_a_table_holds_names_whole(capsys):
    console.print_table("[title]", ("[red]", "n"), [(name, 1) for name in NAMES])
    told = capsys.readouterr().out
    assert all(name in told for name in ("[title]", "[red]", *NAMES))


def test_lines_and_warnings_hold_names_whole(capsys):
    for name in NAMES:
        console.console.print(f"page: {name}")
        console.errors.print(f"read: {name}")
        console.warn(f"odd: {name}")
    told = capsys.readouterr()
    assert told.out.splitlines() == [f"page: {name}" for name in NAMES]
    assert told.err.splitlines() == [f"{how}: {n}" for n in NAMES for how in HOW]


@pytest.mark.parametrize("name", NAMES)
def test_an_error_holds_the_name_whole_and_on_one_line(name, capsys, monkeypatch):
    told = f"{name} is {100 * 'very '}odd; mend it"

    def fail(**_):
        raise InputError(told)

    monkeypatch.setattr(commands, "sluice", fail)
    with pytest.raises(SystemExit, match="3"):
        __main__.run()
    assert capsys.readouterr().err == f"error: {told}\n"


def test_a_search_of_images_with_such_names(tmp_path, jpegs, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("source", "q["):
        (tmp_path / folder).mkdir()
    write_tar(tmp_path / "source" / "x.tar", dict(zip(NAMES, jpegs, strict=False)))
    (tmp_path / "q[" / "x] :cat:.jpg").write_bytes(jpegs[1])
    (tmp_path / "q[" / "no] image.jpg").write_bytes(b"no image")
    made = ("embed.output=e", "search.output=s", "embed.input_size=64", "ray.workers=0")
    settings = [part for text in made for part in ("--set", text)]
    assert run("embed", "source", *settings).exit_code == 0
    found = run("search", "q[/x] :cat:.jpg", *settings)
    assert found.exit_code == 0
    assert all(name in found.stdout for name in ("q[/x] :cat:.jpg", *NAMES))
    refused = run("search", "q[/no] image.jpg", *settings).exception
    assert isinstance(refused, InputError)
    assert "q[/no] image.jpg" in str(refused)


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_name_the_screen_cannot_show_ends_nothing(encoding):
    """A terminal of the C locale, and a file name whose bytes are no text."""
    code = (
        "from jobs.console import print_error, print_table, warn\n"
        "name = 'd\\xe9j\\xe0 caf\\udce9.jpg'\n"
        "print_table(name, ('key',), [(name,)])\n"
        "warn(name)\n"
        "print_error(ValueError(name))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": f"{encoding}:strict"},
    )
    assert done.returncode == 0, done.stderr
    told = "d\\xe9j\\xe0" if encoding == "ascii" else "déjà"
    assert done.stdout.decode().count(f"{told} caf\\udce9.jpg") == 2
    assert done.stderr.decode().count(f"{told} caf\\udce9.jpg") == 2
