"""`sluice search`: the k most similar images of each query, exactly or by an index."""

import pyarrow as pa

from jobs.config import Config
from jobs.console import console, print_arrow, print_recall, warn_of_refused
from jobs.sitting import Sitting
from pipeline.core.files import write_atomically
from pipeline.core.store import Store
from pipeline.core.tables import parquet_bytes
from pipeline.index.probes import open_probing, probe_buckets, probing_loss
from pipeline.search.answers import known_copies, recall_table, result_table, without_self
from pipeline.search.batches import search_everything
from pipeline.search.queries import gather_queries

SHOWN = 5  # queries
SHOWN_RESULTS = 10  # of each


def command(config: Config) -> None:
    """Find the embedded images most similar to QUERIES."""
    search(config)


def search(config: Config) -> None:
    """Run the job: gather the queries, search every shard, merge, write the results."""
    wanted = config.search
    wanted.refuse_no_queries()
    store = Store.open(config.embed.output.resolve(), "embeddings")
    output = wanted.output.resolve()
    probing = None
    if wanted.index:
        root = config.index.output.resolve()
        probing = open_probing(root, store, wanted.k, wanted.recall, wanted.confidence)
    with Sitting("search", store.images(), config.ray, output) as sitting:
        with sitting.stage("queries"):
            queries = gather_queries(
                store, wanted.queries, wanted.sample_queries, config.embed.weights, sitting.near_gpu
            )
        warn_of_refused(queries.refused)
        spread, record, k = sitting.spread, sitting.record, wanted.k
        if probing is None:
            merged = search_everything(spread, store, queries, k + 1, record)
        else:
            merged = probe_buckets(spread, probing, store, queries, k + 1, record)
        ids, scores = without_self(queries, merged, k)
        with sitting.stage("write"):
            loss = probing_loss(probing)
            results = result_table(store, queries, ids, scores)
            results = results.replace_schema_metadata({"loss": loss})
            recall = known_copies(store, queries, ids, scores)
            write_atomically(output / "results.parquet", parquet_bytes(results))
            write_atomically(output / "recall.parquet", parquet_bytes(recall_table(recall)))
    left = print_results(results, len(queries.ids), store.images())
    print_recall(recall)
    console.print(loss)
    console.print(f"{f'{left:,} more' if left else 'all'} results: {output}/results.parquet")


def print_results(results: pa.Table, queries: int, images: int) -> int:
    """Print the first results of the first queries; return how many are not shown."""
    first = pa.compute.is_in(results["query"], results["query"].unique()[:SHOWN])
    top = pa.compute.less_equal(results["rank"], SHOWN_RESULTS)
    columns = ["query", "rank", "id", "key", "score"]
    shown = results.select(columns).filter(pa.compute.and_(first, top))
    few = "1 query" if queries == 1 else f"{queries} queries"
    asked = f"the first {SHOWN} of {queries} queries" if queries > SHOWN else few
    print_arrow(f"{asked}, {images} images", shown)
    return int(results.num_rows - shown.num_rows)
