"""What must be light to import: workers without a network, and the settings of a help page."""

import subprocess
import sys

WITHOUT_TORCH = (
    "pipeline.lab.scaling.emulated",
    "pipeline.index.nominate",
    "pipeline.index.gather_part",
    "pipeline.dedup.join_shard",
    "pipeline.search.shard_searcher",
    "pipeline.lab.synthetic_vectors",
    "cluster.shard_map",
    "cluster.lab.tree_merge",
)


def run_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_settings_are_there_at_once():
    code = "import sys, jobs.config\n"
    code += "heavy = {'numpy', 'pyarrow', 'fsspec', 'torch', 'faiss', 'ray'} & set(sys.modules)\n"
    run_python(code + "assert not heavy, heavy")


def test_workers_without_a_network_do_not_import_torch():
    code = "import importlib, sys\n"
    code += f"for name in {WITHOUT_TORCH!r}:\n"
    code += "    importlib.import_module(name)\n"
    code += "    assert 'torch' not in sys.modules, name\n"
    run_python(code)
