"""`sluice bench-filters`: recall against keep rate of every cheap filter."""

import click
import pyarrow as pa

from jobs.cli import with_config
from jobs.config import Config
from jobs.console import console, print_table, warn
from pipeline.cascade.calibration import CALLED, Neighbours
from pipeline.cascade.calibration_store import STALE, stored_calibration
from pipeline.core.files import write_atomically
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.embedding.stored import encoder_settings
from pipeline.lab.charts import filter_page
from pipeline.lab.filter_recall import SHARES, filter_recall

BOTH: tuple[Neighbours, ...] = ("semantic", "copies")


@click.command()
@with_config
def command(config: Config) -> None:
    """Measure on the calibration sample of sign.output; write filters.parquet and a chart."""
    store = Store.open(config.sign.output.resolve(), "signatures")
    stored = stored_calibration(store, encoder_settings(**config.embed.encoder()))
    if not stored.current:
        warn(STALE)
    calibration = stored.calibration
    share = calibration.sample.num_rows / store.images()
    found = {who: filter_recall(calibration, who, config.search.k, share) for who in BOTH}
    for who, table in found.items():
        names = list(dict.fromkeys(table["filter"].to_pylist()))
        recalls = table["recall"].to_pylist()
        rows = [(n, *recalls[i * len(SHARES) :][: len(SHARES)]) for i, n in enumerate(names)]
        title = f"recall of {CALLED[who]}, by share kept of {calibration.sample.num_rows} images"
        print_table(title, ("filter", *(f"{share:.1%}" for share in SHARES)), rows)
    whole = pa.concat_tables(
        [t.append_column("neighbours", pa.array([w] * t.num_rows)) for w, t in found.items()]
    )
    output = config.cascade.output.resolve()
    write_atomically(output / "filters.parquet", parquet_bytes(whole))
    write_atomically(output / "filters.html", filter_page(found).encode())
    console.print(f"{output}/filters.parquet, {output}/filters.html")
