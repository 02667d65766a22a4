"""One self-contained page of groups of near-duplicates: to see them, to judge them, to choose."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from markupsafe import Markup

from pipeline.core.arrays import Ids
from pipeline.core.store import Store
from pipeline.dedup.groups import Rule
from pipeline.dedup.judged import drawn_pairs, verdicts_on
from pipeline.dedup.keeping import TOLD
from pipeline.dedup.results import Deduplicated, missed_text
from pipeline.dedup.steps import NONE, Component, Step, least_sure, slider_steps
from pipeline.dedup.verdicts import VERDICTS, keep_verdicts, read_verdicts, rejected
from pipeline.images.pictures import Picture, locate_images, pictures_of, read_pictures
from pipeline.images.source import Source
from pipeline.pages.page import TEMPLATES
from pipeline.pages.review import Review

LARGEST_SHOWN = 24
MOST_SHOWN = 1500  # images: browsers bear a page of some 16 MB
LARGE = 1024  # pixels: the longer side of a picture that is looked at
DRAWN_FIRST = " Pairs drawn at random, whose verdicts prove a precision, come before all others."
FACTS = ("width", "height", "pixels", "bytes", "modified")


@dataclass(frozen=True)
class GroupPageData:
    """All the page shows; every figure in it comes from the job's output."""

    title: str
    facts: Sequence[tuple[str, str]]
    recall: str
    shown: str
    measure: str  # what a pair's score is
    rule: Rule
    steps: Sequence[Step]
    components: Sequence[Component]
    pictures: Mapping[int, Picture]
    images: Mapping[int, dict[str, Any]]  # FACTS of each, where known
    verdicts: Sequence[dict[str, Any]] = field(default=())  # VERDICTS, of images shown
    apart: Sequence[tuple[int, int]] = field(default=())  # identical images that are none


def group_page(
    found: Deduplicated,
    embeddings: Store,
    source: Source,
    rule: Rule,
    similarity: float,
    shown: int,
) -> GroupPageData:
    """Return what the page over ``found`` shows: ``shown`` components, pictured from ``source``."""
    most = (shown, LARGEST_SHOWN, MOST_SHOWN)
    drawn = _to_judge(found)
    components = least_sure(found.sets, found.pairs, found.images, found.groups, *most, drawn)
    ids = {number for component in components for number in component.ids}
    kept = found.images.filter(pa.compute.is_in(found.images["id"], pa.array(ids, pa.int64())))
    known = kept.select(["id", *(name for name in FACTS if name in kept.column_names)]).to_pylist()
    apart = rejected(found.verdicts)
    measure = "sureness" if found.looked else "similarity"
    told = Counter(found.verdicts["duplicate"].to_pylist())
    return GroupPageData(
        title="Sluice: near-duplicates",
        facts=[
            ("images", f"{found.images.num_rows:,}"),
            ("identical to another", f"{found.sets.identical_images:,}"),
            (f"{measure} from", f"{similarity:.4g}"),
            ("rule", rule),
            ("buckets", f"{found.buckets:,}"),
            ("judged duplicates", f"{told[True]:,}"),
            ("judged none, left out", f"{told[False]:,}"),
        ],
        recall=". ".join(line[0].upper() + line[1:] for line in missed_text(found)),
        shown=f"Shown are the {len(components):,} components, all that pairs connect, that are "
        f"least sure, of {MOST_SHOWN:,} images at most; one of more than {LARGEST_SHOWN} is shown "
        f"by its groups, and of a group the first {LARGEST_SHOWN}."
        + DRAWN_FIRST
        * bool(len(drawn[0])),
        measure=measure,
        rule=rule,
        steps=slider_steps(found.sets, found.images, rule, similarity, apart),
        components=components,
        pictures=read_pictures(source, embeddings, ids),
        images={row["id"]: row for row in known},
        verdicts=[row for row in found.verdicts.to_pylist() if {row["a"], row["b"]} <= ids],
        apart=list(zip(*(ends.tolist() for ends in apart), strict=True)),
    )


def _to_judge(found: Deduplicated) -> tuple[Ids, Ids]:
    """Return the pairs (a, b) drawn at random on which there is no verdict yet."""
    if not found.looked:
        return NONE, NONE
    drawn = drawn_pairs(found.looked.looks)
    drawn = drawn.filter(pa.compute.is_null(verdicts_on(drawn, found.verdicts, found.joined)))
    return drawn["a"].to_numpy(), drawn["b"].to_numpy()


def group_review(data: GroupPageData, store: Store, embeddings: Store, source: Source) -> Review:
    """Return the page of ``data`` with what it asks for when it is served.

    Its images alone may be judged; the verdicts are kept in ``store``.
    """
    located = locate_images(embeddings, set(data.pictures))

    def picture(number: int) -> bytes:
        if number not in data.pictures:
            raise KeyError(number)
        mine = [part.among({number}) for part in located]
        return pictures_of(source, next(p for p in mine if p.images.num_rows), LARGE)[0].jpeg

    def judge(one: int, other: int, duplicate: bool | None) -> int:
        for number in (one, other):
            if number not in data.pictures:
                raise KeyError(number)
        judged = pa.table([[one], [other], pa.array([duplicate], pa.bool_())], schema=VERDICTS)
        return int(keep_verdicts(store, judged).num_rows)

    def verdicts() -> list[tuple[str, str, bool]]:
        rows = read_verdicts(store).to_pylist()
        return [(str(row["a"]), str(row["b"]), row["duplicate"]) for row in rows]

    return Review(render_groups(data).encode(), picture, judge, verdicts)


def render_groups(data: GroupPageData) -> str:
    """Return the page; texts are escaped, scripts and pictures are inside it."""
    verdicts = [[str(v["a"]), str(v["b"]), v["duplicate"]] for v in data.verdicts]
    inside = {
        "measure": data.measure,
        "rule": data.rule,
        "steps": [asdict(step) for step in data.steps],
        "components": [_json_component(component, data) for component in data.components],
        "verdicts": verdicts,
        "apart": [[str(one), str(other)] for one, other in data.apart],
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
            "facts": image_facts(data.images[number]),
        }
        for number in component.ids
    ]
    return {"images": images, "pairs": [asdict(pair) for pair in component.pairs]}


def image_facts(image: Mapping[str, Any]) -> str:
    """Return the size, bytes and date of an image (FACTS) in words, where they are known."""
    told = []
    if image.get("width"):
        told.append(f"{image['width']:,} × {image['height']:,} px")
    elif image.get("pixels"):
        told.append(f"{image['pixels']:,} px")
    if image.get("bytes") is not None:
        told.append(f"{image['bytes']:,} bytes")
    if image.get("modified") is not None:
        when = datetime.fromtimestamp(image["modified"] // 10**9, UTC)
        told.append(f"{when:%Y-%m-%d %H:%M}")
    return ", ".join(told)
