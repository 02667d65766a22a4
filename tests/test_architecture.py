"""Workers that run no network do not load torch: it costs each of them seconds and memory."""

import subprocess
import sys

WITHOUT_TORCH = (
    "pipeline.lab.scaling.emulated",
    "pipeline.lab.scaling.emulated_stages",
    "pipeline.index.shard_prober",
    "pipeline.index.shard_indexer",
    "pipeline.dedup.join_shard",
    "pipeline.search.shard_searcher",
    "pipeline.lab.synthetic_vectors",
    "cluster.shard_map",
    "cluster.lab.tree_merge",
)


def test_workers_without_a_network_do_not_import_torch():
    code = "import importlib, sys\n"
    code += f"for name in {WITHOUT_TORCH!r}:\n"
    code += "    importlib.import_module(name)\n"
    code += "    assert 'torch' not in sys.modules, name\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
