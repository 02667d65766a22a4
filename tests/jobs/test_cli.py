import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import jobs
from jobs.commands import HEADINGS, sluice
from jobs.config import Config
from jobs.settings import READY, load_config
from pipeline.core.errors import ConfigError

HEAVY = ("torch", "ray", "faiss", "openvino", "pyarrow", "numpy")
HELP_OF_ALL = f"""
import sys
from pathlib import Path
from click.testing import CliRunner
from tests.jobs.test_cli import paths
from jobs.commands import sluice
told = [CliRunner().invoke(sluice, [*path, "--help"], prog_name="sluice") for path in paths()]
assert all(done.exit_code == 0 for done in told), told
assert len(told) > 30
print(*(name for name in {HEAVY} if name in sys.modules))
"""


def paths(group=sluice, above=()):
    """Every command of the command line, as ("lab", "plan")."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, click.Group):
            yield from paths(found, (*above, name))
        yield (*above, name)


def told(*arguments):
    return CliRunner().invoke(sluice, arguments, prog_name="sluice")


def test_a_commands_path_is_its_files():
    assert {("embed",), ("lab", "million-dedup"), ("bench", "search")} < set(paths())
    folder = Path(jobs.__file__).parent
    groups = {("lab",), ("bench",)}
    for path in set(paths()) - groups:
        assert folder.joinpath(*path[:-1], f"{path[-1].replace('-', '_')}.py").exists()


def test_every_command_is_under_one_heading():
    headed = [name for names in HEADINGS.values() for name in names]
    assert sorted(headed) == sluice.list_commands(click.Context(sluice))
    text = told("--help").output
    places = [text.index(f"{heading}:\n") for heading in HEADINGS]
    assert places == sorted(places)
    assert "Commands:" not in text


def test_a_commands_help_is_its_docstring():
    assert "embed   Embed every image of SOURCE with a CNN.\n" in told("-h").output
    assert "Finished shards are skipped." in told("embed", "-h").output


def test_no_help_waits_for_what_is_heavy():
    done = subprocess.run(
        [sys.executable, "-c", HELP_OF_ALL], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


@pytest.fixture
def embedded(monkeypatch):
    """The configurations that `sluice embed` was called with."""
    seen: list[Config] = []
    monkeypatch.setattr("jobs.embed.embed", seen.append)
    return seen


def test_flags_are_settings_and_come_last(embedded, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("embed:\n  batch_size: 4\n  model: resnet50\nray:\n  workers: 3\n")
    flags = ("--batch-size", "8", "--workers", "0", "--kind", "folder")
    done = told("embed", "/photos #1", *flags, "-c", str(path), "--set", "embed.batch_size=6")
    assert done.exit_code == 0, done.output
    (config,) = embedded
    assert (config.embed.batch_size, config.embed.model) == (8, "resnet50")
    assert (config.source.url, config.source.kind) == (("/photos #1",), "folder")
    assert config.ray.workers == 0
    names = ("embed.batch_size", "embed.model", "source.url", "embed.output")
    origins = [config.origin(name) for name in names]
    assert origins == ["command line", str(path), "command line", "default"]


def test_an_argument_may_be_many_texts(monkeypatch):
    seen: list[Config] = []
    monkeypatch.setattr("jobs.search.search", seen.append)
    told("search", "[a] 1.jpg", "null", "--index", "--k", "3")
    told("search", "--no-index", "--set", "search.index=true")
    assert [config.search.queries for config in seen] == [("[a] 1.jpg", "null"), ()]
    assert [config.search.index for config in seen] == [True, False]
    assert seen[0].search.k == 3


def test_wrong_flags_and_settings_are_told_at_once(embedded):
    done = told("embed", "--batch-size", "0", "--backend", "gpu", "--set", "embed.modle=x")
    assert isinstance(done.exception, ConfigError)
    message = str(done.exception)
    for part in ("3 wrong", "embed.batch_size", "(got '0', command line)", "'cuda'", "modle"):
        assert part in message
    assert not embedded


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("embde",), "Did you mean 'embed'?"),
        (("embed", "--modle", "x"), "Did you mean '--model'?"),
    ],
)
def test_what_is_misspelt_is_guessed(arguments, hint):
    done = told(*arguments)
    assert done.exit_code == 2
    assert hint in done.output


def test_the_version_is_that_of_the_package():
    assert told("--version").output == "sluice, version 0.1.0\n"


def test_config_prints_what_it_reads_back(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("source:\n  url: 'photos: #1'\nsearch:\n  queries: [null.jpg]\n")
    printed = told("config", "-c", str(path), "--set", "embed.batch_size=8").output
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert "batch_size: 8 # --set; default null" in lines
    assert "input_size: null # default" in lines
    assert f"queries: [null.jpg] # {path}; default []" in lines
    kept = tmp_path / "b.yaml"
    kept.write_text(printed)
    again = told("config", "-c", str(kept)).output
    assert [line.partition("#")[0] for line in again.splitlines() if "photos" not in line] == [
        line.partition("#")[0] for line in printed.splitlines() if "photos" not in line
    ]
    assert "url: ['photos: #1']" in again


@pytest.mark.parametrize("command", ["verify", "usage"])
def test_nothing_to_look_after_is_told(command):
    assert "name outputs of jobs" in str(told(command).exception)


def test_a_command_without_a_config_reads_its_ready_one(monkeypatch, tmp_path):
    seen: list[Config] = []
    monkeypatch.setattr("jobs.demo.command", seen.append)
    monkeypatch.chdir(tmp_path)
    told("demo", "--workers", "0")
    told("demo", "-c", "local")
    ready, other = seen
    assert ready.model_dump() == load_config(READY / "demo.yaml", ["ray.workers=0"]).model_dump()
    assert other.search.output == Path("work/local/search")
