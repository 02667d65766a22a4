"""What people do to pictures before they post them again: the changes a copy may have undergone.

Wider than what the corpus maker does to its scenes, so that what was fitted there is tested here.
Every change is drawn from a generator: how much is cropped, turned, blurred.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from pipeline.core.arrays import AnyArray, Pixels

Change = Callable[[Pixels, np.random.Generator, Sequence[Pixels]], Pixels]
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])


def changed(
    picture: Pixels, name: str, rng: np.random.Generator, others: Sequence[Pixels]
) -> Pixels:
    """Return ``picture`` (h, w, 3) under the change of CHANGES called ``name``, at another size.

    others: further pictures, three at least, of which a collage is made.
    """
    return np.ascontiguousarray(CHANGES[name](picture, rng, others))


def _bytes(values: AnyArray) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _scaled(picture: Pixels, factor: float) -> Pixels:
    height, width = picture.shape[:2]
    size = max(8, round(width * factor)), max(8, round(height * factor))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _recompressed(picture: Pixels, quality: int) -> Pixels:
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _blurred(picture: Pixels, share: float) -> Pixels:
    sigma = share * max(picture.shape[:2])
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)


def _grey(picture: Pixels) -> Pixels:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)


def _gamma(picture: Pixels, power: float) -> Pixels:
    return _bytes((picture / 255.0) ** power * 255)


def _in_hsv(picture: Pixels, turn: int, saturation: float) -> Pixels:
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(np.float64)
    hsv[..., 0] = (hsv[..., 0] + turn) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * saturation, 0, 255)
    return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB), np.uint8)


def _vignette(picture: Pixels, strength: float) -> Pixels:
    y, x = (np.linspace(-0.5, 0.5, n) ** 2 for n in picture.shape[:2])
    return _bytes(picture * (1 - strength * (y[:, None] + x[None, :]))[..., None])


def _crop(picture: Pixels, rng: np.random.Generator, kept: float) -> Pixels:
    height, width = picture.shape[:2]
    y, x = (int(rng.uniform(0, 1 - kept) * side) for side in (height, width))
    return picture[y : y + int(kept * height), x : x + int(kept * width)]


def _cut(picture: Pixels, rng: np.random.Generator, kept: float) -> Pixels:
    width = picture.shape[1]
    x = int(rng.uniform(0, 1 - kept) * width)
    return picture[:, x : x + int(kept * width)]


def _bordered(picture: Pixels, share: float, colour: tuple[int, ...]) -> Pixels:
    by = int(share * min(picture.shape[:2]))
    way = cv2.BORDER_CONSTANT
    return np.asarray(cv2.copyMakeBorder(picture, by, by, by, by, way, value=colour), np.uint8)


def _barred(picture: Pixels, share: float) -> Pixels:
    by = int(share * picture.shape[0])
    way = cv2.BORDER_CONSTANT
    return np.asarray(cv2.copyMakeBorder(picture, by, by, 0, 0, way, value=BLACK), np.uint8)


def _turned(picture: Pixels, degrees: float) -> Pixels:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height)), np.uint8)


def _seen_aslant(picture: Pixels, rng: np.random.Generator) -> Pixels:
    height, width = picture.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners + (rng.uniform(-0.05, 0.05, (4, 2)) * [width, height]).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(corners, moved)
    return np.asarray(cv2.warpPerspective(picture, matrix, (width, height)), np.uint8)


def _captioned(picture: Pixels, rng: np.random.Generator) -> Pixels:
    made, (height, width) = picture.copy(), picture.shape[:2]
    top = int(rng.choice([0.02, 0.78]) * height)
    cv2.rectangle(made, (0, top), (width, top + int(0.18 * height)), WHITE, -1)
    place = (int(0.04 * width), top + int(0.12 * height))
    cv2.putText(made, "WHEN YOU SEE IT", place, cv2.FONT_HERSHEY_SIMPLEX, width / 330, BLACK, 2)
    return made


def _stickered(picture: Pixels, rng: np.random.Generator) -> Pixels:
    made, (height, width) = picture.copy(), picture.shape[:2]
    centre = int(rng.uniform(0.2, 0.8) * width), int(rng.uniform(0.2, 0.8) * height)
    colour = tuple(int(level) for level in rng.integers(0, 256, 3))
    cv2.circle(made, centre, int(0.16 * min(height, width)), colour, -1)
    return made


def _watermarked(picture: Pixels, opacity: float) -> Pixels:
    made, (height, width) = picture.copy(), picture.shape[:2]
    for y in range(0, height, max(8, height // 6)):
        text = "(c) stock photo   (c) stock photo"
        cv2.putText(made, text, (0, y), cv2.FONT_HERSHEY_DUPLEX, width / 400, WHITE, 1)
    return np.asarray(cv2.addWeighted(made, opacity, picture, 1 - opacity, 0), np.uint8)


def _screenshot(picture: Pixels, rng: np.random.Generator) -> Pixels:
    height, width = picture.shape[:2]
    wide, tall = int(width * rng.uniform(1.0, 1.2)), int(height * rng.uniform(1.5, 2.0))
    page = np.full((tall, wide, 3), int(rng.choice([18, 245])), np.uint8)
    page[: int(0.05 * tall)] = rng.integers(0, 256, 3)
    top, left = int(0.15 * tall), (wide - width) // 2
    page[top : top + height, left : left + width] = picture
    for y in range(top + height + 12, tall - 4, max(10, tall // 24)):
        place = (int(0.05 * wide), y)
        cv2.putText(page, "lorem ipsum dolor sit", place, 0, wide / 700, (128, 128, 128), 1)
    return page


def _collage(picture: Pixels, rng: np.random.Generator, others: Sequence[Pixels]) -> Pixels:
    height, width = picture.shape[:2]
    four = [picture, *(np.asarray(cv2.resize(o, (width, height)), np.uint8) for o in others[:3])]
    order = rng.permutation(4)
    rows = [np.hstack([four[order[n]], four[order[n + 1]]]) for n in (0, 2)]
    return np.vstack(rows)


def _noisy(picture: Pixels, rng: np.random.Generator, levels: float) -> Pixels:
    return _bytes(picture + rng.normal(0, levels, picture.shape))


def _sharpened(picture: Pixels) -> Pixels:
    soft = cv2.GaussianBlur(picture, (0, 0), 2)
    return np.asarray(cv2.addWeighted(picture, 1.8, soft, -0.8, 0), np.uint8)


CHANGES: dict[str, Change] = {
    "recompressed": lambda p, r, _: _recompressed(p, int(r.integers(8, 40))),
    "resized": lambda p, r, _: _scaled(p, r.uniform(0.25, 0.7)),
    "64 px": lambda p, _, __: _scaled(p, 64 / max(p.shape[:2])),
    "blurred": lambda p, r, _: _blurred(p, r.uniform(0.003, 0.007)),
    "noise": lambda p, r, _: _noisy(p, r, r.uniform(8, 22)),
    "sharpened": lambda p, _, __: _sharpened(p),
    "grey": lambda p, _, __: _grey(p),
    "sepia": lambda p, _, __: _bytes(p @ SEPIA.T),
    "brighter": lambda p, r, _: _gamma(p, r.uniform(0.5, 0.75)),
    "darker": lambda p, r, _: _gamma(p, r.uniform(1.4, 2.0)),
    "less contrast": lambda p, r, _: _bytes(p * r.uniform(0.4, 0.6) + 60),
    "more colour": lambda p, r, _: _in_hsv(p, 0, r.uniform(1.5, 2.2)),
    "hue": lambda p, r, _: _in_hsv(p, int(r.integers(6, 16)), 1),
    "vignette": lambda p, r, _: _vignette(p, r.uniform(0.8, 1.3)),
    "crop to 90 %": lambda p, r, _: _crop(p, r, 0.9),
    "crop to 75 %": lambda p, r, _: _crop(p, r, 0.75),
    "crop to 60 %": lambda p, r, _: _crop(p, r, 0.6),
    "crop to 45 %": lambda p, r, _: _crop(p, r, 0.45),
    "sides cut": lambda p, r, _: _cut(p, r, r.uniform(0.65, 0.8)),
    "stretched": lambda p, r, _: cv2.resize(p, (int(p.shape[1] * 1.3), p.shape[0])),
    "border": lambda p, r, _: _bordered(p, r.uniform(0.05, 0.15), WHITE),
    "bars": lambda p, r, _: _barred(p, r.uniform(0.1, 0.2)),
    "mirrored": lambda p, _, __: p[:, ::-1],
    "upside down": lambda p, _, __: p[::-1],
    "turned by 90": lambda p, r, _: np.rot90(p, int(r.choice([1, 3]))),
    "turned by 180": lambda p, _, __: np.rot90(p, 2),
    "turned by 3 to 8": lambda p, r, _: _turned(p, r.uniform(3, 8) * r.choice([-1, 1])),
    "turned by 15 to 25": lambda p, r, _: _turned(p, r.uniform(15, 25) * r.choice([-1, 1])),
    "aslant": lambda p, r, _: _seen_aslant(p, r),
    "caption": lambda p, r, _: _captioned(p, r),
    "sticker": lambda p, r, _: _stickered(p, r),
    "watermark": lambda p, r, _: _watermarked(p, r.uniform(0.3, 0.5)),
    "screenshot": lambda p, r, _: _screenshot(p, r),
    "mirrored crop": lambda p, r, _: _crop(p[:, ::-1], r, 0.75),
    "turned crop": lambda p, r, _: _crop(np.rot90(p), r, 0.85),
    "collage": _collage,
}
