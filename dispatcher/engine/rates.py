"""How much an encoder may spend: a number of its own, a quality that means the same, or bits.

A quality is the score of VMAF that the encoder reached on average over a few clips, at its usual
speed. docs/recipes.md tells how that was measured, and what it is worth.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

__all__ = ["Rate"]

_PEAK: Final = 1.5
_BUFFER_S: Final = 2
_MOST: Final = 2**31 - 1  # ffmpeg's


class Rate(msgspec.Struct, frozen=True):
    """How one encoder is told its rate.

    `arguments` have "{}" where the number goes that sets its quality. `usual` is the number that is
    taken if nothing is asked for. `anchors` are pairs of a quality and the number for it, the best
    first: no quality gets a number beyond them. A `whole` number has no fraction; none may be below
    `least`. `is_crf` tells that it is a CRF, not another scale. `bits` are arguments for a bit
    rate, with "{rate}", and "{peak}" and "{buffer}" where the encoder has bounds for it.
    """

    arguments: tuple[str, ...]
    usual: float = 0
    anchors: tuple[tuple[float, float], ...] = ()
    whole: bool = True
    least: float = 0
    is_crf: bool = True
    bits: tuple[str, ...] = ("-b:v", "{rate}", "-maxrate", "{peak}", "-bufsize", "{buffer}")

    def at(self, number: float | None = None) -> list[str]:
        """Return the arguments for a number such as a CRF, or for the usual one."""
        told = self.usual if number is None else number
        text = f"{round(told)}" if self.whole else f"{round(told, 2):g}"
        return [word.replace("{}", text) for word in self.arguments]

    def at_bits(self, rate: int) -> list[str]:
        """Return the arguments for a number of bits a second, in one pass."""
        peak = min(round(rate * _PEAK), _MOST)
        values = {"{rate}": rate, "{peak}": peak, "{buffer}": min(peak * _BUFFER_S, _MOST)}
        return [str(values.get(word, word)) for word in self.bits]

    def number_for(self, quality: float) -> float:
        """Return the number for a quality from 0 to 100; bounds hold beyond the anchors."""
        number = _between(self.anchors, quality)
        return round(number) if self.whole else round(number, 1)

    def quality_at(self, number: float) -> float:
        """Return the quality that a number stands for: what `number_for` undoes."""
        swapped = [(at, quality) for quality, at in self.anchors]
        return _between(sorted(swapped, reverse=True), number)


def _between(points: Sequence[tuple[float, float]], at: float) -> float:
    """Interpolate between points whose first numbers fall."""
    (above, value), *_ = points
    if at >= above:
        return value
    for below, next_value in points[1:]:
        if at >= below:
            return next_value + (value - next_value) * (at - below) / (above - below)
        above, value = below, next_value
    return value
