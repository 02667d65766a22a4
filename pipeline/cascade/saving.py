"""What a cascade saved of the CNN against brute force, in a sentence."""

from pipeline.cascade.funnel import Funnel
from pipeline.cascade.stages import LAST


def saving(images: int, funnel: Funnel, embedded: bool, ms: float) -> str:
    """Return what the queries of ``funnel`` saved, over a collection of ``images``.

    embedded: the vectors of all images were there before; ms: of one CNN run, as calibrated.
    """
    met, new = min(images, int(funnel.entered[-1])), funnel.made[LAST]
    share = f"{met:,} of {images:,} images ({met / max(1, images):.1%})"
    if embedded:
        return f"the vectors of {share} were compared; no CNN ran, as all are embedded"
    told = f"the CNN was needed for {share}, and ran for {new:,} that no earlier run had embedded"
    fewer = f", {images / met:,.1f} times fewer" if 0 < met < images else ""
    return (
        f"{told}; brute force needs it for all: {images - met:,} CNN runs saved{fewer}, "
        f"{_text((images - met) * ms / 1000)} of one core at the calibration's {ms:.3g} ms each"
    )


def _text(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.0f} seconds"
    return f"{seconds / 60:,.0f} minutes" if seconds < 7200 else f"{seconds / 3600:,.0f} hours"
