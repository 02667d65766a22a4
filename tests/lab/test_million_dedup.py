import pyarrow.parquet as pq

from tests.helpers.command_line import run


def test_planted_copies_are_joined(tmp_path):
    sizes = ["--rows", "5000", "--dimensions", "32", "--output", str(tmp_path)]
    wanted = ["dedup.brute_force_up_to=10", "dedup.similarity=0.95", "ray.workers=0"]
    ran = run("lab", "million-dedup", *sizes, *(f"--set={text}" for text in wanted))
    assert ran.exception is None, ran.output
    pairs = pq.read_table(tmp_path / "dedup" / "attached" / "pairs.parquet")
    assert pairs.num_rows > 300
    assert "planted copy" in ran.output
    assert "5,000 synthetic vectors x 32 joined" in ran.output
