from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cascade.costs import RECALL_COSTS, RECALLS
from pipeline.core.errors import StoreError
from pipeline.core.forecast import PoolCosts
from pipeline.lab.page import render_lab
from pipeline.lab.page_data import LabData, in_and_out
from pipeline.lab.scaling.experiment import Experiment
from pipeline.lab.scaling.run import RunSettings, run_row
from pipeline.lab.scaling.summary import fitted_laws
from pipeline.pages.growth import Exponent, Growth
from tests.helpers.browser import in_a_browser, opened
from tests.helpers.command_line import run
from tests.helpers.scaling import tasks

WAYS = ("all pairs", "bucketed join", "scan", "probe of sqrt(N) buckets", "graph (HNSW)")
WAYS += ("k-d tree, PCA-8", "sorted key")


def growth():
    rows, exponents = [], []
    for number, way in enumerate(WAYS):
        power = 2 - number / 3
        counts = [2**power for power in range(10, 19)]
        rows += [{"way": way, "vectors": n, "seconds": 1e-7 * n**power} for n in counts]
        facts = {"way": way, "theory": "O(?)", "value": power, "low": power, "high": power}
        exponents.append(Exponent(**facts, points=3))
    return Growth(pa.Table.from_pylist(rows), exponents)


def recall_costs():
    """The more recall, the more images reach the CNN; nothing is proved above 0.97."""
    rows = []
    for recall in RECALLS:
        if recall <= 0.97:
            stages = (("signature", 1.0, 0.001), ("rough", recall / 2, 0.5))
            stages += (("cnn", recall / 4, 6.0),)
        else:
            stages = (("cnn", 1.0, 6.0),)
        bound = recall + 0.01 if len(stages) > 1 else 1.0
        rows += [(recall, bound, *stage, 3) for stage in stages]
    return pa.Table.from_pylist(
        [dict(zip(RECALL_COSTS.names, row, strict=True)) for row in rows], RECALL_COSTS
    )


FUNNEL = pa.table(
    {"stage": ["metadata", "signature", "rough", "cnn"], "entered": [20000, 18000, 4210, 935]}
)


@pytest.fixture(scope="module")
def data():
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
    pool = PoolCosts(6.0, 1.0, 0.01, 0.001, 0.5, (0.9, 1.0, 1.2))
    more = (merge, growth(), in_and_out(FUNNEL, 30), recall_costs(), 0.9)
    return LabData(runs, fitted_laws(runs), pool, *more)


@pytest.fixture(scope="module")
def page(data):
    return render_lab(data)


@pytest.fixture(scope="module")
def bare(data):
    return render_lab(LabData(data.runs, data.laws, data.pool, *[None] * 4, 0.9))


def body(page):
    return page[page.index("<body>") :]


def test_the_page_loads_nothing_and_says_what_is_emulated(page):
    assert 'src="http' not in page
    for text in ("emulated", "extrapolated", "measured", "(chosen)", "935", "all pairs: N^2.00"):
        assert text in body(page)
    assert "Not on this page" not in body(page)


def test_what_is_not_there_is_left_out_with_its_command(bare):
    for name in ("lab growth", "bench merge", "cascade"):
        assert f"<code>sluice {name}</code>" in body(bare)
    assert 'id="recall"' not in body(bare)
    assert body(bare).count('class="chart"') == 3


def test_out_of_a_stage_goes_into_the_next():
    found = in_and_out(FUNNEL, 30)
    assert found["into"].to_pylist() == [20000, 18000, 4210, 935]
    assert found["out_of"].to_pylist() == [18000, 4210, 935, 30]


def test_the_job_reads_what_other_jobs_left(measured, data, tmp_path):
    def lab():
        sets = [f"scale.output={measured}", f"cascade.output={tmp_path}/cascade"]
        sets += [f"page.output={tmp_path}/lab.html", f"growth.output={tmp_path}/growth"]
        sets += [f"bench_merge.output={tmp_path}/merge"]
        ran = run("lab", "page", *(f"--set={text}" for text in sets))
        if ran.exception:
            raise ran.exception
        return body((tmp_path / "lab.html").read_text())

    with pytest.raises(StoreError, match="run sluice lab scale again"):
        lab()
    for name in ("runs", "laws"):
        pq.write_table(getattr(data, name), measured / f"{name}.parquet")
    assert lab().count("Not on this page") == 1
    for name in ("cascade", "growth", "merge"):
        (tmp_path / name).mkdir()
    pq.write_table(FUNNEL, tmp_path / "cascade" / "funnel.parquet")
    pq.write_table(pa.table({"id": [4, 7, 4]}), tmp_path / "cascade" / "results.parquet")
    pq.write_table(data.recall_costs, tmp_path / "cascade" / "recall_costs.parquet")
    pq.write_table(data.growth.points, tmp_path / "growth" / "points.parquet")
    fitted = pa.Table.from_pylist([asdict(one) for one in data.growth.exponents])
    pq.write_table(fitted, tmp_path / "growth" / "exponents.parquet")
    pq.write_table(data.merge, tmp_path / "merge" / "merge.parquet")
    whole = lab()
    assert "Not on this page" not in whole
    assert whole.count('class="chart"') == 6
    (tmp_path / "growth" / "points.parquet").write_bytes(b"torn")
    with pytest.raises(StoreError, match="run sluice lab growth again"):
        lab()


def test_runs_made_before_a_setting_was_added_are_read_with_its_default(measured_before, tmp_path):
    runs = Experiment.of(measured_before).table()
    for name, table in (("runs", runs), ("laws", fitted_laws(runs))):
        pq.write_table(table, measured_before / f"{name}.parquet")
    outputs = {"scale": measured_before, "page": tmp_path / "lab.html"}
    outputs |= {name: tmp_path / name for name in ("bench_merge", "growth", "cascade")}
    sets = [f"--set={name}.output={path}" for name, path in outputs.items()]
    ran = run("lab", "page", *sets)
    assert ran.exception is None
    assert "extrapolated" in body((tmp_path / "lab.html").read_text())


@in_a_browser
@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
)
def test_a_moved_slider_changes_the_answer(page, tmp_path, width, scheme):
    path = tmp_path / "lab.html"
    path.write_text(page)
    with opened(path, width, scheme) as shown:
        tab = shown.tab
        tab.wait_for_selector("#chart-5 .bars path")

        def answers(**sliders):
            for name, value in sliders.items():
                tab.locator(f"#{name}").fill(value)
            facts = tab.locator("#answers dd").all()
            return {fact.get_attribute("data-name"): fact.text_content() for fact in facts}

        first = answers()
        every = [answers(recall="1", workers=workers) for workers in ("0", "2")]
        less = answers(recall="0.8")
        dearer = answers(ms="100")
        overflow = shown.overflow()
        tab.screenshot(path=tmp_path / "lab.png", full_page=True)
    assert shown.problems == []
    assert shown.requests == [path.as_uri()]
    assert overflow <= 0
    straggler = (0.9 + 1.0 + 1.2) / 3
    each = 1000 * 0.05 * straggler + 0.01
    assert (every[0]["workers"], every[1]["workers"]) == ("1", "100")
    assert every[0]["time"] == f"{(6.5 + 1000 * each) / 3600:.1f} h"
    assert every[1]["time"] == f"{(6.5 + 10 * each) / 60:.1f} min"
    assert every[1]["images reaching the CNN"] == "1,000,000 (100\u00a0%)"
    assert every[1]["recall proved, at least"] == "1, all compared"
    assert first["recall asked for"] == "0.90"
    assert first["images reaching the CNN"] == "225,000 (22.5\u00a0%)"
    assert less["images reaching the CNN"] == "200,000 (20.0\u00a0%)"
    assert less["images reaching rough"] == "400,000 (40.0\u00a0%)"
    assert less["recall proved, at least"] == "0.810"
    for found, cnn in ((less, 50), (dearer, 100)):
        mean = 0.001 + 0.4 * 0.5 + 0.2 * cnn
        total = 6.5 + 10 * (1000 * mean / 1000 * straggler + 0.01)
        assert found["ms an image, mean of all"] == f"{mean:.1f}"
        assert found["time"] == (f"{total:.1f} s" if total < 120 else f"{total / 60:.1f} min")
        assert found["cost, worker-hours"] == f"{100 * total / 3600:.2f}"


@in_a_browser
def test_without_evidence_the_other_sliders_work(bare, tmp_path):
    path = tmp_path / "lab.html"
    path.write_text(bare)
    with opened(path, 390, "dark") as shown:
        before = shown.tab.locator("#answers").text_content()
        shown.tab.locator("#ms").fill("150")
        after = shown.tab.locator("#answers").text_content()
        overflow = shown.overflow()
    assert shown.problems == []
    assert overflow <= 0
    assert before != after
