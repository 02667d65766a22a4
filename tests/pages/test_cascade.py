import numpy as np
import pyarrow as pa
import pytest

from pipeline.cascade.by_category import BY_CATEGORY
from pipeline.cascade.funnel import Funnel
from pipeline.cascade.planner import CascadePlan
from pipeline.cascade.saving import saving
from pipeline.images.pictures import Picture
from pipeline.lab.break_even import BreakEven
from pipeline.lab.charts import break_even_chart
from pipeline.pages.cascade import CascadeData, render_cascade
from pipeline.pages.page import render_charts
from pipeline.pages.report import Hit, QueryResult
from tests.helpers.browser import BROKEN_WORDS, in_a_browser, low_contrast, opened

NAME = "‮a folder with a long name/</script><img src=x onerror=alert(1)>\"'.jpg"


@pytest.fixture(scope="module")
def page(jpegs):
    plan = CascadePlan(("signature", "rough"), (40, 8), 400, (0.97, 0.94), 0.91, 0.7, 200)
    funnel = Funnel.empty(plan.stages, 3)
    funnel.kept[:] = np.array([[5000] * 3, [480, 520, 500], [90, 100, 110]])
    funnel.entered[:] = [5000, 5000, 900, 250]
    funnel.made["cnn"] = 30
    funnel.milliseconds[:] = [5.0, 9.0, 500.0, 1500.0]
    rows = funnel.overall((1.0, 1.0, 0.2, 0.04), plan.recalls)
    saved = saving(5000, funnel, False, 20.0)
    keys = [NAME, "b", "c"]
    facts = {"queries": 2, "tested": 50, "asked": 0.9, "recall": 0.94, "bound": 0.875, "kept": 0.07}
    kinds = pa.Table.from_pylist([{"like": NAME} | facts], BY_CATEGORY)
    promise = "recall & more: at least 0.910"
    data = CascadeData(5000, keys, plan, funnel, rows, kinds, promise, saved)
    pictures = [Picture(n, NAME, data) for n, data in enumerate(jpegs)]
    hits = tuple(Hit(p, rank, 1 - rank / 50, None) for rank, p in enumerate(pictures[1:], start=1))
    return render_cascade(data, [QueryResult(pictures[0], hits)])


def test_the_page_tells_the_funnel_and_its_promise(page):
    body = page[page.index("<body>") :]
    for text in (
        "Recall &amp; more: at least 0.910",
        "best 10.00%",
        "measured 18 %, planned 20 %",
        ">0.875<",
    ):
        assert text in body
    assert 'src="http' not in page
    assert "<img src=x" not in page
    # The query, 11 hits, two tables: it turns no other text.
    assert page.count("<bdi>\u202ea folder") == 14


def test_what_is_saved_is_counted_from_the_images_met():
    funnel = Funnel.empty(("signature",), 1)
    funnel.entered[:] = [1000, 1000, 40]
    funnel.made["cnn"] = 25
    told = saving(1000, funnel, False, 60.0)
    assert "needed for 40 of 1,000 images (4.0%), and ran for 25" in told
    assert "960 CNN runs saved, 25.0 times fewer, 58 seconds" in told
    assert "no CNN ran" in saving(1000, funnel, True, 60.0)
    funnel.entered[:] = [1000, 1000, 1000]
    assert "0 CNN runs saved, 0 seconds" in saving(1000, funnel, False, 60.0)


@in_a_browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_bar_is_as_long_as_the_share_it_shows(page, tmp_path, width, scheme):
    (tmp_path / "funnel.html").write_text(page)
    with opened(tmp_path / "funnel.html", width, scheme) as shown:
        tab = shown.tab
        bars = tab.evaluate(
            "[...document.querySelectorAll('.share')].map(axis => axis.firstChild"
            ".getBoundingClientRect().width / axis.clientWidth)"
        )
        loaded = tab.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        overflow, low = shown.overflow(), low_contrast(tab)
        broken = tab.evaluate(BROKEN_WORDS)
    assert shown.problems == []
    assert bars == pytest.approx([1, 1, 0.18, 0.05], abs=0.002)
    assert loaded
    assert overflow <= 0
    assert low == []
    assert broken == []


@in_a_browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_browser_draws_the_break_even(tmp_path, width, scheme):
    even = break_even_chart(BreakEven(np.array([2.0, 1.0, 1.0]), 9.0, 0.2))
    (tmp_path / "bench.html").write_text(render_charts("Bench", [even], ["a note"]))
    with opened(tmp_path / "bench.html", width, scheme) as shown:
        shown.tab.wait_for_selector("#chart-0 .point")
        lines = shown.tab.locator("#chart-0 .scatterlayer .trace").count()
        overflow = shown.overflow()
    assert shown.problems == []
    assert lines == 2
    assert overflow <= 0
