"""`sluice bench recall`: what every cheap filter keeps."""

from jobs.console import console, print_arrow, warn
from jobs.lab.config import LabConfig
from pipeline.cascade.calibration_store import STALE, stored_calibration
from pipeline.cascade.neighbours import CALLED
from pipeline.core.files import write_atomically
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.embedding.stored import encoder_settings
from pipeline.lab.charts import filter_page
from pipeline.lab.filter_recall import BOTH, all_filters, by_share, filter_recall


def command(config: LabConfig) -> None:
    """Recall of every cheap filter by what it keeps, on the calibration sample of sign.output."""
    store = Store.open(config.sign.output.resolve(), "signatures")
    stored = stored_calibration(store, encoder_settings(**config.embed.encoder()))
    if not stored.current:
        warn(STALE)
    calibration, output = stored.calibration, config.cascade.output.resolve()
    images = calibration.sample.num_rows
    share = images / store.images()
    found = {who: filter_recall(calibration, who, config.search.k, share) for who in BOTH}
    for who, table in found.items():
        print_arrow(f"recall of {CALLED[who]}, by share kept of {images} images", by_share(table))
    write_atomically(output / "filters.parquet", parquet_bytes(all_filters(found)))
    write_atomically(output / "filters.html", filter_page(found).encode())
    console.print(f"{output}/filters.parquet, {output}/filters.html")
