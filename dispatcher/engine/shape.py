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
_ROUNDING: Final = 1e-6
_UNBOUNDED: Final = 1_000_000
_ROWS_OF_FIELDS: Final = 4
"""Two fields of which each has pairs of rows, as 4:2:0 has one row of colours for two."""


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


def scaled(
    film: Stream, recipe: Recipe, *, pads: bool = True, keeps_fields: bool = False
) -> Size | None:
    """Return the size to scale a film to, which is even; `None` if it is within its bounds.

    Its shape is kept, and the shape of its pixels. Of pixels that are wider than high, the width at
    which they are shown is what counts. `pads` tells whether an odd size would be made even by one
    more column or row. If the fields are kept, each has an even height too.
    """
    if not film.width or not film.height:
        return None
    shown = max(film.aspect[0] / film.aspect[1], 1.0)
    bounds_width = _UNBOUNDED if recipe.max_width is None else recipe.max_width / shown + _ROUNDING
    bounds_height = recipe.max_height or _UNBOUNDED
    width, height = (it + it % 2 if pads else it for it in (film.width, film.height))
    if width <= bounds_width and height <= bounds_height:
        return None
    rows = _ROWS_OF_FIELDS if keeps_fields else 2
    most_width = min(bounds_width // 2 * 2, film.width)
    most_height = min(bounds_height // rows * rows, film.height)
    factor = min(most_width / film.width, most_height / film.height)
    return Size(
        _nearest(film.width * factor, 2, most_width),
        _nearest(film.height * factor, rows, most_height),
    )


def _nearest(length: float, step: int, most: float) -> int:
    """Return the nearest multiple of a step that is not above a bound."""
    nearest = step * round(length / step)
    return max(step, nearest if nearest <= most else nearest - step)
