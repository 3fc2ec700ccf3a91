"""Join a film of its parts, without encoding anything, and see that nothing is missing.

Laws:
- Each segment begins at its time in the film, in whole microseconds, so that no error adds up.
- The joined film has the pictures of the plan, each at its time; its sound is as long as that of
  the rest. Else it is not joined, and the text says what is wrong.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final, NamedTuple

from dispatcher.engine.codecs import Target
from dispatcher.engine.encoding import encoding_of, joined_options, rest_later_s
from dispatcher.engine.ffmpeg import Ffmpeg, Input
from dispatcher.engine.ffmpeg_errors import FfmpegError, FfmpegStalledError
from dispatcher.engine.film_index import FilmIndex, digest_of_times
from dispatcher.engine.inspection import Inspected, inspected
from dispatcher.engine.parts import in_ticks
from dispatcher.engine.running import Run, run
from dispatcher.engine.scan import PacketScan, Track
from dispatcher.engine.streams import Source, Stream, source_of
from dispatcher.engine.transcoding import fitted, read_back
from dispatcher.recipes import Recipe
from dispatcher.results import Extent, Result
from dispatcher.segments import Segment

__all__ = ["JoinError", "Made", "join"]

_US: Final = 1_000_000
_ROUGHEST: Final = Fraction(1, 1_000)
"""Matroska rounds times to so much."""
_SOUND_SLACK_S: Final = 0.1
_LIST: Final = "film.ffconcat"


class JoinError(FfmpegError):
    """The parts make no exact film. The text says why."""


class Made(NamedTuple):
    """The parts of a film that were made: each segment with its file, and that of the rest."""

    segments: Sequence[tuple[Segment, Path]]
    rest: Path | None = None


class _Rest(NamedTuple):
    """What the rest of a film has, and how far each of its streams of sound goes."""

    source: Source
    tracks: Sequence[Track]

    @property
    def streams(self) -> list[Stream]:
        """The streams that are joined: not what ffmpeg makes of chapters."""
        kinds = {"audio", "subtitle", "attachment"}
        return [it for it in self.source.streams if it.kind in kinds]


async def join(  # noqa: PLR0913, PLR0917 - all that makes an output
    ffmpeg: Ffmpeg,
    source: Input,
    codec: str,
    made: Made,
    output: Path,
    progress: Callable[[float], None] = lambda _: None,
    recipe: Recipe | None = None,
) -> Result:
    """Join a film into a new file; gives what was done. Of its source only what it says is read.

    Raises `JoinError` if the parts or the output are not exactly what they must be, and
    `FfmpegError` if ffmpeg fails.
    """
    reading = ffmpeg.reading(source, output)
    found = await inspected(reading, tries_sound=False)
    target = fitted(ffmpeg.target(codec, recipe), found)
    encoding = encoding_of(found.source, found.film, target, ffmpeg.abilities, found.light)
    times = await _times_of(ffmpeg, made.segments)
    rest = None if made.rest is None else await _rest_of(ffmpeg, made.rest)
    await _joined(reading, found, target, made, rest, output)
    progress(90.0)
    tick_s = Fraction(made.segments[0][0].time_base)
    length_s = await _check(ffmpeg, output, times, tick_s, rest)
    return Result(
        encoder=target.encoder.name,
        crf=target.encoder.crf_of(encoding.number),
        source=Extent(None, found.said.duration_s or found.source.duration_s),
        output=Extent(output.stat().st_size, length_s),
        kept=tuple(encoding.kept),
        left_out=tuple(encoding.left_out),
        warnings=(f"joined from {len(made.segments)} segments", *encoding.changes),
        ffmpeg=ffmpeg.version,
        arguments=(*encoding.input_options, *encoding.options),
    )


async def _times_of(ffmpeg: Ffmpeg, segments: Sequence[tuple[Segment, Path]]) -> list[int]:
    """Return when each picture of the film is shown, in its ticks, as its segments have them.

    Raises `JoinError` if a segment is not what its plan says, or of another kind than the others.
    """
    times, kinds = list[int](), set[tuple[str, str, int, int]]()
    for segment, path in segments:
        index = FilmIndex(["0:v:0"])
        report = "\n".join((await read_back(ffmpeg, path, index, decodes=False)).report)
        ticks = in_ticks(index.times(), index, segment)
        if len(ticks) != segment.frames or digest_of_times(ticks, 0) != segment.times_sha256:
            raise JoinError(f"segment {segment.number} has other pictures than its plan")
        if (found := source_of(report)) is not None:
            kinds |= {(it.codec, it.pixels, it.width, it.height) for it in found.of_kind("video")}
        times += [segment.begins + it for it in ticks]
    if len(kinds) != 1 or len({segment.time_base for segment, _ in segments}) != 1:
        raise JoinError("its segments are of several kinds")
    return times


async def _rest_of(ffmpeg: Ffmpeg, path: Path) -> _Rest:
    scan = PacketScan(["0:a?"])
    said = await read_back(ffmpeg, path, scan, decodes=False)
    found = source_of("\n".join(said.report))
    if found is None:
        raise JoinError("its rest can't be read")
    return _Rest(found, [scan.tracks[it] for it in sorted(scan.tracks)])


async def _joined(  # noqa: PLR0913, PLR0917 - all that makes an output
    reading: Run,
    found: Inspected,
    target: Target,
    made: Made,
    rest: _Rest | None,
    output: Path,
) -> None:
    assert found.film is not None  # noqa: S101 - else there was no encoding
    listed = output.with_name(_LIST)
    listed.write_text(_list_of(made.segments))
    first, _ = made.segments[0]
    begins_s = float(first.begins * Fraction(first.time_base))
    inputs = _input(begins_s, "concat,mov", ("-f", "concat", "-safe", "0"), listed)
    if made.rest is not None:
        inputs += _input(-rest_later_s(target.container), "mov,matroska", (), made.rest)
    streams = [] if rest is None else rest.streams
    # Without `-copyts` each input would begin at zero.
    command = list(reading.opening("-copyts").command)
    options = joined_options(found.film, streams, target, first.time_base)
    command = [*command, *inputs, *options, "-y", f"file:{output}"]
    try:
        await run(reading._replace(command=command, output=output))
    except FfmpegError as error:
        if error.cause == "engine" or isinstance(error, FfmpegStalledError):
            raise
        raise JoinError(f"its parts can't be joined: {error}") from error


def _input(later_s: float, formats: str, options: Sequence[str], path: Path) -> list[str]:
    """Return the arguments that open a file of this engine, of these formats."""
    return [
        *("-itsoffset", f"{later_s:.6f}", "-protocol_whitelist", "file"),
        *("-format_whitelist", formats, *options, "-i", f"file:{path}"),
    ]


def _list_of(segments: Sequence[tuple[Segment, Path]]) -> str:
    """Return the list that ffmpeg reads: each file with how long it is shown."""
    lines = ["ffconcat version 1.0"]
    for segment, path in segments:
        begins, ends = segment.begins, segment.begins + segment.lasts
        tick = Fraction(segment.time_base)
        lasts_us = round(ends * tick * _US) - round(begins * tick * _US)
        quoted = str(path.absolute()).replace("'", r"'\''")
        lines += [f"file 'file:{quoted}'", f"duration {lasts_us / _US:.6f}"]
    return "\n".join([*lines, ""])


async def _check(
    ffmpeg: Ffmpeg, output: Path, times: Sequence[int], tick_s: Fraction, rest: _Rest | None
) -> float:
    """Raise `JoinError` if the output is not the film; gives its length in seconds."""
    index = FilmIndex(["0:v:0", "0:a?"])
    await read_back(ffmpeg, output, index)
    shown = index.times()
    if len(shown) != len(times):
        raise JoinError(f"the joined film has {len(shown)} pictures instead of {len(times)}")
    off_s = _off_s(shown, index.time_base, times, tick_s)
    if off_s > max(index.time_base, _ROUGHEST):
        raise JoinError(f"the joined film shows a picture {float(off_s):.4f} s too early or late")
    made = [it for number, it in sorted(index.tracks.items()) if number > 0]
    wanted = [] if rest is None else rest.tracks
    if len(made) != len(wanted):
        raise JoinError(f"the joined film has {len(made)} tracks of sound, not {len(wanted)}")
    for track, of in zip(made, wanted, strict=True):
        if _length_s(track) < _length_s(of) - _SOUND_SLACK_S:
            raise JoinError(
                f"the joined film's sound lasts {_length_s(track):.1f} s of {_length_s(of):.1f} s"
            )
    return round(index.length_s, 3)


def _off_s(
    shown: Sequence[int], base: Fraction, wanted: Sequence[int], tick_s: Fraction
) -> Fraction:
    """Return by how much a picture is off, at most, beside the first. In whole numbers: see parts.

    `shown` are in ticks of `base`, `wanted` in those of `tick_s`.
    """
    top, other = (base.numerator * tick_s.denominator, tick_s.numerator * base.denominator)
    first = shown[0] * top - wanted[0] * other  # the muxer may have moved all times
    off = max(abs(it * top - at * other - first) for it, at in zip(shown, wanted, strict=True))
    return Fraction(off, base.denominator * tick_s.denominator)


def _length_s(track: Track) -> float:
    return (track.end_s or 0.0) - (track.first_s or 0.0)
