"""How the film itself is encoded: which filters it goes through, and in which pixel format."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from dispatcher.engine.codecs import Encoder, Target
from dispatcher.engine.cutting import WHOLE, Cut, Piece
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
from dispatcher.engine.raw_arguments import NO_RAW, Raw
from dispatcher.engine.shape import scaled, turned_upright
from dispatcher.engine.spending import spent_on
from dispatcher.engine.streams import Stream
from dispatcher.engine.timing import deinterlacing, rate_of, timing

__all__ = ["Picture", "picture_of"]

_HDR_DEPTH: Final = 10
_SHAPE_SLACK: Final = 0.01
# ffmpeg's own decoders of these leave the transparency out.
_ALPHA_DECODERS: Final = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_ALPHA_BESIDE: Final = frozenset({"yuva420p"})
_TAGGED: Final = frozenset({"mp4", "mov"})


class Picture(NamedTuple):
    """Options before the input and for the output, and what of the source is not as it was.

    `number` is the CRF, or what the encoder has instead; `None` if a bit rate is set. `filters` and
    `encoder` are the parts of the options that decide how good the pictures are.
    """

    input_options: list[str]
    options: list[str]
    changes: list[str]
    number: float | None = None
    filters: Sequence[str] = ()
    encoder: Sequence[str] = ()


class _Means(NamedTuple):
    """The filters that there are, and what the source tells of its light."""

    filters: AbstractSet[str]
    light: Light


@dataclass
class _Made:
    """What has been put together of the filters, the options, a library's own, and the changes."""

    chain: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    params: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)


def picture_of(  # noqa: PLR0913, PLR0917 - all that decides
    film: Stream,
    target: Target,
    filters: AbstractSet[str],
    light: Light,
    raw: Raw = NO_RAW,
    cut: Cut | Piece = WHOLE,
) -> Picture:
    """Return how a film is encoded, by an ffmpeg that has these filters.

    Raises `FfmpegError` if it can't be done as the recipe asks, or not without showing wrong
    colours.
    """
    encoder, recipe = target.encoder, target.recipe
    film = turned_upright(film)
    _refuse_private_colours(film)
    made = _Made()
    if encoder.note:
        made.changes.append(f"encoded with {encoder.note}")
    spent, fields = spent_on(target), deinterlacing(film, target)
    made.options += [*spent.options, *encoder.options, *fields.options]
    made.changes += [*spent.changes, *fields.changes]
    made.chain += [*fields.filters, *cut.picture_filters]
    rate = None if recipe.fps is None else rate_of(recipe.fps, encoder)
    if rate is not None:
        made.chain.append(f"fps={rate.numerator}/{rate.denominator}")
    film = _within_bounds(film, target, made, keeps_fields=fields.keeps)
    had = _held_by(film)
    pixels = _coloured(film, had, target, made, _Means(filters, light))
    if not _tells_shape(film, encoder):
        made.chain += ["scale=round(iw*sar/2)*2:ih", "setsar=1"]
        made.changes.append("scaled to square pixels")
    if encoder.even and (film.width % 2 or film.height % 2):
        made.chain += _padding(film, had)
        made.changes.append(f"padded to an even size from {film.width}x{film.height}")
    made.chain += raw.picture_filters
    if pixels:
        made.chain.append(f"format={pixels}")
        made.options += encoder.for_pixels.get(pixels, ())
        made.changes += _lost(had, pixels_of(pixels))
    keeps_alpha = not pixels or pixels_of(pixels).has_alpha
    encoding = [*made.options, *_library_options(encoder, made.params, raw)]
    options = [*encoding]
    upload = ["-filter:v:0", ",".join(encoder.device.upload)] if encoder.device.upload else []
    if chain := [*made.chain, *encoder.device.upload]:
        options += ["-filter:v:0", ",".join(chain)]
    if not keeps_alpha:
        options += ["-metadata:s:v:0", "alpha_mode="]
    if target.codec.tag and target.container.muxer in _TAGGED:
        options += ["-tag:v", target.codec.tag]
    times = cut.timing if isinstance(cut, Piece) else timing(film, target, rate)
    return Picture(
        _decoder(film) if keeps_alpha else [],
        [*encoder.device.options, "-c:v:0", encoder.name, *options, *times],
        made.changes,
        spent.number,
        made.chain,
        [*encoder.device.options, "-c:v:0", encoder.name, *encoding, *upload],
    )


def _within_bounds(film: Stream, target: Target, made: _Made, *, keeps_fields: bool) -> Stream:
    """Scale a film down to what the recipe allows; gives it as it is then."""
    pads = target.encoder.even
    size = scaled(film, target.recipe, pads=pads, keeps_fields=keeps_fields)
    if size is None:
        return film
    interlaced = ":interl=1" if keeps_fields else ""
    made.chain.append(f"scale={size.width}:{size.height}:flags=bicubic{interlaced}")
    made.chain.append("setsar={}/{}".format(*film.aspect))
    made.changes.append(f"scaled to {size.width}x{size.height} from {film.width}x{film.height}")
    return msgspec.structs.replace(film, width=size.width, height=size.height)


def _coloured(film: Stream, had: Pixels, target: Target, made: _Made, means: _Means) -> str:
    """Choose the pixel format, and make its colours of those of the film; "" for any format."""
    encoder, wants = target.encoder, target.recipe.hdr
    pixels = _format_for(film, had, target)
    if is_hdr(film):
        is_shallow = pixels_of(pixels or film.pixels).depth < _HDR_DEPTH
        if is_shallow and wants == "keep":
            raise FfmpegError(
                f"the recipe keeps the high dynamic range, and {encoder.name} has 8 bits here",
                cause="engine",
            )
        if is_shallow or wants == "tonemap":
            _refuse_without(means.filters)
            made.chain += tone_mapping(film)
            made.changes.append(f"tone-mapped: HDR ({film.transfer}) became SDR")
            return pixels or film.pixels
        made.params += parameters_of(means.light, encoder.name)
    elif had.is_rgb and pixels:
        # Else it would be left to the player to guess the matrix.
        made.chain.append("scale=out_color_matrix=bt709:out_range=tv")
        made.options += ["-colorspace", "bt709", "-color_range", "tv"]
    return pixels


def _library_options(encoder: Encoder, params: Sequence[str], raw: Raw) -> list[str]:
    """Return the options that go to the encoder's library itself, the recipe's own last."""
    own, first = encoder.params or ("", "")
    found = dict(raw.params)
    if all_own := [it for it in (first, *params, found.pop(own, "")) if it]:
        found[own] = ":".join(all_own)
    return [word for option in found.items() for word in option]


def _held_by(film: Stream) -> Pixels:
    """Return what a film holds. Transparency of WebM stands only in a tag."""
    return pixels_of(film.pixels)._replace(
        has_alpha=pixels_of(film.pixels).has_alpha or bool(_decoder(film))
    )


def _decoder(film: Stream) -> list[str]:
    if film.tags.get("alpha_mode") == "1" and film.codec in _ALPHA_DECODERS:
        return [f"-c:{film.index}", _ALPHA_DECODERS[film.codec]]
    return []


def _format_for(film: Stream, had: Pixels, target: Target) -> str:
    """Return the pixel format to encode in; "" to leave it to the encoder."""
    has_place = target.container.has_alpha
    known = [it for it in target.encoder.pixels if has_place or it not in _ALPHA_BESIDE]
    if not known:
        return ""
    wanted = had
    if had.is_rgb and all(pixels_of(name).chroma == 0 for name in known[:1]):
        wanted = wanted._replace(chroma=0)  # screens and GIFs, which all players shall show
    if is_hdr(film):
        wanted = wanted._replace(depth=max(_HDR_DEPTH, had.depth))
        deep = [name for name in known if pixels_of(name).depth >= _HDR_DEPTH]
        return nearest_of(deep or known, wanted)
    return nearest_of(known, wanted)


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


def _padding(film: Stream, had: Pixels) -> list[str]:
    """Return the filters that add a column or a row, with the colours of the one beside it."""
    right, bottom = film.width % 2, film.height % 2
    return [
        # Of a picture with half the columns of colour, `pad` would lose the last one.
        f"format={'yuv444p' if had.depth <= 8 else 'yuv444p10le'}",  # noqa: PLR2004 - bits
        "pad=ceil(iw/2)*2:ceil(ih/2)*2",
        f"fillborders=right={right}:bottom={bottom}:mode=smear",
    ]


def _refuse_without(filters: AbstractSet[str]) -> None:
    if missing := TONE_MAPPERS - filters:
        raise FfmpegError(
            "to make a standard dynamic range of the source's high one needs an ffmpeg with the "
            f"filters {', '.join(sorted(missing))}",
            cause="engine",
        )


def _refuse_private_colours(film: Stream) -> None:
    if has_private_colours(film):
        raise FfmpegError(
            "the source is Dolby Vision of profile 5, whose colours ffmpeg can't read; make one "
            "of profile 8 of it, which has HDR10 in it",
            cause="source_bad",
        )
