import pyarrow.parquet as pq
from click.testing import CliRunner

from jobs.lab.million_dedup import command


def test_planted_copies_are_joined(tmp_path):
    sizes = ["--rows", "5000", "--dimensions", "32", "--output", str(tmp_path)]
    wanted = ["dedup.brute_force_up_to=10", "dedup.similarity=0.95", "ray.workers=0"]
    run = CliRunner().invoke(command, [*sizes, *(f"--set={text}" for text in wanted)])
    assert run.exception is None, run.output
    pairs = pq.read_table(tmp_path / "dedup" / "attached" / "pairs.parquet")
    assert pairs.num_rows > 300
    assert "planted copy" in run.output
    assert "5,000 synthetic vectors x 32 joined" in run.output
