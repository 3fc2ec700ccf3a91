"""How many bits a film may take, and how long its encoder: what a recipe asks, for one encoder."""

from typing import NamedTuple

from dispatcher.engine.codecs import Target
from dispatcher.engine.ffmpeg_errors import FfmpegError
from dispatcher.recipes import WAYS

__all__ = ["Spent", "spent_on"]


class Spent(NamedTuple):
    """Options for rate and speed, the number that sets the quality, and what is not as asked."""

    options: list[str]
    number: float | None = None
    changes: tuple[str, ...] = ()


def spent_on(target: Target) -> Spent:
    """Return the options for the rate and the speed of a recipe.

    Raises `FfmpegError` if the encoder has none such.
    """
    encoder, recipe, rate = target.encoder, target.recipe, target.encoder.rate
    speed = [*encoder.at_speed(recipe.speed)]
    changes: tuple[str, ...] = ()
    if recipe.speed is not None and not encoder.speeds:
        changes = (f"{encoder.name} has one speed",)
    asked = [it for it in WAYS if getattr(recipe, it) is not None]
    if rate is None:
        if asked:
            raise FfmpegError(
                f"{encoder.name} has no rate that can be set, as the recipe's '{asked[0]}' asks",
                cause="source_bad",
            )
        return Spent(speed, None, changes)
    if target.number is not None:
        return Spent([*rate.at(target.number), *speed], target.number, changes)
    if recipe.bits_per_s is not None:
        return Spent([*rate.at_bits(recipe.bits_per_s), *speed], None, changes)
    number = rate.usual
    if recipe.quality is not None:
        number = rate.number_for(recipe.quality)
    elif recipe.crf is not None:
        number, told = _number_for_crf(target, recipe.crf)
        changes += told
    return Spent([*rate.at(number), *speed], number, changes)


def _number_for_crf(target: Target, crf: float) -> tuple[float, tuple[str, ...]]:
    """Return the encoder's number for a CRF.

    An encoder with another scale gets the number of the same quality.
    """
    rate, [first, *_] = target.encoder.rate, target.codec.encoders
    if rate is not None and rate.is_crf:
        number = max(crf, rate.least)
        return number, () if number == crf else (f"CRF {number:g}, the lowest, is taken",)
    if rate is None or first.rate is None or not first.rate.is_crf:
        raise FfmpegError(f"{target.encoder.name} has no CRF", cause="source_bad")
    number = rate.number_for(first.rate.quality_at(crf))
    same = f"{target.encoder.name} has no CRF: it takes {number:g}, for a quality as of {crf:g}"
    return number, (f"{same} with {first.name}",)
