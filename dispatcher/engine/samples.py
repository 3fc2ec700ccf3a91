"""Decode the windows that stand for a film, through the filters of its encode, without any loss.

Laws:
- A source is only opened as its encode opens it.
- The samples are in the job's folder, and end with it.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from dispatcher.engine.causes import NOTHING_DECODED
from dispatcher.engine.codecs import Device
from dispatcher.engine.ffmpeg_errors import FfmpegError
from dispatcher.engine.running import Run, run
from dispatcher.engine.windows import Window, is_sampled, windows_of

__all__ = ["Film", "NoSampleError", "Part", "Sample", "Samples", "Scale", "part_done", "samples_of"]

_LOOKED_AT_S: Final = 900.0
"""In a film that is not longer, cuts are looked for. A longer one has windows enough."""
_CUT: Final = 6
"""How much a picture differs from the last, by ffmpeg's filter `scdet`, if a scene begins."""
_CUT_AT: Final = re.compile(r"lavfi\.scd\.time: *(\d+(?:\.\d+)?)")
_LOSSLESS: Final = ("-c:v", "ffv1", "-level", "3", "-g", "1", "-an", "-sn", "-dn", "-f", "matroska")


class NoSampleError(FfmpegError):
    """There is no picture to score."""


class Scale(NamedTuple):
    """The numbers that set the quality of an encoder, the best first, with the scores to expect."""

    numbers: Sequence[float]
    expected: Sequence[float]


class Film(NamedTuple):
    """How a film becomes an output.

    `options` are those before the source, `stream` is ffmpeg's name of the film in it, and
    `filters` is what it goes through. `encoder` gives the arguments of the encoder for a number of
    its scale, and `device` is what it needs.
    """

    options: Sequence[str]
    stream: str
    filters: Sequence[str]
    fps: float
    encoder: Callable[[float], Sequence[str]]
    scale: Scale
    device: Device = Device()


class Part(NamedTuple):
    """What of a film is encoded: from where, and how long that is, if it is known."""

    from_s: float = 0.0
    length_s: float | None = None


class Sample(NamedTuple):
    """The file of one window, and how many frames it has."""

    path: Path
    frames: int


class Samples(NamedTuple):
    """The samples, and the list by which ffmpeg reads them as one file."""

    parts: Sequence[Sample]
    listed: Path

    @classmethod
    def of(cls, parts: Sequence[Sample], name: str) -> "Samples":
        """List samples in a file of this name beside them."""
        listed = parts[0].path.with_name(name)
        lines = [f"file {it.path.name}\n" for it in parts]
        listed.write_text("".join(["ffconcat version 1.0\n", *lines]))
        return cls(parts, listed)

    def few(self) -> "Samples":
        """Return every third one: enough for a first look."""
        return Samples.of(self.parts[len(self.parts) % 3 // 2 :: 3], "few.ffconcat")

    def remove(self) -> None:
        """Remove the files: the output needs the room."""
        for path in (*(it.path for it in self.parts), self.listed):
            path.unlink(missing_ok=True)


async def samples_of(
    reading: Run, film: Film, part: Part, progress: Callable[[float], None]
) -> Samples:
    """Make the samples in the folder in which a run that opens the source may write.

    `progress` is called with the part that is done, from 0 to 1. Raises `NoSampleError` if there
    is no picture in any window.
    """
    cuts = []
    if is_sampled(part.length_s):
        cuts = await _cuts_in(reading, film, part, lambda done: progress(done / 2))
    windows = windows_of(part.length_s, cuts, part.from_s)
    parts: list[Sample] = []
    for number, window in enumerate(windows):
        progress(0.5 + number / len(windows) / 2)
        if sample := await _sampled(reading, film, window, number):
            parts.append(sample)
    if not parts:
        raise NoSampleError("no picture could be sampled to search for the VMAF score")
    return Samples.of(parts, "samples.ffconcat")


def part_done(length_s: float, progress: Callable[[float], None]) -> Callable[[str], None]:
    """Return what reads ffmpeg's own lines of progress, and tells the part of a length."""

    def on_line(line: str) -> None:
        name, _, value = line.partition("=")
        if name == "out_time_us" and value.isdecimal() and length_s > 0:
            progress(min(1.0, int(value) / 1_000_000 / length_s))

    return on_line


async def _cuts_in(
    reading: Run, film: Film, part: Part, progress: Callable[[float], None]
) -> list[float]:
    """Return when scenes begin, in seconds from where the part does; none of a long film.

    All of it is decoded, but for what can be skipped without missing a cut.
    """
    if part.length_s is None or part.length_s > _LOOKED_AT_S:
        return []
    opening = reading.opening(
        *("-nostats", "-progress", "pipe:1", *film.options),
        *("-skip_loop_filter", "all", "-skip_frame", "bidir"),
        *(("-ss", f"{part.from_s:g}") if part.from_s else ()),
        *("-t", f"{part.length_s:g}"),
    )
    look = ("-filter:v:0", f"scdet=threshold={_CUT}", "-an", "-sn", "-dn")
    ran = await run(
        opening._replace(
            command=[*opening.command, "-map", film.stream, *look, "-f", "null", "-"],
            on_line=part_done(part.length_s, progress),
        )
    )
    return [float(found[1]) for found in _CUT_AT.finditer(ran.report)]


async def _sampled(reading: Run, film: Film, window: Window, number: int) -> Sample | None:
    """Decode a window into a file; `None` if there is no picture in it."""
    assert reading.access.folder is not None  # noqa: S101
    part = reading.access.folder / f"sample-{number}.mkv"
    frames = 0

    def on_line(line: str) -> None:
        nonlocal frames
        name, _, value = line.partition("=")
        if name == "frame" and value.strip().isdecimal():
            frames = int(value)

    opening = reading.opening(
        *("-nostats", "-y", "-progress", "pipe:1", *film.options),
        *(("-ss", f"{window.at_s:g}") if window.at_s else ()),
        *(() if window.length_s is None else ("-t", f"{window.length_s:g}")),
    )
    filters = ("-filter:v:0", ",".join(film.filters)) if film.filters else ()
    ran = await run(
        opening._replace(
            command=[
                *(*opening.command, "-map", film.stream, *filters, "-fps_mode", "passthrough"),
                *(*_LOSSLESS, f"file:{part}"),
            ],
            output=part,
            on_line=on_line,
            fails=False,
        )
    )
    if ran.failure is not None and ran.said.known is not NOTHING_DECODED:
        raise ran.failure
    return Sample(part, frames) if frames else None
