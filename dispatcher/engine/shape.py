"""The width and height of a film: as it is shown, and as a recipe bounds it."""

import re
from typing import Final, NamedTuple

import msgspec

from dispatcher.engine.streams import Stream
from dispatcher.recipes import Recipe

__all__ = ["Size", "scaled", "turned_upright"]

_ROTATION: Final = re.compile(r"rotation of (-?\d+(?:\.\d+)?)")
_QUARTER: Final = 90
_SLACK: Final = 1.0


class Size(NamedTuple):
    """A width and a height, in pixels."""

    width: int
    height: int


def turned_upright(film: Stream) -> Stream:
    """Return a film that is marked to be turned by a quarter as ffmpeg gives it to its filters."""
    turns = [float(found[1]) for it in film.side_data if (found := _ROTATION.search(it))]
    if not turns or abs(turns[0] % (2 * _QUARTER) - _QUARTER) > _SLACK:
        return film
    wide, high = film.aspect
    return msgspec.structs.replace(film, width=film.height, height=film.width, aspect=(high, wide))


def scaled(film: Stream, recipe: Recipe) -> Size | None:
    """Return the size to scale a film to, which is even; `None` if it is within its bounds.

    Its shape is kept, and the shape of its pixels. Of pixels that are wider than high, the width at
    which they are shown is what counts.
    """
    if not film.width or not film.height:
        return None
    shown = max(film.aspect[0] / film.aspect[1], 1.0)
    most_width, most_height = float(film.width), float(film.height)
    if recipe.max_width is not None:
        most_width = recipe.max_width / shown // 2 * 2
    if recipe.max_height is not None:
        most_height = recipe.max_height // 2 * 2
    factor = min(most_width / film.width, most_height / film.height)
    if factor >= 1:
        return None
    return Size(_even(film.width * factor, most_width), _even(film.height * factor, most_height))


def _even(length: float, most: float) -> int:
    """Return the nearest even number that is not above a bound."""
    nearest = 2 * round(length / 2)
    return max(2, nearest if nearest <= most else nearest - 2)
