"""Pixel formats, by ffmpeg's names: what each holds, and the nearest of several."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["Pixels", "nearest_of", "pixels_of"]


class Pixels(NamedTuple):
    """What a format holds: bits of a sample, steps of colour, transparency.

    `chroma` is 0 where colour has half the rows and columns of light (4:2:0), 1 where it has half
    the columns (4:2:2), 2 where it has all (4:4:4).
    """

    depth: int
    chroma: int
    has_alpha: bool
    is_rgb: bool = False

    @property
    def described(self) -> str:
        """What it holds, in a few words."""
        kind = "RGB" if self.is_rgb else ("4:2:0", "4:2:2", "4:4:4")[self.chroma]
        return f"{self.depth}-bit {kind}{' with alpha' if self.has_alpha else ''}"


_RGB: Final = re.compile(r"(rgb|bgr|gbr|0rgb|0bgr|argb|abgr|x2rgb|x2bgr|pal8|xyz)")
_ALPHA: Final = re.compile(r"yuva|gbrap|rgba|bgra|argb|abgr|^ya\d|ayuv|vuya")
_DEPTHS: Final = (
    (re.compile(r"^(yuv|gbr)a?\w*?p(9|1[0246])(le|be)?$"), 2),
    (re.compile(r"^(p[024])(1[0246])(le|be)?$"), 2),
    (re.compile(r"^(gray|ya|x2rgb|x2bgr|xv|y2|v|xyz)(9|1[0246]|30|36)(le|be)?$"), 2),
)
_NAMED_DEPTHS: Final = {"30": 10, "36": 12}


def pixels_of(name: str) -> Pixels:
    """Return what a format holds. One that is not known counts as 8-bit 4:2:0."""
    is_rgb = bool(_RGB.match(name))
    return Pixels(_depth(name), 2 if is_rgb else _chroma(name), bool(_ALPHA.search(name)), is_rgb)


def nearest_of(names: Sequence[str], wanted: Pixels) -> str:
    """Return the format that loses least of what is wanted, and of those the smallest.

    Transparency counts most, then the depth, then colour.
    """

    def loss(name: str) -> tuple[bool, int, int, bool, int, int]:
        has = pixels_of(name)
        return (
            wanted.has_alpha and not has.has_alpha,
            max(0, wanted.depth - has.depth),
            max(0, wanted.chroma - has.chroma),
            has.has_alpha,
            has.chroma,
            has.depth,
        )

    return min(names, key=loss)


def _depth(name: str) -> int:
    if re.search(r"f(16|32)(le|be)?$", name) or re.match(r"(rgb|bgr)(a?)(48|64)", name):
        return 16
    if name.startswith("nv20"):
        return 10
    if re.match(r"y21[026]|v30x", name):
        return {"y212": 12, "y216": 16}.get(name[:4], 10)
    for pattern, group in _DEPTHS:
        if found := pattern.match(name):
            return _NAMED_DEPTHS.get(found[group], int(found[group]))
    return 8


def _chroma(name: str) -> int:
    if re.match(r"(yuva?j?444|yuvj?440|nv24|nv42|p41|ayuv|vuy|xv|v30)", name):
        return 2
    if re.match(r"(yuva?j?422|nv16|nv20|p21|y21|yuyv|uyvy|yvyu)", name):
        return 1
    return 0
