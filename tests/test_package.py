"""What `pip install .` takes elsewhere is all that the commands need."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("sluice", "jobs", "pipeline", "cluster", "configs")
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with what the wheel holds."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-c", BUILD, folder], cwd=source, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        files.extractall(folder)
    return folder


def test_the_wheel_holds_every_file_but_those_of_deployment(installed):
    files = {
        path.relative_to(ROOT)
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and "deploy" not in path.parts
    }
    assert Path("configs/demo.yaml") in files
    assert [path for path in sorted(files) if not (installed / path).exists()] == []


def run(installed, folder, *command):
    environment = os.environ | {"PYTHONPATH": str(installed)}
    asked = [sys.executable, *command]
    return subprocess.check_output(asked, cwd=folder, env=environment, text=True)


def test_an_installed_command_finds_its_own_files_from_any_folder(installed, tmp_path):
    where = run(installed, tmp_path, "-c", "import jobs.settings; print(jobs.settings.READY)")
    assert Path(where.strip()) == installed / "configs"
    told = run(installed, tmp_path, "-m", "jobs", "config", "-c", "demo")
    assert "output: work/demo/embeddings" in told
