"""`sluice search`: the k most similar images of each query, exactly or by an index."""

import os
import sys
from dataclasses import dataclass

import pyarrow as pa

from jobs.config import Config, RayConfig, SearchConfig
from jobs.console import console, print_recall, print_results, warn, warn_of_refused
from jobs.sitting import Sitting, print_more_workers
from pipeline.core.arrays import Mask
from pipeline.core.files import write_atomically
from pipeline.core.folder import Place
from pipeline.core.paths import refuse_unwritable
from pipeline.core.store import Store
from pipeline.core.tables import TABLE_FILES, parquet_bytes
from pipeline.index.search_index import (
    OpenIndex,
    compared_with_everything,
    index_loss,
    open_index,
    search_opened,
    unlike_queries,
)
from pipeline.search.answers import known_copies, recall_table, result_table, without_self
from pipeline.search.batches import exact_loss, search_everything, seconds_of_search
from pipeline.search.condition import Condition
from pipeline.search.copy_recall import CopyRecall
from pipeline.search.merge import Merged
from pipeline.search.passing import Passing, condition_of, passing_images
from pipeline.search.queries import Queries, gather_queries, joined_queries


def command(config: Config) -> None:
    """Find the embedded images most similar to QUERIES."""
    if not config.ray.workers or not config.ray.model_fields_set:
        _leave_pandas_out()
    search(config)


class _NoPandas:
    """An importer that finds no pandas."""

    @staticmethod
    def find_spec(name: str, path: object, target: object = None) -> None:
        if name == "pandas":
            raise ImportError(name)


def _leave_pandas_out() -> None:
    """Make pyarrow do without pandas, which it imports with the first array: half a second.

    It looks for pandas once. In a process of Ray's, pandas is wanted.
    """
    sys.meta_path.insert(0, _NoPandas)
    pa.array([])
    sys.meta_path.remove(_NoPandas)


@dataclass(frozen=True)
class Answer:
    """What was asked, the results, and what the search may have lost, in a sentence."""

    queries: Queries
    results: pa.Table
    recall: list[CopyRecall]
    passing: Passing | None

    @property
    def loss(self) -> str:
        return str(self.results.schema.metadata[b"loss"].decode())


def search(config: Config) -> Answer:
    """Run the job: gather the queries, search every shard, merge, write the results."""
    wanted = config.search
    wanted.refuse_no_queries()
    store = Store.open(config.embed.output.resolve(), "embeddings")
    condition = condition_of(wanted.where, store) if wanted.where is not None else None
    by_index = _by_index(config, store) if wanted.index else None
    output = wanted.output.resolve()
    folder = None if output.suffix in TABLE_FILES else output
    path = folder / "results.parquet" if folder else output
    refuse_unwritable(path.parent)
    ray = _ray(config, store, by_index)
    with Sitting("search", store.images(), ray, folder) as sitting:
        answer = _answer(config, store, condition, by_index, sitting)
        with sitting.stage("write"):
            write_atomically(path, TABLE_FILES[path.suffix](answer.results))
            if folder:
                table = recall_table(answer.recall)
                write_atomically(folder / "recall.parquet", parquet_bytes(table))
    _print(wanted, store, answer, path)
    print_more_workers(sitting.record)
    if wanted.open:
        _open_sheet(config, store, answer, path.with_name(f"{path.name}.html"))
    return answer


def _by_index(config: Config, store: Store) -> OpenIndex:
    asked, root = config.search, config.index.output.resolve()
    return open_index(root, store, asked.k, asked.recall, asked.confidence)


def _answer(
    config: Config,
    store: Store,
    condition: Condition | None,
    by_index: OpenIndex | None,
    sitting: Sitting,
) -> Answer:
    wanted, k = config.search, config.search.k
    with sitting.stage("queries"):
        queries = _queries(config, store, sitting)
    warn_of_refused(queries.refused)
    for line in queries.cut:
        warn(f"longer than the model reads, its end was not asked: {line}")
    passing = _passing(condition, store, sitting)
    if by_index is None:
        spread = sitting.spreading(passing.images if passing else store.images())
        merged = search_everything(spread, store, queries, k + 1, sitting.record, passing)
        ids, scores = without_self(queries, merged, k)
        loss = exact_loss(store, passing)
    else:
        opened = by_index.among(passing) if passing else by_index
        asked = (sitting.spreading(0), opened, queries.vectors, k + 1)
        merged = search_opened(*asked, sitting.record)
        exact = unlike_queries(opened, queries, merged)
        if exact.any():
            merged = _exactly(config, opened, queries, merged, exact, sitting)
        ids, scores = without_self(queries, merged, k)
        loss = index_loss(opened, queries.keys, exact)
    with sitting.stage("keys"):
        results = result_table(store, queries, ids, scores, merged.shards, wanted.min_score)
        recall = known_copies(store, queries, ids, scores, condition)
    return Answer(queries, results.replace_schema_metadata({"loss": loss}), recall, passing)


def _queries(config: Config, store: Store, sitting: Sitting) -> Queries:
    """Return what is asked: images first, then words."""
    wanted, parts = config.search, []
    if wanted.queries or wanted.sample_queries:
        asked = (wanted.queries, wanted.sample_queries, config.embed.weights)
        parts.append(gather_queries(store, *asked, sitting.near_gpu))
    if wanted.text:
        from pipeline.search.text_queries import embed_texts

        parts.append(embed_texts(store, wanted.text, wanted.text_model))
    return joined_queries(parts)


def _exactly(
    config: Config,
    opened: OpenIndex,
    queries: Queries,
    merged: Merged,
    some: Mask,
    sitting: Sitting,
) -> Merged:
    """Return ``merged``, with the exact answers of the queries ``some``."""
    ray = config.ray.for_work_of(opened.seconds_of_all(int(some.sum())))
    rows = opened.embeddings.rows()
    with (
        sitting.stage("compare with everything"),
        Sitting("compare", rows, ray) as alone,
    ):
        return compared_with_everything(
            alone.spread, opened, queries.vectors, merged, some, alone.record
        )


def _print(wanted: SearchConfig, store: Store, answer: Answer, path: Place) -> None:
    left = print_results(answer.results, len(answer.queries.ids), store.images())
    print_recall(answer.recall)
    if answer.passing:
        console.print(
            f"{answer.passing.images:,} of {store.images():,} images pass: {wanted.where}"
        )
    console.print(answer.loss)
    console.print(f"{f'{left:,} more' if left else 'all'} results: {path}")


def _open_sheet(config: Config, store: Store, answer: Answer, page: Place) -> None:
    """Write the results as a page of pictures; open it where there is a screen to see it on."""
    from pipeline.images.manifest import stored_source
    from pipeline.pages.sheet import contact_sheet

    source = stored_source(store, config.source.given())
    write_atomically(page, contact_sheet(source, store, answer.results, answer.loss).encode())
    console.print(f"page: {page}")
    # Without a screen a browser of text would take the terminal over.
    if sys.platform != "linux" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY"))):
        import webbrowser

        webbrowser.open(page.as_uri())


def _passing(condition: Condition | None, store: Store, sitting: Sitting) -> Passing | None:
    """Return which images fulfil ``condition``, None without one."""
    if condition is None:
        return None
    with sitting.stage("where"), Sitting("where", store.images(), sitting.ray) as alone:
        return passing_images(alone.spread, store, condition)


def _ray(config: Config, store: Store, opened: OpenIndex | None) -> RayConfig:
    """Return the settings of Ray, with no workers for what this process does in a few seconds."""
    asked = config.search
    count = (
        asked.sample_queries
        + len(asked.text)
        + sum(len(os.listdir(text)) if os.path.isdir(text) else 1 for text in asked.queries)
    )
    if opened:
        return config.ray.for_work_of(opened.seconds(count))
    numbers = sum(entry.bytes for entry in store.manifest()) // 4
    return config.ray.for_work_of(seconds_of_search(numbers, count))
