"""A contact sheet of a search: each query beside what is most similar. It loads nothing."""

import pyarrow as pa

from pipeline.core.store import Store
from pipeline.images.source import Source
from pipeline.pages.page import TEMPLATES
from pipeline.pages.report import shown_results

MOST_QUERIES, MOST_RESULTS = 100, 100


def contact_sheet(source: Source, store: Store, results: pa.Table, told: str) -> str:
    """Return the page over ``results`` of a search of ``store``, under the sentence ``told``.

    Its pictures are read from ``source``: of the first MOST_QUERIES queries' first MOST_RESULTS.
    """
    best = results.filter(pa.compute.less_equal(results["rank"], MOST_RESULTS))
    shown = shown_results(source, store, best, MOST_QUERIES)
    page = TEMPLATES.get_template("sheet.html.j2")
    return page.render(title="Sluice: what is most similar", told=told, results=shown)
