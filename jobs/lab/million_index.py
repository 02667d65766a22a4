"""`sluice lab million-index`: a million synthetic vectors in an index, for one query's time."""

from jobs.index import index
from jobs.lab.config import LabConfig
from jobs.sitting import Sitting, one_session
from jobs.usage import print_usage
from pipeline.lab.synthetic_vectors import SyntheticSettings, synthetic_store


def command(config: LabConfig) -> None:
    """Index 1,000,000 synthetic vectors, of which sluice search id:0 --index then asks.

    Break it off at will, the next sitting goes on. The embeddings and the index lie in the output.
    """
    wanted = config.million_index
    rows, dimensions, output = wanted.rows, wanted.dimensions, wanted.output.resolve()
    settings = SyntheticSettings(rows, max(1000, rows // 50), dimensions, max(10, rows // 200))
    update = {
        "embed": config.embed.model_copy(update={"output": output / "embeddings"}),
        "index": config.index.model_copy(update={"output": output / "index"}),
    }
    with one_session(config.ray):
        with Sitting("make vectors", 0, config.ray) as sitting:
            synthetic_store(output / "embeddings", settings, sitting.spread, sitting.record)
        index(config.model_copy(update=update))
    print_usage((output / "embeddings", output / "index"))
