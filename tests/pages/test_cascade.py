import numpy as np
import pytest

from pipeline.cascade.funnel import Funnel
from pipeline.cascade.planner import CascadePlan
from pipeline.lab.break_even import BreakEven
from pipeline.lab.charts import break_even_chart
from pipeline.pages.cascade import render_cascade
from pipeline.pages.page import render_charts
from pipeline.search.queries import Queries
from tests.helpers.browser import in_a_browser, opened


@pytest.fixture(scope="module")
def page():
    plan = CascadePlan(("signature", "rough"), (40, 8), 400, (0.97, 0.94), 0.91, 0.7, 200)
    funnel = Funnel.empty(plan.stages, 3)
    funnel.kept[:] = np.array([[5000] * 3, [480, 520, 500], [90, 100, 110]])
    funnel.entered[:] = [5000, 5000, 900, 250]
    funnel.milliseconds[:] = [5.0, 9.0, 500.0, 1500.0]
    queries = Queries(
        ["<b>a", "b", "c"], np.arange(3), np.zeros(3, bool), np.zeros((3, 2), np.float32)
    )
    return render_cascade(5000, plan, "recall & more: at least 0.910", funnel, queries)


def test_the_page_tells_the_funnel_and_its_promise(page):
    body = page[page.index("<body>") :]
    for text in ("recall &amp; more: at least 0.910", "10.00%", "2.00%", "0.940", "5,000"):
        assert text in body
    assert 'src="http' not in page


@in_a_browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_browser_draws_the_funnel_and_the_break_even(page, tmp_path, width, scheme):
    even = break_even_chart(BreakEven(np.array([2.0, 1.0, 1.0]), 9.0, 0.2))
    (tmp_path / "funnel.html").write_text(page)
    (tmp_path / "bench.html").write_text(render_charts("Bench", [even], ["a note"]))
    with opened(tmp_path / "funnel.html", width, scheme) as shown:
        tab = shown.tab
        tab.wait_for_selector("#chart-1 .point")
        bars = tab.locator("#chart-0 .point path").count()
        points = tab.locator("#chart-1 .point").count()
        wide = [shown.overflow()]
        tab.goto((tmp_path / "bench.html").as_uri())
        tab.wait_for_selector("#chart-0 .point")
        lines = tab.locator("#chart-0 .scatterlayer .trace").count()
        wide.append(shown.overflow())
    assert shown.problems == []
    assert (bars, points, lines) == (4, 9, 2)
    assert max(wide) <= 0
