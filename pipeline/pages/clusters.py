"""One self-contained page of near-duplicate clusters, with a slider for the similarity."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from markupsafe import Markup

from pipeline.dedup.clusters import Rule
from pipeline.dedup.steps import Group, Step
from pipeline.images.pictures import Picture
from pipeline.pages.page import TEMPLATES


@dataclass(frozen=True)
class ClusterPageData:
    """All the page shows; every figure in it comes from the job's output."""

    title: str
    facts: Sequence[tuple[str, str]]
    recall: str
    shown: str
    rule: Rule
    steps: Sequence[Step]
    groups: Sequence[Group]
    pictures: dict[int, Picture]
    pixels: dict[int, int]


def render_clusters(data: ClusterPageData) -> str:
    """Return the page; texts are escaped, scripts and pictures are inside it."""
    inside = {
        "rule": data.rule,
        "steps": [asdict(step) for step in data.steps],
        "groups": [_json_group(group, data) for group in data.groups],
    }
    # JSON within a script element ends at the first "</script": no "<" may stand in it.
    text = json.dumps(inside).replace("<", "\\u003c")
    return TEMPLATES.get_template("clusters.html.j2").render(data=data, json=Markup(text))


def _json_group(group: Group, data: ClusterPageData) -> dict[str, Any]:
    images = [
        {
            "id": number,
            "key": data.pictures[number].key,
            "uri": data.pictures[number].uri,
            "size": f"{data.pixels[number]:,} px",
        }
        for number in group.ids
    ]
    return {"images": images, "pairs": group.pairs}
