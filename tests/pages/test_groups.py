import io
import json
import socket
import struct
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.dedup.groups import group_pairs
from pipeline.dedup.identical_sets import PAIRS, across, as_pairs, set_pairs
from pipeline.dedup.steps import ShownPair, least_sure, slider_steps
from pipeline.images.pictures import Picture
from pipeline.pages.groups import GroupPageData, image_facts, render_groups
from pipeline.pages.review import Review, serve_review
from tests.helpers.browser import BROKEN_WORDS, in_a_browser, low_contrast, opened

# 0-1-2 is a chain, 3 and 4 are close, 5 to 9 all near each other; 10 and 11 are identical to 4,
# 12 to 14 are identical by themselves, at a score that rounding left below 1.
SCORES = {(0, 1): 0.91, (1, 2): 0.96, (3, 4): 0.99}
SCORES |= {(a, b): 0.9 + (a + b) / 200 for a in range(5, 10) for b in range(a + 1, 10)}
IDENTICAL = {(4, 10): 1.0, (4, 11): 1.0, (12, 13): 1.0, (12, 14): 1.0}
PIXELS = {number: 100 + number % 3 for number in range(15)}


def tables():
    rows = sorted((*pair, score, pair in IDENTICAL) for pair, score in (SCORES | IDENTICAL).items())
    columns = dict(zip(PAIRS.names, zip(*rows, strict=True), strict=True))
    images = {"id": list(PIXELS), "pixels": list(PIXELS.values())}
    known = pa.table(columns, schema=PAIRS)
    return set_pairs(known), pa.table(images), known


def shown(pairs, known, images, *most, **more):
    groups = group_pairs(pairs, images, "survivor")
    return least_sure(pairs, known, images, groups, *most, **more)


def test_components_of_pairs_drawn_come_first_and_name_them():
    pairs, images, known = tables()
    drawn = np.array([3, 3]), np.array([4, 99])
    first, *others = shown(pairs, known, images, 10, 24, 99, drawn=drawn)
    ends = {(first.ids[p.one], first.ids[p.other]) for p in first.pairs if p.drawn}
    assert {frozenset(pair) for pair in ends} == {frozenset((3, 4))}
    assert not any(pair.drawn for one in others for pair in one.pairs)
    least = [min(pair.score for pair in one.pairs) for one in others]
    assert least == sorted(least)


def page_data(jpegs, rule):
    pairs, images, known = tables()
    components = shown(pairs, known, images, 10, 24, 99)
    return GroupPageData(
        title="Test",
        facts=[("images", "12")],
        recall="All pairs were compared",
        shown="All are shown.",
        measure="similarity",
        rule=rule,
        steps=slider_steps(pairs, images, rule, 0.9),
        components=components,
        pictures={
            n: Picture(n, "</script><script>alert(1)", jpegs[n % len(jpegs)]) for n in PIXELS
        },
        images={n: {"width": 40, "height": 30, "bytes": 1234, "modified": n} for n in PIXELS},
    )


def test_steps_count_all_images_and_end_at_equality():
    pairs, images, _ = tables()
    steps = slider_steps(pairs, images, "survivor", 0.9)
    assert (steps[0].threshold, steps[-1].threshold) == (0.9, 1.0)
    # Three pairs within each set of identical images, and 3 is a partner of all of its kind.
    assert steps[0].pairs == len(SCORES) + 3 + 3 + 2
    assert (steps[-1].pairs, steps[-1].groups, steps[-1].drop) == (6, 2, 4)
    for step in steps:
        groups = group_pairs(pairs.at_least(step.threshold), images, "survivor")
        assert step.groups + step.drop == groups.num_rows


def test_the_components_that_are_least_sure_come_first_up_to_a_size():
    pairs, images, known = tables()
    components = shown(pairs, known, images, 10, 24, 99)
    assert [set(component.ids) for component in components] == [
        {0, 1, 2},
        {5, 6, 7, 8, 9},
        {3, 4, 10, 11},
        {12, 13, 14},
    ]
    assert components[0].ids == (2, 1, 0)
    assert [(p.one, p.other, p.score) for p in components[0].pairs] == [(1, 2, 0.91), (0, 1, 0.96)]
    assert len(components[2].pairs) == 6
    assert {pair.why for pair in components[2].pairs} == {None, "same pixels"}
    assert [set(c.ids) for c in shown(pairs, known, images, 1, 4, 99)] == [{0, 1, 2}]
    # Components that are larger come by their groups, and of these the first.
    small = shown(pairs, known, images, 10, 2, 99)
    assert [c.ids for c in small] == [(5, 8), (2, 1), (11, 4), (14, 13)]
    assert len(shown(pairs, known, images, 10, 24, 8)) == 2
    assert len(shown(pairs, known, images, 10, 24, 7)) == 1


def test_what_is_known_of_a_pair_is_told_from_the_image_that_is_kept():
    # 1 is kept before 0, and the map of 1 onto 0 is turned round.
    rows = pa.table(dict(zip(PAIRS.names, ([0, 2], [1, 3], [0.8, 0.9], [False] * 2), strict=True)))
    half = [0.5, 0.0, 0.25, 0.0, 0.5, 0.0]
    known = rows.cast(PAIRS).append_column("why", pa.array(["crop 50 %", None]))
    known = known.append_column("alignment", pa.array([half, None]))
    images = pa.table({"id": list(range(4)), "pixels": [1, 9, 9, 1]})
    first, second = shown(set_pairs(rows), known, images, 9, 9, 99)
    assert first.ids == (1, 0)
    assert (first.pairs[0].score, first.pairs[0].why) == (0.8, "crop 50 %")
    assert first.pairs[0].alignment == (2.0, 0.0, -0.5, 0.0, 2.0, 0.0)
    assert second.pairs[0] == ShownPair(0, 1, 0.9, None, None)


def test_of_identical_images_too_the_map_and_the_words_are_of_the_one_that_is_kept():
    # 9 is identical to 1: what is known is of (1, 2), and 2 comes before 9.
    rows = [(1, 2, 0.9, False), (1, 9, 1.0, True)]
    known = pa.table(dict(zip(PAIRS.names, zip(*rows, strict=True), strict=True)), schema=PAIRS)
    half = [0.5, 0.0, 0.25, 0.0, 0.5, 0.0]
    known = known.append_column("alignment", pa.array([half, None]))
    words = ["mirrored, b is a crop of a (25% of it)", None]
    known = known.append_column("why", pa.array(words))
    images = pa.table({"id": [1, 2, 9], "pixels": [1, 5, 1]})
    (component,) = shown(set_pairs(known), known, images, 9, 9, 99)
    assert component.ids == (2, 1, 9)
    told = {(p.one, p.other): (p.why, p.alignment) for p in component.pairs}
    words, turned = (
        "mirrored, the one kept is a crop of the other (25% of it)",
        (2, 0, -0.5, 0, 2, 0),
    )
    assert told == {(0, 1): (words, turned), (0, 2): (words, turned), (1, 2): ("same pixels", None)}
    images = pa.table({"id": [1, 2, 9], "pixels": [5, 1, 5]})
    (component,) = shown(set_pairs(known), known, images, 9, 9, 99)
    assert component.ids == (1, 9, 2)
    told = {(p.one, p.other): (p.why, p.alignment) for p in component.pairs}
    words = "mirrored, the other is a crop of the one kept (25% of it)"
    assert told[0, 2] == told[1, 2] == (words, tuple(half))


def test_pairs_across_are_components_of_both_sides():
    pairs, images, _ = tables()
    sets = across(pairs, np.array([4, 10, 12]))
    components = shown(sets, as_pairs(sets), images, 9, 9, 99)
    assert [set(component.ids) for component in components] == [{3, 4, 10, 11}, {12, 13, 14}]
    assert {(p.one, p.other) for p in components[1].pairs} == {(0, 2), (1, 2)}


def test_sizes_and_dates_are_told_where_they_are_known():
    assert image_facts({"id": 1, "pixels": 1200}) == "1,200 px"
    facts = {"width": 4032, "height": 3024, "bytes": 2_345_678, "modified": 1_700_000_000 * 10**9}
    assert image_facts(facts) == "4,032 × 3,024 px, 2,345,678 bytes, 2023-11-14 22:13"


@in_a_browser
@pytest.mark.parametrize(
    ("width", "scheme", "rule"), [(1280, "light", "survivor"), (390, "dark", "components")]
)
def test_the_slider_groups_anew_as_python_does(jpegs, tmp_path, width, scheme, rule):
    data = page_data(jpegs, rule)
    path = tmp_path / "groups.html"
    path.write_text(render_groups(data))
    with opened(path, width, scheme) as page:
        tab = page.tab
        seen = []
        for place in range(len(data.steps)):
            tab.locator("#threshold").focus()
            if place:
                tab.keyboard.press("ArrowRight")
            texts = [tab.locator(f"#{n}").inner_text() for n in ("pairs", "groups", "drop")]
            strips = tab.locator("section.strip").count()
            seen.append((*map(int, texts), strips, tab.locator(".strip figure:not(.kept)").count()))
        tab.locator("#threshold").press("Home")
        widths = tab.evaluate("[...document.images].map(image => image.naturalWidth)")
        overflow, low, broken = page.overflow(), low_contrast(tab), tab.evaluate(BROKEN_WORDS)
    assert seen == [(s.pairs, s.groups, s.drop, s.groups, s.drop) for s in data.steps]
    assert len({counts[1:3] for counts in seen}) > 3
    assert page.problems == []
    assert [url for url in page.requests if url.startswith("http")] == []
    assert min(widths) > 0
    assert (low, broken) == ([], [])
    assert overflow <= 0


BIG = 2**62 + 1  # no number of a script is it


def judged_page(jpegs, groups=45):
    """A page of pairs, each of a photo with its left half, which is sure by its place."""
    rows = [(n, BIG + n, 0.95 - n / 1000, False) for n in range(groups)]
    known = pa.table(dict(zip(PAIRS.names, zip(*rows, strict=True), strict=True)), schema=PAIRS)
    half = [[0.5, 0.0, 0.0, 0.0, 1.0, 0.0]] * groups
    known = known.append_column("alignment", pa.array(half)).append_column(
        "why", pa.array(["crop 50 %"] * groups)
    )
    images = pa.table(
        {"id": [*range(groups), *(BIG + n for n in range(groups))], "pixels": [2, 1] * groups}
    )
    images = images.set_column(1, "pixels", pa.array([2] * groups + [1] * groups))
    pairs = set_pairs(known)
    with Image.open(io.BytesIO(jpegs[0])) as whole:
        left = whole.crop((0, 0, whole.width // 2, whole.height))
    out = io.BytesIO()
    left.save(out, "JPEG", quality=95)
    pictures = {n: Picture(n, f"whole {n}.jpg", jpegs[0]) for n in range(groups)}
    pictures |= {BIG + n: Picture(BIG + n, f"half {n}.jpg", out.getvalue()) for n in range(groups)}
    return GroupPageData(
        title="Test",
        facts=[],
        recall="All pairs were compared",
        shown="All are shown.",
        measure="similarity",
        rule="survivor",
        steps=slider_steps(pairs, images, "survivor", 0.9),
        components=shown(pairs, known, images, 100, 24, 99),
        pictures=pictures,
        images={n: {} for n in pictures},
        verdicts=[{"a": 3, "b": BIG + 3, "duplicate": True}],
    )


@contextmanager
def served(page, judge=None):
    """Serve ``page``; yield its address and the verdicts that are kept."""
    kept, address, there = {}, [], threading.Event()

    def keep(one, other, duplicate):
        if judge:
            judge(one, other)
        kept[one, other] = duplicate
        return len(kept)

    def told(url):
        address.append(url)
        there.set()

    pictures = {0: b"none"}

    def rows():
        return [(str(a), str(b), yes) for (a, b), yes in kept.items() if yes is not None]

    review = Review(page.encode(), pictures.__getitem__, keep, rows)
    thread = threading.Thread(target=serve_review, args=(review, told))
    thread.start()
    assert there.wait(10)
    try:
        yield address[0], kept
    finally:
        with suppress(urllib.error.URLError):
            asked(address[0] + "done", b"")
        thread.join(10)
    assert not thread.is_alive()


def asked(url, data=None, **headers):
    origin = url[: url.index("/", 8)]
    said = {"Origin": origin} | {name: value for name, value in headers.items() if value}
    request = urllib.request.Request(url, data, said)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


EVIL = {"Host": "evil.example:80", "Origin": "http://evil.example:80"}  # a name bound to us


def test_a_browser_that_goes_away_is_not_told_of(capfd):
    with served("the page") as (url, _):
        port = int(url.split(":")[2].partition("/")[0])
        for said in (b"", b"GET / HTTP/1.1\r\n"):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(said)
                linger = struct.pack("ii", 1, 0)  # ends it with a reset
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        assert asked(url) == b"the page"
    assert capfd.readouterr().err == ""


def test_only_the_page_itself_under_its_token_may_write():
    verdict = json.dumps({"a": "1", "b": str(BIG), "duplicate": False}).encode()
    with served("the page") as (url, kept):
        assert asked(url) == b"the page"
        host = url[: url.index("/", 8)]
        refused = [
            (f"{host}/verdicts", verdict, {}, 403),
            (f"{host}/{'x' * 22}/verdicts", verdict, {}, 403),
            (f"{host}/", None, {}, 403),
            (f"{url}verdicts", verdict, {"Origin": "http://evil.example"}, 403),
            (f"{url}verdicts", verdict, {"Origin": "null"}, 403),
            (f"{url}verdicts", verdict, {"Host": "evil.example:80"}, 403),
            (f"{url}verdicts", verdict, EVIL, 403),
            (url, None, {"Host": "127.0.0.1.evil.example"}, 403),
            (f"{url}verdicts", b'{"a": 1, "b": 2, "duplicate": 1}', {}, 400),
            (f"{url}verdicts", b"[]", {}, 400),
            (f"{url}verdicts", b"x" * 5000, {}, 400),
            (f"{url}picture/7", None, {}, 404),
            (f"{url}../../etc/passwd", None, {}, 404),
        ]
        for address, data, headers, status in refused:
            with pytest.raises(urllib.error.HTTPError) as error:
                asked(address, data, **headers)
            assert (error.value.code, address) == (status, address)
        assert kept == {}
        assert asked(f"{url}verdicts", verdict) == b"1"
        assert kept == {(1, BIG): False}
        assert json.loads(asked(f"{url}verdicts")) == [["1", str(BIG), False]]
        tunnel = {"Host": "localhost:9", "Origin": "http://localhost:9"}
        assert asked(f"{url}verdicts", verdict, **tunnel) == b"1"


@in_a_browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_pairs_are_judged_by_keys_the_least_sure_first_and_kept_at_once(jpegs, width, scheme):
    with (
        served(render_groups(judged_page(jpegs))) as (url, kept),
        opened(SimpleNamespace(as_uri=lambda: url), width, scheme) as page,
    ):
        tab = page.tab
        tab.wait_for_selector("#done:visible")
        assert tab.locator("#why").inner_text() == "crop 50 %, similarity 0.9060"
        assert "half 44.jpg" in tab.locator("#dropped").inner_text()
        tab.wait_for_function("document.getElementById('above').naturalWidth > 0")
        boxes = [tab.locator(f"#{name}").bounding_box() for name in ("under", "above")]
        tab.keyboard.press("n")
        tab.wait_for_function("document.getElementById('saved').textContent === '1 verdicts kept'")
        tab.keyboard.press("d")
        tab.wait_for_function("document.getElementById('saved').textContent === '2 verdicts kept'")
        assert "half 42.jpg" in tab.locator("#dropped").inner_text()
        tab.keyboard.press("k")
        assert tab.locator("#verdict").inner_text() == "judged duplicate"
        tab.keyboard.press("u")
        tab.wait_for_function("document.getElementById('verdict').textContent === ''")
        first = tab.locator(".pager").first
        assert first.locator("span").inner_text() == "page 1 of 3"
        assert tab.locator("section.strip").count() == 20
        assert tab.locator(".said").first.inner_text() == "judged not a duplicate"
        first.get_by_text("next page").click()
        first.get_by_text("next page").click()
        assert tab.locator("section.strip").count() == 5
        tab.locator(".strip figure:not(.kept)").last.click()
        assert "half 0.jpg" in tab.locator("#dropped").inner_text()
        low, broken, overflow = low_contrast(tab), tab.evaluate(BROKEN_WORDS), page.overflow()
        tab.get_by_text("done: group anew").click()
        tab.wait_for_function("document.getElementById('saved').textContent.startsWith('grouped')")
        tab.keyboard.press("n")
        tab.wait_for_function("document.getElementById('saved').textContent.startsWith('not kept')")
        assert tab.locator("#verdict").inner_text() == ""
        assert page.problems == []
        assert all(request.startswith((url, "data:")) for request in page.requests)
    assert kept == {(44, BIG + 44): False, (43, BIG + 43): None}
    # The half lies on the left half of the whole.
    assert boxes[1]["x"] == pytest.approx(boxes[0]["x"], abs=1)
    assert boxes[1]["width"] == pytest.approx(boxes[0]["width"] / 2, abs=1)
    assert boxes[1]["height"] == pytest.approx(boxes[0]["height"], abs=1)
    assert (low, broken) == ([], [])
    assert overflow <= 0


@in_a_browser
def test_a_page_opened_from_disk_hands_its_verdicts_over_as_a_file(jpegs, tmp_path):
    path = tmp_path / "groups.html"
    path.write_text(render_groups(judged_page(jpegs, 3)))
    with opened(path, 1280, "light") as page:
        tab = page.tab
        tab.keyboard.down("n")
        tab.keyboard.down("n")  # as one that is held repeats itself
        tab.keyboard.up("n")
        assert tab.locator("#saved").inner_text().startswith("2 verdicts")  # one was there
        tab.keyboard.press("j")
        tab.keyboard.press("d")
        with tab.expect_download() as download:
            tab.locator("#download").click()
        rows = download.value.path().read_text().splitlines()
        assert page.problems == []
    assert rows[0] == "a,b,duplicate,a_key,b_key"
    assert f'2,{BIG + 2},false,"whole 2.jpg","half 2.jpg"' in rows
    assert f'0,{BIG},true,"whole 0.jpg","half 0.jpg"' in rows
