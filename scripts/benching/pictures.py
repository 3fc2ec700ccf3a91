"""Pictures as SVG: lines over categories or time, and bars with their spread."""

from collections.abc import Mapping, Sequence
from html import escape
from math import floor, log10
from typing import Final

from .figures import Spread, number

__all__ = ["bars", "lines"]

WIDTH: Final = 760
HEIGHT: Final = 380
LEFT: Final = 80
RIGHT: Final = 200
TOP: Final = 44
BOTTOM: Final = 52
ACROSS: Final = WIDTH - LEFT - RIGHT
DOWN: Final = HEIGHT - TOP - BOTTOM
GRID: Final = 4
ROUND: Final = (1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0)
THOUSAND: Final = 1_000
BAR: Final = 34
COLOURS: Final = ("#0969da", "#cf222e", "#1a7f37", "#8250df", "#bf8700", "#57606a")


def lines(
    title: str, ticks: Sequence[str], over: str, curves: Mapping[str, Sequence[Spread]]
) -> str:
    """Draw curves over evenly spaced points, each with a whisker from the least to the greatest.

    Only so many of the `ticks` are written that they can be read.
    """
    top = _round_above(max(it.greatest for curve in curves.values() for it in curve))
    step = ACROSS / max(1, len(ticks) - 1)

    def y(value: float) -> float:
        return TOP + DOWN * (1 - value / top)

    parts = [_text(LEFT, 24, title, size=16)]
    for mark in range(GRID + 1):
        value = top * mark / GRID
        parts.append(_line(LEFT, y(value), LEFT + ACROSS, y(value), "#d0d7de"))
        parts.append(
            _text(
                LEFT - 8,
                y(value) + 4,
                f"{value:,.4g}" if top < THOUSAND else f"{value:,.0f}",
                anchor="end",
            )
        )
    every = -(-len(ticks) // 10)
    for place, tick in enumerate(ticks):
        if place % every == 0:
            parts.append(_text(LEFT + step * place, TOP + DOWN + 20, tick, anchor="middle"))
    parts.append(_text(LEFT + ACROSS / 2, HEIGHT - 10, over, anchor="middle"))
    for row, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[row % len(COLOURS)]
        points = [(LEFT + step * place, it) for place, it in enumerate(curve)]
        path = " ".join(f"{x:.1f},{y(it.median):.1f}" for x, it in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, it in points:
            if it.greatest > it.least:
                parts.append(_line(x, y(it.least), x, y(it.greatest), colour))
        at = TOP + 16 + 20 * row
        parts.append(_line(LEFT + ACROSS + 16, at - 4, LEFT + ACROSS + 36, at - 4, colour, 3))
        parts.append(_text(LEFT + ACROSS + 42, at, name))
    return _svg(HEIGHT, parts)


def bars(title: str, values: Mapping[str, Spread], ours: str = "") -> str:
    """Draw a bar for each value, with a whisker from the least to the greatest."""
    top = max(spread.greatest for spread in values.values()) or 1.0
    left = LEFT + 130
    across = WIDTH - left - 130
    parts = [_text(16, 24, title, size=16)]
    for row, (name, spread) in enumerate(values.items()):
        y = TOP + BAR * row
        width = across * spread.median / top
        colour = COLOURS[0] if name == ours else COLOURS[-1]
        parts.append(_text(left - 8, y + 17, name, anchor="end"))
        parts.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="24" fill="{colour}"/>')
        whisker = (left + across * spread.least / top, left + across * spread.greatest / top)
        parts.append(_line(whisker[0], y + 12, whisker[1], y + 12, "#1f2328", 2))
        parts.append(_text(whisker[1] + 8, y + 17, number(spread.median)))
    return _svg(TOP + BAR * len(values) + 12, parts)


def _round_above(value: float) -> float:
    """Give a round number that is not below the value, for the top of the axis."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in ROUND if step * power >= value)


def _svg(height: float, parts: Sequence[str]) -> str:
    opened = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">'
    )
    ground = f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    return "\n".join([opened, ground, *parts, "</svg>", ""])


def _line(  # noqa: PLR0913, PLR0917 - four of them are two points
    x1: float, y1: float, x2: float, y2: float, colour: str, width: int = 1
) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}" stroke-width="{width}"/>'
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="#1f2328">{escape(text)}</text>'
    )
