"""One self-contained page of groups of near-duplicates, with a slider for the similarity."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
from markupsafe import Markup

from pipeline.core.store import Store
from pipeline.dedup.groups import Rule
from pipeline.dedup.keeping import TOLD
from pipeline.dedup.results import Deduplicated, recall_text
from pipeline.dedup.steps import Component, Step, largest_components, slider_steps
from pipeline.images.pictures import Picture, read_pictures
from pipeline.images.source import Source
from pipeline.pages.page import TEMPLATES

LARGEST_SHOWN = 24


@dataclass(frozen=True)
class GroupPageData:
    """All the page shows; every figure in it comes from the job's output."""

    title: str
    facts: Sequence[tuple[str, str]]
    recall: str
    shown: str
    rule: Rule
    steps: Sequence[Step]
    components: Sequence[Component]
    pictures: dict[int, Picture]
    pixels: dict[int, int]


def group_page(
    found: Deduplicated,
    embeddings: Store,
    source: Source,
    rule: Rule,
    similarity: float,
    shown: int,
) -> str:
    """Return the page over ``found``, with the pictures of ``shown`` components from ``source``.

    Raises as ``read_pictures`` does.
    """
    components = largest_components(found.sets, found.images, shown, LARGEST_SHOWN)
    ids = {number for component in components for number in component.ids}
    kept = found.images.filter(pa.compute.is_in(found.images["id"], pa.array(ids, pa.int64())))
    data = GroupPageData(
        title="Sluice: near-duplicates",
        facts=[
            ("images", f"{found.images.num_rows:,}"),
            ("identical to another", f"{found.sets.identical_images:,}"),
            ("similarity from", f"{similarity}"),
            ("rule", rule),
            ("buckets", f"{found.buckets:,}"),
        ],
        recall=recall_text(found.recall).capitalize(),
        shown=f"Shown are the {len(components)} largest components, all that pairs connect, "
        f"of up to {LARGEST_SHOWN} images.",
        rule=rule,
        steps=slider_steps(found.sets, found.images, rule, similarity),
        components=components,
        pictures=read_pictures(source, embeddings, ids),
        pixels=dict(zip(kept["id"].to_pylist(), kept["pixels"].to_pylist(), strict=True)),
    )
    return render_groups(data)


def render_groups(data: GroupPageData) -> str:
    """Return the page; texts are escaped, scripts and pictures are inside it."""
    inside = {
        "rule": data.rule,
        "steps": [asdict(step) for step in data.steps],
        "components": [_json_component(component, data) for component in data.components],
    }
    # JSON within a script element ends at the first "</script": no "<" may stand in it.
    text = json.dumps(inside).replace("<", "\\u003c")
    return TEMPLATES.get_template("groups.html.j2").render(data=data, json=Markup(text), kept=TOLD)


def _json_component(component: Component, data: GroupPageData) -> dict[str, Any]:
    images = [
        {
            "id": str(number),  # beyond 2^53 a script's numbers are not exact
            "key": data.pictures[number].key,
            "uri": data.pictures[number].uri,
            "size": f"{data.pixels[number]:,} px",
        }
        for number in component.ids
    ]
    return {"images": images, "pairs": component.pairs}
