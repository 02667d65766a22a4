"""How an image is made to fit a square, without any image's library."""

from dataclasses import dataclass
from typing import Literal

Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True)
class Fit:
    """The whole image squashed into the square, or the middle of it once it is made smaller."""

    short_side: int | None = None  # pixels, of which the middle square is cut; none: squashed
    interpolation: Interpolation = "bilinear"
    # Least pixels of the decoded image for one of the smaller, Pillow's own reducing_gap: the
    # decoder's smaller scales are sharper than a resizer, which a network sees.
    gap: int = 2

    def covering(self, size: int) -> int:
        """Return the shorter side, in pixels, that an image needs for a square of ``size``."""
        return max(size, self.short_side or 0)

    def decoded(self, size: int) -> int:
        """Return the shorter side, in pixels, that an image is decoded to for a square of it."""
        return self.gap * self.covering(size)


SQUASHED = Fit()
SMALLEST = Fit(gap=1)  # as few pixels as cover the square
