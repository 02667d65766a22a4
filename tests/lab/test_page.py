import json
import re
from dataclasses import asdict, replace

import altair as alt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cascade.costs import RECALL_COSTS, RECALLS
from pipeline.core.errors import StoreError
from pipeline.core.forecast import PoolCosts, Shards, forecast, stops_helping
from pipeline.core.measured import Measured, measured_here, write_measured
from pipeline.lab.claims import CLAIMS_SCHEMA
from pipeline.lab.page import render_lab
from pipeline.lab.page_data import CASCADE, SCALE, Job, LabData, Made, made_by
from pipeline.lab.page_tables import forecast_grid
from pipeline.lab.scaling.experiment import Experiment
from pipeline.lab.scaling.run import RunSettings, run_row
from pipeline.lab.scaling.summary import fitted_laws
from pipeline.pages.growth import Exponent, Growth
from tests.helpers.browser import BROKEN_WORDS, in_a_browser, low_contrast, opened
from tests.helpers.command_line import run
from tests.helpers.scaling import tasks

WAYS = ("all pairs", "bucketed join", "scan", "probe of sqrt(N) buckets", "graph (HNSW)")
WAYS += ("k-d tree, PCA-8", "sorted key")
POOL = PoolCosts(6.0, 1.0, 0.01, 0.001, 0.5, (0.9, 1.0, 1.2))
REAL = "a real search's"
FIELDS = ("images", "ms")
EVIL = "</script><img src=x onerror=alert(1)><!--<script>"
SECTIONS = ("claims", "growth", "funnel", "merge", "nearest")
# Neither eval nor an address: what Vega needs of a page's policy, and a page at file:// has.
POLICY = (
    "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:\">"
)


def growth():
    rows, exponents = [], []
    for number, way in enumerate(WAYS):
        power, per = 2 - number / 3, "all vectors" if number < 2 else "1 query"
        facts = {"way": way, "theory": "O(?)"}
        counts = [2**power for power in range(10, 19)]
        rows += [facts | {"per": per, "vectors": n, "seconds": 1e-7 * n**power} for n in counts]
        exponents.append(
            Exponent(**facts, value=power, low=power - 0.1, high=power + 0.1, points=9)
        )
    return Growth(pa.Table.from_pylist(rows), exponents)


def claims():
    facts = dict.fromkeys(CLAIMS_SCHEMA.names) | {"scenario": "filtering", "unit": "times"}
    here = {"here": 12.5, "low": 10.0, "high": 14.0, "how": f"measured {EVIL}: {CASCADE}"}
    rows = [
        facts | {"claim": f"35x {EVIL}", "claimed": 35.0, "verdict": "its sums are off"} | here,
        facts | {"claim": "another", "claimed": 2.0, "verdict": "not measured", "how": ""},
    ]
    rows[0]["make_it"], rows[1]["make_it"] = "", "sluice bench search"
    return pa.Table.from_pylist(rows, CLAIMS_SCHEMA)


def nearest():
    names = ("workers", "latency", "scheduling", "slowest_shard", "merge", "points")
    rows = [(0, 0.58, 0.0, 0.58, 0.0, 20_000), (1, 3.8, 2.9, 0.6, 0.3, 20_000)]
    rows += [(8, 9.8, 8.9, 0.1, 0.8, 20_000)]
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])


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
    {
        "stage": ["metadata", "signature", "rough", "cnn"],
        "entered": [20000, 18000, 4210, 935],
        "planned": [1.0, 0.9, 0.2, 0.05],
        "measured": [1.0, 0.9, 0.2105, 0.04675],
    }
)


@pytest.fixture(scope="module")
def bare():
    rows = [run_row(RunSettings("emulated", "single", 1, 0, 640, True), tasks(1, 64))]
    for mode in ("strong", "weak"):
        for workers in (1, 2, 4, 8, 16):
            settings = RunSettings("emulated", mode, workers, 0, 640, True)
            rows.append(run_row(settings, tasks(workers, 64)))
    runs = pa.Table.from_pylist(rows)
    made = {name: Made(f"sluice {name}", "2026-11-25, one core") for name in (*SECTIONS, "runs")}
    job = Job(1_000_000, 50.0, 100, Shards())
    told = ("one core", "2026-11-25", "0.1.0", SCALE)
    measured = Measured("emulated", POOL, 50.0, *told)
    return LabData(job, measured, runs, fitted_laws(runs), made=made)


@pytest.fixture(scope="module")
def data(bare):
    rows = []
    for shards, queries in ((1, 1), (10, 1), (1, 9), (10, 9)):
        facts = {"shards": shards, "queries": queries, "k": 10, "tree": None}
        cost = shards * queries * 1e-6
        facts |= {"certified": cost, "faiss_heap": cost / 10, "search": 90 * cost}
        real = {"searched_certified": 2 * cost, "searched_search": 90 * cost}
        rows.append(facts | (real if queries > 1 else dict.fromkeys(real)))
    merge = pa.Table.from_pylist(rows)
    return replace(
        bare,
        merge=merge,
        nearest=nearest(),
        growth=growth(),
        funnel=FUNNEL,
        recall_costs=recall_costs(),
        claims=claims(),
    )


@pytest.fixture(scope="module")
def page(data):
    return render_lab(data)


def body(page):
    return page[page.index("<body>") : page.index('<script type="application/json"')]


def inside(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_page_is_small_loads_nothing_and_names_what_made_each_chart(page):
    assert len(page.encode()) < 2_000_000
    assert 'src="http' not in page
    assert "<img src=x" not in page
    assert "&lt;/script&gt;" in body(page)
    figures = re.findall(r"<figure.*?</figure>", body(page), re.DOTALL)
    assert len(figures) == 9
    for figure in figures:
        assert re.search(r'class="kind (measured|emulated|extrapolated)">\1<', figure)
        by = re.search(r'<p class="by">(.*)</p>', figure)[1]
        assert "sluice " in by
        assert "2026-11-25" in by
        assert "one core" in by
    assert "Not measured yet" not in page
    for text in ("all pairs: N^2.00 (1.90 to 2.10)", "12.5", "(10 to 14)", "its sums are off"):
        assert text in body(page)


def test_what_is_not_there_says_which_command_makes_it(bare):
    made = body(render_lab(replace(bare, runs=None, laws=None)))
    commands = ("lab claims", "lab growth", "cascade", "lab scale", "bench merge", "bench nearest")
    for command in commands:
        assert f"Not measured yet: <code>sluice {command}</code> makes it" in made
    assert made.count('class="vega"') == 2


def test_the_specs_are_vega_lites(page):
    for spec in inside(page)["specs"].values():
        alt.Chart.from_dict(spec)


def test_the_tables_in_the_page_are_the_forecasts():
    grid = forecast_grid(POOL, "embedding", 300_000, 7.0, Shards())
    axes, at = grid["axes"], [300_000, 7.0, 96]
    images, ms, workers = (axes[name].index(value) for name, value in zip(axes, at, strict=True))
    cell = (images * len(axes["ms"]) + ms) * len(axes["workers"]) + workers
    row = forecast(POOL, *at).to_pylist()[0]
    for name, values in grid["values"].items():
        assert values[cell] == pytest.approx(row[name], rel=1e-4)
    stop = stops_helping(POOL, 300_000, 7.0, work="embedding")
    assert grid["stops"][images * len(axes["ms"]) + ms] == {
        "workers": stop.workers,
        "reason": stop.reason,
    }


def test_without_a_record_the_files_day_is_told(tmp_path):
    path = tmp_path / "runs.parquet"
    assert made_by(SCALE, path).told == "not run yet"
    path.write_bytes(b"")
    assert re.match(r"file of \d{4}-\d\d-\d\d, its machine", made_by(SCALE, path).told)


def test_the_job_reads_what_other_jobs_left(measured, data, tmp_path):
    def lab():
        names = ("cascade", "growth", "bench_merge", "bench_nearest", "claims")
        sets = [f"{name}.output={tmp_path}/{name}" for name in names]
        sets += [f"page.output={tmp_path}/lab.html", f"scale.output={measured}"]
        ran = run("lab", "page", "--images", "2e6", *(f"--set={text}" for text in sets))
        if ran.exception:
            raise ran.exception
        return (tmp_path / "lab.html").read_text()

    bare = lab()
    assert inside(bare)["job"] == {"images": 2_000_000, "ms": 50.0, "workers": 100}
    assert body(bare).count("Not measured yet") == 6
    assert "not yours" in body(bare)
    scaled = Experiment.of(measured).table()
    for name, table in (("runs", scaled), ("laws", fitted_laws(scaled))):
        pq.write_table(table, measured / f"{name}.parquet")
    write_measured(measured / "measured.yaml", measured_here("embed", POOL, 12.5, SCALE))
    assert inside(lab())["job"]["ms"] == 12.5
    assert "not yours" not in body(lab())
    fitted = pa.Table.from_pylist([asdict(one) for one in data.growth.exponents])
    tables = {"cascade/funnel": FUNNEL, "cascade/recall_costs": data.recall_costs}
    tables |= {"growth/points": data.growth.points, "growth/exponents": fitted}
    tables |= {"bench_merge/merge": data.merge, "bench_nearest/nearest": data.nearest}
    for name, table in (tables | {"claims/claims": data.claims}).items():
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table, path)
    assert "Not measured yet" not in lab()
    (tmp_path / "growth" / "points.parquet").write_bytes(b"torn")
    with pytest.raises(StoreError, match="run sluice lab growth again"):
        lab()


def written(page, tmp_path):
    path = tmp_path / "lab 100 % #1.html"
    path.write_text(page.replace('<meta charset="utf-8">', f'<meta charset="utf-8">{POLICY}', 1))
    return path


def seconds_told(tab):
    text = tab.locator("#seconds").text_content()
    value, unit = text.replace(",", "").split()
    return float(value) * {"ms": 1e-3, "s": 1, "min": 60, "h": 3600, "days": 86_400}[unit]


def lines(tab, chart):
    return tab.evaluate(
        f"[...document.querySelectorAll('#chart-{chart} .mark-line path')]"
        ".map(path => path.getAttribute('d'))"
    )


@in_a_browser
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_page_can_be_read_at_any_width_in_light_and_dark(page, tmp_path, width, height):
    path = written(page, tmp_path)
    with opened(path, width, "light") as shown:
        tab = shown.tab
        tab.wait_for_selector("body[data-drawn]")
        low = []
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            tab.evaluate("document.querySelector('details').open = true")
            low += low_contrast(tab)
        tab.emulate_media(media="print")
        printed = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        tab.set_viewport_size({"width": 700, "height": 900})
        tab.emulate_media(media="print")
        paper = tab.evaluate(
            "Math.max(...[...document.querySelectorAll('.vega svg')]"
            ".map(svg => svg.getBoundingClientRect().right))"
        )
        tab.set_viewport_size({"width": width, "height": 900})
        tab.emulate_media(media="screen", color_scheme="light")
        first = tab.evaluate(
            "document.querySelector('#chart-time svg').getBoundingClientRect().bottom"
        )
        broken, overflow = tab.evaluate(BROKEN_WORDS), shown.overflow()
        marks = tab.evaluate(
            "[...document.querySelectorAll('.vega')].map(chart => [...chart.querySelectorAll("
            "'.role-mark path')].filter(mark => mark.getBBox().width > 0).length)"
        )
        ticks = tab.evaluate("document.querySelector('#chart-time').textContent")
    assert shown.problems == []
    assert shown.requests == [path.as_uri()]
    assert low == []
    assert printed == "rgb(246, 247, 249)"
    assert paper <= 700
    assert first <= height
    assert broken == []
    assert overflow <= 0
    assert len(marks) == 7
    assert min(marks) > 0
    assert "10 min" in ticks
    assert "stops helping" in ticks


@in_a_browser
def test_sliders_fields_and_keys_move_the_charts_by_the_one_model(page, tmp_path):
    path = written(page, tmp_path)
    with opened(path, 390, "dark") as shown:
        tab = shown.tab
        tab.wait_for_selector("body[data-drawn]")

        def moved(name, value, key=None):
            before = {chart: lines(tab, chart) for chart in ("time", "efficiency")}
            if key:
                tab.locator(f"#{name}").press(key)
            else:
                tab.locator(f"#{name}").fill(value)
            tab.wait_for_function(
                "before => [...document.querySelectorAll('#chart-time .mark-line path')]"
                ".some((path, place) => path.getAttribute('d') !== before[place])",
                arg=before["time"],
            )
            assert lines(tab, "efficiency") != before["efficiency"]
            return seconds_told(tab)

        found = [seconds_told(tab), moved("images", "7"), moved("ms-number", "3")]
        answer = tab.locator("#answer").text_content()
        said = tab.locator("#images").get_attribute("aria-valuetext")
        field = tab.locator("#images-number").input_value()
        tab.locator("#workers-number").fill("512")
        found.append(seconds_told(tab))
        by_key = moved("images", None, "ArrowRight")
        kept = seconds_told(tab)
        tab.locator("#ms-number").fill("")
        assert seconds_told(tab) == kept
        assert tab.locator("#ms-number").get_attribute("aria-invalid") == "true"
        read = {}
        for text in ("0,5", "0.5", "1e2", "1M", "1,000,000", "1.000.000", "2 000", "-3", "1,5k"):
            tab.locator("#images-number").fill(text)
            tab.locator("#ms-number").fill(text)
            said_of = [tab.locator(f"#{name}").get_attribute("aria-valuetext") for name in FIELDS]
            read[text] = [said.split()[0] for said in said_of]
        tab.locator("#ms-number").fill("5000")
        told = tab.locator("#told").text_content()
        plan = tab.locator("#plan").text_content()
        tab.locator("#recall").fill("50")
        assert "cnn is to meet 100 %" in tab.locator("#plan").text_content() != plan
        tab.locator("#use-plan").click()
        ms = tab.locator("#ms-number").input_value()
        merges = []
        for name, value in ((None, None), ("of", "made up"), ("queries", "1"), ("of", REAL)):
            if name:
                tab.locator(f"#{name}").select_option(value)
            merges.append(tab.locator("#merge-told").text_content())
    assert shown.problems == []
    jobs = [(10**6, 50.0, 100), (10**7, 50.0, 100), (10**7, 3.0, 100), (10**7, 3.0, 512)]
    expected = [forecast(POOL, *job)["seconds"][0].as_py() for job in jobs]
    assert found[:2] + found[3:] == pytest.approx(expected[:2] + expected[3:], rel=0.06)
    assert by_key > found[3]
    assert said == "10,000,000 images"
    assert field == "10000000"
    stop = stops_helping(POOL, 10**7, 3.0, work="embedding").workers
    between = int(re.search(r"stop helping at ([\d,]+)", answer)[1].replace(",", ""))
    assert between == pytest.approx(stop, rel=0.25)  # 3 ms lie between two points of the table
    assert [read[text][1] for text in ("0,5", "0.5", "1e2")] == ["0.5", "0.5", "100"]
    millions = [read[text][0] for text in ("1M", "1,000,000", "1.000.000")]
    assert millions == ["1,000,000"] * 3
    assert [read["2 000"][0], read["1,5k"][0], read["-3"][1]] == ["2,000", "1,500", "0.1"]
    assert told.startswith("ms: from 0.1 to 1,000")
    assert ms == "6"
    size = "queries, 10 results each, over 10 shards, parts"
    assert merges[:3] == [
        f"9 {size} {REAL}: the merge takes 180 µs and outweighs the search from 45 workers on.",
        f"9 {size} made up: the merge takes 90 µs and outweighs the search from 90 workers on.",
        "1 query, 10 results each, over 10 shards, parts made up: the merge takes 10 µs and "
        "outweighs the search from 90 workers on.",
    ]
    assert merges[3].startswith("Not measured: a real search")
