"""Plan how a film is split, and transcode one of its segments.

Laws:
- A source is split only after all of it was read, and is whole.
- A segment is told to be made only if the times of its pictures are just those of the plan.
"""

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Final

import msgspec

from dispatcher.engine.codecs import Target
from dispatcher.engine.cutting import Piece
from dispatcher.engine.encoding import encoding_of
from dispatcher.engine.ffmpeg import Ffmpeg, Input
from dispatcher.engine.ffmpeg_errors import FfmpegError
from dispatcher.engine.film_index import FilmIndex, digest_of_times
from dispatcher.engine.hdr import Light
from dispatcher.engine.inspection import Inspected, inspected
from dispatcher.engine.picture import Picture, picture_of
from dispatcher.engine.planning import NotSplitError, check_film, segment_muxer, segments_of
from dispatcher.engine.running import Run, run
from dispatcher.engine.transcoding import check_end, fitted, read_back
from dispatcher.engine.verification import check_source, scanned_of
from dispatcher.recipes import Recipe
from dispatcher.results import Extent, Result
from dispatcher.segments import Plan, Rest, Segment

__all__ = ["plan_for", "segment_index", "transcode_segment"]

_PREROLLS_S: Final = (0.0, 5.0)
"""How much earlier is decoded: some films have key frames that need pictures before them."""
_OPEN_GOP: Final = "libx265"
_OPTION_OF_IT: Final = "open-gop=0"


async def plan_for(ffmpeg: Ffmpeg, source: Input, codec: str, folder: Path, recipe: Recipe) -> Plan:
    """Read a source, and return how it is split.

    Raises `NotSplitError` if it is to be encoded whole, and `FfmpegError` if it can't be encoded,
    as `VerificationError` if it is not whole.
    """
    is_web = source.proxy_port is not None
    reading = ffmpeg.reading(source, folder / "index")
    found = await inspected(reading, tries_sound=not is_web)
    target = fitted(ffmpeg.target(codec, recipe), found)
    encoding = encoding_of(found.source, found.film, target, ffmpeg.abilities, found.light)
    assert found.film is not None  # noqa: S101 - else there is no encoding
    if recipe.split_s is None:
        raise NotSplitError("its recipe has no length of segments")
    if ffmpeg.checks.verify == "none":
        raise NotSplitError("this engine verifies nothing (--verify none)")
    check_film(found.source, found.film, target, encoding.filters)
    maps = scanned_of(found.said)
    if (film := f"0:{found.film.index}") not in maps:
        raise NotSplitError("ffmpeg knows too little of its picture")
    if not is_web:
        await check_end(ffmpeg, source, reading, found.said)
    place = maps.index(film)
    index, in_file = FilmIndex(maps, film=place), FilmIndex(maps, film=place)
    said = (await run(reading._replace(scan=index))).said
    check_source(said, index, is_web=is_web)
    beginning = reading.opening("-copyts")
    await run(beginning._replace(scan=in_file, enough=lambda: in_file.first is not None))
    if index.first is None or in_file.first is None:
        raise NotSplitError(index.fault or "it has no key frame")
    offset = in_file.first - index.first
    segments = segments_of(index, offset, said, target, recipe.split_s)
    return Plan((*segments, *([Rest()] if len(encoding.kept) > 1 else [])), ffmpeg.alike)


async def transcode_segment(  # noqa: PLR0913, PLR0917 - all that makes an output
    ffmpeg: Ffmpeg,
    source: Input,
    codec: str,
    segment: Segment,
    output: Path,
    progress: Callable[[float], None] = lambda _: None,
    recipe: Recipe | None = None,
) -> Result:
    """Transcode a segment of a film into a new file; gives what was done.

    Raises `FfmpegError` if that fails, with the cause "inexact" if the segment does not have the
    pictures of the plan, even when ffmpeg began earlier.
    """
    reading = ffmpeg.reading(source, output)
    found = await inspected(reading, tries_sound=False)
    target = _of_segments(fitted(ffmpeg.target(codec, recipe), found))
    why = ""
    for preroll_s in _PREROLLS_S:
        piece, started = Piece(segment, preroll_s), time.monotonic()
        picture = await _encoded(ffmpeg, reading, found, target, piece, output, progress)
        took_s = time.monotonic() - started
        index = await segment_index(ffmpeg, output)
        if (fault := _fault_of(index, segment)) is None:
            break
        why = why or fault
    else:
        raise FfmpegError(f"segment {segment.number} of the film {why}", cause="inexact")
    length_s = round(index.length_s, 3)
    return Result(
        encoder=target.encoder.name,
        crf=target.encoder.crf_of(picture.number),
        output=Extent(output.stat().st_size, length_s),
        speed=round(length_s / max(took_s, 0.001), 2),
        warnings=tuple(picture.changes),
        ffmpeg=ffmpeg.version,
        arguments=(*piece.input_options, *picture.options),
    )


async def segment_index(ffmpeg: Ffmpeg, output: Path) -> FilmIndex:
    """Read the index of a segment that was made. Raises `VerificationError` if it can't be read."""
    index = FilmIndex(["0:v:0"])
    await read_back(ffmpeg, output, index)
    return index


def _fault_of(index: FilmIndex, segment: Segment) -> str | None:
    """Tell why this is not the segment; `None` if it is."""
    times = index.times()
    if len(times) != segment.frames:
        return f"has {len(times)} pictures instead of {segment.frames}"
    ticks = in_ticks(times, index, segment)
    if digest_of_times(ticks, 0) != segment.times_sha256:
        return "shows its pictures at other times"
    return None


def in_ticks(times: list[int], index: FilmIndex, segment: Segment) -> list[int]:
    """Return times of an index in ticks of a segment."""
    # In whole numbers: a long film has half a million pictures, and fractions are slow.
    ticks = index.time_base / Fraction(segment.time_base)
    top, bottom = 2 * ticks.numerator, 2 * ticks.denominator
    return [(it * top + ticks.denominator) // bottom for it in times]


def _of_segments(target: Target) -> Target:
    """Return a target whose segments begin and end by themselves."""
    encoder = target.encoder
    if encoder.name != _OPEN_GOP or encoder.params is None:
        return target
    option, own = encoder.params
    params = (option, f"{own}:{_OPTION_OF_IT}")
    return msgspec.structs.replace(target, encoder=msgspec.structs.replace(encoder, params=params))


async def _encoded(  # noqa: PLR0913, PLR0917 - all that makes an output
    ffmpeg: Ffmpeg,
    reading: Run,
    found: Inspected,
    target: Target,
    piece: Piece,
    output: Path,
    progress: Callable[[float], None],
) -> Picture:
    if found.film is None:
        raise FfmpegError("the source has no film any more", cause="inexact")
    light = found.light or Light()
    picture = picture_of(found.film, target, ffmpeg.abilities.filters, light, cut=piece)
    segment = piece.segment
    top, bottom = (int(it) for it in segment.time_base.split("/"))
    length_us = segment.lasts * top * 1_000_000 / bottom

    def on_line(line: str) -> None:
        name, _, value = line.partition("=")
        if name == "out_time_us" and value.isdecimal():
            progress(min(100.0, round(100 * int(value) / length_us, 1)))

    encode = reading.opening(
        *piece.input_options, *picture.input_options, "-nostats", "-progress", "pipe:1"
    )
    muxer = segment_muxer(target) or "mp4"
    await run(
        encode._replace(
            command=[
                *(*encode.command, "-map", f"0:{found.film.index}", *picture.options),
                # Nothing but the picture: a time code would become a stream of its own.
                *("-map_metadata", "-1", "-map_metadata:s", "-1", "-map_chapters", "-1"),
                *("-write_tmcd", "0", "-video_track_timescale", str(bottom)),
                *("-f", muxer, "-y", f"file:{output}"),
            ],
            access=encode.access.to(target.encoder.device),
            output=output,
            on_line=on_line,
        )
    )
    return picture
