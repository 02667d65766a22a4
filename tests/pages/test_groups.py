import pyarrow as pa
import pytest

from pipeline.dedup.groups import group_pairs
from pipeline.dedup.identical_sets import PAIRS, set_pairs
from pipeline.dedup.steps import largest_components, slider_steps
from pipeline.images.pictures import Picture
from pipeline.pages.groups import GroupPageData, render_groups
from tests.helpers.browser import in_a_browser, opened

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
    return set_pairs(pa.table(columns, schema=PAIRS)), pa.table(images)


def page_data(jpegs, rule):
    pairs, images = tables()
    components = largest_components(pairs, images, 10, 24)
    return GroupPageData(
        title="Test",
        facts=[("images", "12")],
        recall="All pairs were compared",
        shown="All are shown.",
        rule=rule,
        steps=slider_steps(pairs, images, rule, 0.9),
        components=components,
        pictures={
            n: Picture(n, "</script><script>alert(1)", jpegs[n % len(jpegs)]) for n in PIXELS
        },
        pixels=PIXELS,
    )


def test_steps_count_all_images_and_end_at_equality():
    pairs, images = tables()
    steps = slider_steps(pairs, images, "survivor", 0.9)
    assert (steps[0].threshold, steps[-1].threshold) == (0.9, 1.0)
    # Three pairs within each set of identical images, and 3 is a partner of all of its kind.
    assert steps[0].pairs == len(SCORES) + 3 + 3 + 2
    assert (steps[-1].pairs, steps[-1].groups, steps[-1].drop) == (6, 2, 4)
    for step in steps:
        groups = group_pairs(pairs.at_least(step.threshold), images, "survivor")
        assert step.groups + step.drop == groups.num_rows


def test_the_largest_components_up_to_a_size_are_shown():
    pairs, images = tables()
    components = largest_components(pairs, images, 10, 24)
    assert [set(component.ids) for component in components] == [
        {5, 6, 7, 8, 9},
        {3, 4, 10, 11},
        {0, 1, 2},
        {12, 13, 14},
    ]
    assert components[2].ids == (2, 1, 0)
    assert len(components[1].pairs) == 6
    assert [set(c.ids) for c in largest_components(pairs, images, 1, 3)] == [{0, 1, 2}]


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
            seen.append((*map(int, texts), strips, tab.locator("figure:not(.kept)").count()))
        tab.locator("#threshold").press("Home")
        widths = tab.evaluate("[...document.images].map(image => image.naturalWidth)")
        overflow = page.overflow()
    assert seen == [(s.pairs, s.groups, s.drop, s.groups, s.drop) for s in data.steps]
    assert len({counts[1:3] for counts in seen}) > 3
    assert page.problems == []
    assert [url for url in page.requests if url.startswith("http")] == []
    assert min(widths) > 0
    assert overflow <= 0
