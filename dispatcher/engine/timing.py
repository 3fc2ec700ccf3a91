"""When each frame is shown: its field, its time, and how many there are in a second."""

from fractions import Fraction
from typing import Final, NamedTuple

from dispatcher.engine.codecs import Encoder, Target
from dispatcher.engine.ffmpeg_errors import FfmpegError
from dispatcher.engine.streams import Stream

__all__ = ["Fields", "deinterlacing", "rate_of", "timing"]

_RATE_SLACK: Final = 0.0005  # ffmpeg tells two decimals
_NTSC: Final = Fraction(1_000, 1_001)
_NTSC_SLACK: Final = 0.005
_MOST_PARTS: Final = 1_001
_MPEG4_TICKS: Final = 65_535
# One frame for two fields. `auto` leaves frames alone that are not flagged as interlaced.
_DEINTERLACE: Final = "bwdif=mode=send_frame:parity=auto:deint="
_MPEG2_RATES: Final = (
    *(Fraction(n) for n in (24, 25, 30, 50, 60)),
    *(n * _NTSC for n in (24, 30, 60)),
)


class Fields(NamedTuple):
    """What is done to the fields of an interlaced film, and whether they are kept."""

    filters: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    keeps: bool = False


def deinterlacing(film: Stream, target: Target) -> Fields:
    """Return how the fields of a film become frames, or how they are kept.

    Raises `FfmpegError` if they are to be kept and can't.
    """
    encoder, recipe = target.encoder, target.recipe
    match recipe.deinterlace:
        case "always":
            return Fields((f"{_DEINTERLACE}all",), changes=("deinterlaced",))
        case "auto" if film.is_interlaced:
            return Fields((f"{_DEINTERLACE}interlaced",), changes=("deinterlaced",))
        case "never" if film.is_interlaced:
            if encoder.fields is None:
                raise FfmpegError(
                    f"{encoder.name} can't keep an interlaced film as it is, as the recipe's "
                    "'deinterlace' asks; h264, mpeg2, mpeg4, prores and ffv1 can",
                    cause="engine",
                )
            if recipe.fps is not None:
                raise FfmpegError(
                    "the recipe's 'fps' and 'deinterlace' = 'never' contradict each other for an "
                    "interlaced source: fields can't be left out",
                    cause="source_bad",
                )
            return Fields(options=encoder.fields, keeps=True)
        case _:
            return Fields()


def rate_of(fps: float | str, encoder: Encoder) -> Fraction:
    """Return the frames a second that a recipe asks for; 29.97 is 30000/1001.

    Raises `FfmpegError` if the encoder has no such rate.
    """
    if isinstance(fps, str):
        rate = Fraction(fps)
    else:
        ntsc = round(fps) * _NTSC
        is_ntsc = 1 <= round(fps) != fps and abs(ntsc - Fraction(fps)) < _NTSC_SLACK
        rate = ntsc if is_ntsc else Fraction(fps).limit_denominator(_MOST_PARTS)
    if encoder.name == "mpeg4" and rate.numerator > _MPEG4_TICKS:
        rate = rate.limit_denominator(max(1, int(_MPEG4_TICKS / rate) - 1))
    if encoder.name == "mpeg2video" and not _has_mpeg2(rate):
        raise FfmpegError(
            f"MPEG-2 has no {float(rate):g} frames a second, as the recipe's 'fps' asks; it has "
            "23.976, 24, 25, 29.97, 30, 50, 59.94 and 60, and some parts of these",
            cause="source_bad",
        )
    return rate


def timing(film: Stream, target: Target, rate: Fraction | None) -> list[str]:
    """Return the options that keep the time of each frame, or that make all equally long."""
    encoder = target.encoder
    # MPEG-4's encoder takes each tick for a frame that has a part of the bits.
    counts_ticks = encoder.name == "mpeg4" and target.recipe.bitrate is not None
    if rate is not None or not encoder.ticks or counts_ticks:
        return ["-fps_mode", "cfr"]
    # Frames of 1001/24000 s have no whole number of 90,000ths, but of 120,000ths.
    is_film_rate = any(abs(film.fps / (k * 24_000 / 1_001) - 1) < _RATE_SLACK for k in (1, 2, 5))
    ticks = 120_000 if is_film_rate and encoder.ticks == 90_000 else encoder.ticks  # noqa: PLR2004
    return ["-fps_mode", "vfr", "-enc_time_base", f"1:{ticks}"]


def _has_mpeg2(rate: Fraction) -> bool:
    """Whether it is one of the rates of MPEG-2, times 1 to 4, by 1 to 32."""
    return any(
        known * above / below == rate
        for known in _MPEG2_RATES
        for above in range(1, 5)
        for below in range(1, 33)
    )
