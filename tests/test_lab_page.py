import pyarrow as pa
import pytest

from pipeline.lab_page import LabData, render_lab
from pipeline.scaling_run import RunSettings, run_row
from pipeline.scaling_simulator import Calibration
from pipeline.scaling_summary import fitted_laws
from tests.browser import in_a_browser, opened
from tests.test_scale import tasks


@pytest.fixture(scope="module")
def page():
    rows = [run_row(RunSettings("emulated", "single", 1, 0, 640, True), tasks(1, 64))]
    for mode in ("strong", "weak"):
        for workers in (1, 2, 4, 8, 16):
            settings = RunSettings("emulated", mode, workers, 0, 640, True)
            rows.append(run_row(settings, tasks(workers, 64)))
    runs = pa.Table.from_pylist(rows)
    names = ("shards", "queries", "k", "certified", "faiss_heap", "tree", "search")
    merge = pa.Table.from_pylist(
        [dict(zip(names, (s, 9, 10, s, s, None, s * 9.0), strict=True)) for s in (1, 10, 100)]
    )
    calibration = Calibration(5.0, 1.0, 0.01, 0.001, 0.5, (0.9, 1.0, 1.2))
    return render_lab(LabData(runs, fitted_laws(runs), calibration, merge))


def test_the_page_loads_nothing_and_says_what_is_emulated(page):
    body = page[page.index("<body>") :]
    assert 'src="http' not in page
    assert "emulated" in body
    assert "extrapolated" in body
    assert "(chosen)" in body


@in_a_browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_moved_slider_changes_the_answer(page, tmp_path, width, scheme):
    path = tmp_path / "lab.html"
    path.write_text(page)
    with opened(path, width, scheme) as shown:
        tab = shown.tab
        tab.wait_for_selector("#chart-3 .scatterlayer path")
        answers = []
        for workers in ("0", "2"):
            tab.locator("#workers").fill(workers)
            facts = tab.locator("#answers dd")
            answers.append({f.get_attribute("data-name"): f.text_content() for f in facts.all()})
        overflow = shown.overflow()
        tab.screenshot(path=tmp_path / "lab.png", full_page=True)
    assert shown.problems == []
    assert overflow <= 0
    assert (answers[0]["workers"], answers[1]["workers"]) == ("1", "100")
    each = 1000 * 0.05 * (0.9 + 1.0 + 1.2) / 3 + 0.01
    assert answers[0]["time"] == f"{(6.5 + 1000 * each) / 3600:.1f} h"
    assert answers[1]["time"] == f"{(6.5 + 10 * each) / 60:.1f} min"
