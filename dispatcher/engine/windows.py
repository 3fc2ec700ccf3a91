"""Choose a few short windows that stand for a whole film.

The film is divided into cells: scenes, parts of long ones, and groups of short ones. Each cell has
one window, whose length is in the same proportion to it everywhere. So the mean over all windows is
close to that over the film, however unlike its scenes are.

Law: windows are in order, within the film, and do not overlap.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import ceil
from typing import Final, NamedTuple

__all__ = ["Window", "is_sampled", "windows_of"]

_SHARE: Final = 1 / 16
_MOST_SHARE: Final = 1 / 5
"""The part of a film that is sampled, and the most of a short one."""
_FEW_S: Final = 2.8
_MOST_S: Final = 24.0
"""How much is sampled of a short film, and the most of any."""
_LEAST_S: Final = 0.4
"""An encoder starts anew in each window, which a shorter one would show."""
_LONGEST_S: Final = 0.7
_SHORT_S: Final = 6.0
_UNKNOWN_S: Final = 8.0


class Window(NamedTuple):
    """A part of a film: where it begins, and its length; to the end without one."""

    at_s: float
    length_s: float | None


class _Cell(NamedTuple):
    begin_s: float
    end_s: float
    cuts: Sequence[float] = ()


def is_sampled(length_s: float | None) -> bool:
    """Whether a film is so long that windows stand for it."""
    return length_s is not None and length_s > _SHORT_S


def windows_of(
    length_s: float | None, cuts: Sequence[float] = (), from_s: float = 0.0
) -> list[Window]:
    """Return the windows for a film, or for the part of it that begins there, of this length.

    `cuts` are the times within it at which a scene begins. A short film is one window. Of a film
    whose length is not known, the beginning must do.
    """
    if length_s is None:
        return [Window(from_s, _UNKNOWN_S)]
    if not is_sampled(length_s):
        return [Window(from_s, length_s if from_s else None)]
    share = min(max(_SHARE, min(_FEW_S / length_s, _MOST_SHARE)), _MOST_S / length_s)
    return [
        Window(round(from_s + begin_s, 3), round(each_s, 3))
        for cell in _cells(length_s, cuts, share)
        for begin_s, each_s in [_window_in(cell, share)]
    ]


def _cells(length_s: float, cuts: Sequence[float], share: float) -> Iterator[_Cell]:
    shortest_s, longest_s = _LEAST_S / share, _LONGEST_S / share
    begin_s, within = 0.0, list[float]()
    for edge_s in [*sorted({it for it in cuts if 0 < it < length_s}), length_s]:
        middle_s = max(begin_s + shortest_s, *within[-1:], 0)
        if within and edge_s - middle_s >= shortest_s:
            # A long scene after short ones: only its beginning goes with them.
            yield _Cell(begin_s, middle_s, within)
            begin_s, within = middle_s, []
        is_long = edge_s - begin_s >= shortest_s and length_s - edge_s >= shortest_s
        if is_long or edge_s == length_s:
            yield from _split(_Cell(begin_s, edge_s, within), longest_s)
            begin_s, within = edge_s, []
        else:
            within.append(edge_s)


def _split(cell: _Cell, longest_s: float) -> Iterator[_Cell]:
    """Divide a scene that is long. Cells of several scenes are not."""
    parts = 1 if cell.cuts else ceil((cell.end_s - cell.begin_s) / longest_s)
    step_s = (cell.end_s - cell.begin_s) / parts
    edges = [cell.begin_s + number * step_s for number in range(parts)] + [cell.end_s]
    for begin_s, end_s in pairwise(edges):
        yield _Cell(begin_s, end_s, cell.cuts)


def _window_in(cell: _Cell, share: float) -> tuple[float, float]:
    """Return the middle of a scene; of several, what is around the cut next to the middle.

    Of the scenes on both sides of it there is as much as of all that comes before and after.
    """
    whole_s = cell.end_s - cell.begin_s
    middle_s = cell.begin_s + whole_s / 2
    at_s = min(cell.cuts, key=lambda cut_s: abs(cut_s - middle_s), default=middle_s)
    return at_s - (at_s - cell.begin_s) * share, whole_s * share
