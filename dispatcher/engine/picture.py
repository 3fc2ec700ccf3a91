"""How the film itself is encoded: which filters it goes through, and in which pixel format."""

from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

from dispatcher.engine.codecs import Encoder
from dispatcher.engine.ffmpeg_errors import FfmpegError
from dispatcher.engine.hdr import (
    TONE_MAPPERS,
    Light,
    has_private_colours,
    is_hdr,
    parameters_of,
    tone_mapping,
)
from dispatcher.engine.pixels import Pixels, nearest_of, pixels_of
from dispatcher.engine.streams import Stream

__all__ = ["Picture", "picture_of"]

_HDR_DEPTH: Final = 10
_SHAPE_SLACK: Final = 0.01
_RATE_SLACK: Final = 0.0005  # ffmpeg tells two decimals
# Frames that are not flagged as interlaced are left alone.
_DEINTERLACE: Final = "bwdif=mode=send_frame:parity=auto:deint=interlaced"
# ffmpeg's own decoders of these leave the transparency out.
_ALPHA_DECODERS: Final = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


class Picture(NamedTuple):
    """Options before the input and for the output, and what of the source is not as it was."""

    input_options: list[str]
    options: list[str]
    changes: list[str]


def picture_of(film: Stream, encoder: Encoder, filters: AbstractSet[str], light: Light) -> Picture:
    """Return how a film is encoded, by an ffmpeg that has these filters.

    Raises `FfmpegError` if it can't be done without showing wrong colours.
    """
    changes = [] if not encoder.note else [f"encoded with {encoder.note}"]
    _refuse_private_colours(film)
    chain: list[str] = []
    if film.is_interlaced:
        chain.append(_DEINTERLACE)
        changes.append("deinterlaced")
    options = [*encoder.options]
    params = [encoder.params[1]] if encoder.params and encoder.params[1] else []
    had = _held_by(film)
    pixels = _format_for(film, had, encoder)
    if is_hdr(film):
        if pixels_of(pixels or film.pixels).depth < _HDR_DEPTH:
            _refuse_without(filters, encoder)
            chain += tone_mapping(film)
            changes.append(f"tone-mapped: HDR ({film.transfer}) became SDR")
        else:
            params += parameters_of(light, encoder.name)
    elif had.is_rgb and pixels:
        # Else it would be left to the player to guess the matrix.
        chain.append("scale=out_color_matrix=bt709:out_range=tv")
        options += ["-colorspace", "bt709", "-color_range", "tv"]
    if not _tells_shape(film, encoder):
        chain += ["scale=round(iw*sar/2)*2:ih", "setsar=1"]
        changes.append("scaled to square pixels")
    if encoder.even and (film.width % 2 or film.height % 2):
        chain += _padding(film, had)
        changes.append(f"padded to an even size from {film.width}x{film.height}")
    if pixels:
        chain.append(f"format={pixels}")
        options += encoder.for_pixels.get(pixels, ())
        changes += _lost(had, pixels_of(pixels))
    if params and encoder.params:
        options += [encoder.params[0], ":".join(params)]
    if chain:
        options += ["-filter:v:0", ",".join(chain)]
    keeps_alpha = not pixels or pixels_of(pixels).has_alpha
    options += [] if keeps_alpha else ["-metadata:s:v:0", "alpha_mode="]
    return Picture(
        _decoder(film) if keeps_alpha else [],
        ["-c:v:0", encoder.name, *options, *_timing(film, encoder)],
        changes,
    )


def _held_by(film: Stream) -> Pixels:
    """Return what a film holds. Transparency of WebM stands only in a tag."""
    return pixels_of(film.pixels)._replace(
        has_alpha=pixels_of(film.pixels).has_alpha or bool(_decoder(film))
    )


def _decoder(film: Stream) -> list[str]:
    if film.tags.get("alpha_mode") == "1" and film.codec in _ALPHA_DECODERS:
        return [f"-c:{film.index}", _ALPHA_DECODERS[film.codec]]
    return []


def _format_for(film: Stream, had: Pixels, encoder: Encoder) -> str:
    """Return the pixel format to encode in; "" to leave it to the encoder."""
    if not encoder.pixels:
        return ""
    wanted = had
    if had.is_rgb and all(pixels_of(name).chroma == 0 for name in encoder.pixels[:1]):
        wanted = wanted._replace(chroma=0)  # screens and GIFs, which all players shall show
    if is_hdr(film):
        wanted = wanted._replace(depth=max(_HDR_DEPTH, had.depth))
        deep = [name for name in encoder.pixels if pixels_of(name).depth >= _HDR_DEPTH]
        return nearest_of(deep or encoder.pixels, wanted)
    return nearest_of(encoder.pixels, wanted)


def _lost(had: Pixels, has: Pixels) -> list[str]:
    if (
        has.depth < had.depth
        or has.has_alpha < had.has_alpha
        or (has.chroma < had.chroma and not had.is_rgb)
    ):
        return [f"{had.described} became {has.described}"]
    return []


def _tells_shape(film: Stream, encoder: Encoder) -> bool:
    wide, high = film.aspect
    if encoder.shapes is None or wide == high or not film.height:
        return True
    shape = film.width * wide / (film.height * high)
    return any(abs(shape / known - 1) < _SHAPE_SLACK for known in encoder.shapes)


def _timing(film: Stream, encoder: Encoder) -> list[str]:
    """Return the options that keep the time of each frame."""
    if not encoder.ticks:
        return ["-fps_mode", "cfr"]
    # Frames of 1001/24000 s have no whole number of 90,000ths, but of 120,000ths.
    is_film_rate = any(abs(film.fps / (k * 24_000 / 1_001) - 1) < _RATE_SLACK for k in (1, 2, 5))
    ticks = 120_000 if is_film_rate and encoder.ticks == 90_000 else encoder.ticks  # noqa: PLR2004
    return ["-fps_mode", "vfr", "-enc_time_base", f"1:{ticks}"]


def _padding(film: Stream, had: Pixels) -> list[str]:
    """Return the filters that add a column or a row, with the colours of the one beside it."""
    right, bottom = film.width % 2, film.height % 2
    if any("rotation of" in line and "180" not in line for line in film.side_data):
        right, bottom = bottom, right  # ffmpeg has turned the picture before any filter
    return [
        # Of a picture with half the columns of colour, `pad` would lose the last one.
        f"format={'yuv444p' if had.depth <= 8 else 'yuv444p10le'}",  # noqa: PLR2004 - bits
        "pad=ceil(iw/2)*2:ceil(ih/2)*2",
        f"fillborders=right={right}:bottom={bottom}:mode=smear",
    ]


def _refuse_without(filters: AbstractSet[str], encoder: Encoder) -> None:
    if missing := TONE_MAPPERS - filters:
        raise FfmpegError(
            f"the source has a high dynamic range, and {encoder.name} here has 8 bits: that needs "
            f"an ffmpeg with the filters {', '.join(sorted(missing))}",
            cause="engine",
        )


def _refuse_private_colours(film: Stream) -> None:
    if has_private_colours(film):
        raise FfmpegError(
            "the source is Dolby Vision of profile 5, whose colours ffmpeg can't read; make one "
            "of profile 8 of it, which has HDR10 in it",
            cause="source_bad",
        )
