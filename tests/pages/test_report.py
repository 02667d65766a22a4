import numpy as np
import pyarrow as pa
import pytest

from pipeline.images.pictures import Picture
from pipeline.pages.growth import Growth, fit_exponent
from pipeline.pages.report import Hit, QueryResult, ReportData, StageTime, render_report
from pipeline.search.copy_recall import CopyRecall
from tests.helpers.browser import in_a_browser, low_contrast, opened


def growth():
    ways = {"scan": ("O(N)", lambda n: 1e-8 * n), "tree": ("O(log N)", lambda n: 1e-8 * n**0.11)}
    sizes = [1024, 2048, 4096]
    rows = [
        {"way": way, "theory": theory, "per": "1 query", "vectors": size, "seconds": cost(size)}
        for way, (theory, cost) in ways.items()
        for size in sizes
    ]
    table = pa.Table.from_pylist(rows)
    seconds = table["seconds"].to_numpy().reshape(2, 3)
    fitted = [
        fit_exponent(way, theory, np.array(sizes), mine)
        for (way, (theory, _)), mine in zip(ways.items(), seconds, strict=True)
    ]
    return Growth(table, fitted)


@pytest.fixture(scope="module")
def page(jpegs):
    pictures = [Picture(n, f"<script>alert({n})</script>", data) for n, data in enumerate(jpegs)]
    hits = tuple(
        Hit(picture, rank, 1 - rank / 50, "crop" if rank < 4 else None)
        for rank, picture in enumerate(pictures[2:], start=1)
    )
    return render_report(
        ReportData(
            title="Test",
            facts=[("images", "12"), ("model", "a & b")],
            results=[QueryResult(pictures[0], hits), QueryResult(pictures[1], hits[:3])],
            stages=[StageTime("embed", "start-up", 3.5), StageTime("search", "merge", 0.01)],
            recall=[CopyRecall("all", 10, 17, 20), CopyRecall("crop", 10, 7, 10)],
            quarantine=[("truncated", 2)],
            growth=growth(),
        )
    )


def test_names_are_escaped_and_nothing_is_loaded(page):
    body = page[page.index("<body>") :]
    assert "<script>alert" not in body
    assert "&lt;script&gt;alert(2)" in body
    assert 'src="http' not in page
    assert 'href="http' not in body


def test_without_copies_and_quarantine_it_says_so():
    page = render_report(ReportData("Test", [], [], [], [], []))
    assert "no recall of copies to show" in page
    assert "none was quarantined" in page
    assert "grows with the collection" not in page


def test_measured_growth_has_its_exponents(page):
    assert "Measured by sluice lab growth" in page
    rows = page[page.index("<th>exponent, measured</th>") :]
    assert "<td>scan</td><td>1.00</td><td>1.00 to 1.00</td><td>O(N)</td>" in rows
    assert "<td>O(log N), here N^0.13</td><td>1 query</td><td>3</td>" in rows


@in_a_browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_browser_draws_pictures_and_charts(page, tmp_path, width, scheme):
    path = tmp_path / "report.html"
    path.write_text(page)
    with opened(path, width, scheme) as shown:
        tab = shown.tab
        tab.wait_for_selector("#chart-1 .point path")
        widths = tab.evaluate("[...document.images].map(image => image.naturalWidth)")
        bars = tab.evaluate(
            "[...document.querySelectorAll('.barlayer .point path')].map(bar => bar.getBBox())"
            ".filter(box => box.width > 0 && box.height > 0).length"
        )
        tab.wait_for_selector("#chart-2 .scatterlayer .trace")
        lines = tab.locator("#chart-2 .scatterlayer .trace").count()
        overflow, low = shown.overflow(), low_contrast(tab, but=".bartext-inside")
        copies = tab.locator("figure.copy").count()
    assert shown.problems == []
    assert [url for url in shown.requests if url.startswith("http")] == []
    assert len(widths) == 15
    assert min(widths) > 0
    assert bars == 4
    assert lines == 2
    assert overflow <= 0
    assert low == []
    assert copies == 6
