"""Transcode a source: look at it, search its CRF if need be, encode, and verify.

Law: a transcode succeeds only if source and output are known to be whole, as `verification` tells.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from dispatcher.engine.causes import NOTHING_DECODED
from dispatcher.engine.codecs import Target
from dispatcher.engine.cut_subtitles import cut_text
from dispatcher.engine.cutting import Cut, cut_of, no_picture_in
from dispatcher.engine.demuxers import media_demuxers
from dispatcher.engine.encoding import Encoding, encoding_of, texts_to_cut
from dispatcher.engine.ends import cut_off
from dispatcher.engine.ffmpeg import LISTED, Ffmpeg, Input
from dispatcher.engine.ffmpeg_errors import FfmpegError, FfmpegStalledError, VerificationError
from dispatcher.engine.inspection import Inspected, inspected
from dispatcher.engine.messages import Messages
from dispatcher.engine.probing import is_written
from dispatcher.engine.running import Run, run
from dispatcher.engine.samples import NoSampleError
from dispatcher.engine.sandbox import Access
from dispatcher.engine.scan import PacketScan
from dispatcher.engine.shape import Size, scaled, turned_upright
from dispatcher.engine.verification import (
    Frames,
    begins_in_time,
    check_output,
    check_source,
    reaches_end,
    remarks_on,
    scanned_of,
)
from dispatcher.engine.vmaf import Found, film_of, part_of, search
from dispatcher.recipes import Clip, Recipe
from dispatcher.results import Extent, Result

__all__ = ["check_end", "fitted", "read_back", "transcode"]

_SEARCHING: Final = 0.25
"""The part of the progress that is the search for a score, if there is one."""


class _Work(NamedTuple):
    """What is to be encoded: what of a source, which was inspected, and as what."""

    target: Target
    found: Inspected
    cut: Cut
    progress: Callable[[float], None]
    is_rest: bool = False


class _Done(NamedTuple):
    """An encode that has ended: what ffmpeg said, the packets of the source, how it was done."""

    said: Messages
    scan: PacketScan
    frames: Frames
    encoding: Encoding
    took_s: float
    begins_in_time: bool
    ends_s: float


async def transcode(  # noqa: PLR0913, PLR0917 - all that makes an output
    ffmpeg: Ffmpeg,
    source: Input,
    codec: str,
    output: Path,
    progress: Callable[[float], None] = lambda _: None,
    recipe: Recipe | None = None,
    *,
    is_rest: bool = False,
) -> Result:
    """Transcode into a new file; gives what was done.

    With `is_rest` all but the film's picture, for a film that is split.

    Raises `FfmpegError` if that fails, as `NoFilmError` if there is no film in the source, and
    as `VerificationError` if the source or the output is not whole. Takes the first video
    stream that moves, and all that goes with it. `progress` is called with the percentage done,
    if the source's length is known.
    """
    target = ffmpeg.target(codec, recipe)
    is_web = source.proxy_port is not None
    reading = ffmpeg.reading(source, output)
    found = await inspected(reading, tries_sound=not is_web)
    target = fitted(target, found)
    cut = cut_of(target.recipe.clip, found.source)
    verifies = ffmpeg.checks.verify != "none"
    if verifies and not is_web and cut.length_s is None:
        await check_end(ffmpeg, source, reading, found.said)
    searched: Found | None = None
    if target.recipe.vmaf is not None:
        searched = await _searched(ffmpeg, target, reading, found, progress)
        target = msgspec.structs.replace(target, number=searched.number)
        progress = _after(progress, _SEARCHING)
    work = _Work(target, found, cut, progress, is_rest)
    done = await _encoded(ffmpeg, work, reading, output)
    if cut.seek_s and verifies and not done.begins_in_time:
        # The source has no key frame where the part begins, or ffmpeg did not find it.
        work = work._replace(cut=cut_of(target.recipe.clip, found.source, from_start=True))
        done = await _encoded(ffmpeg, work, reading, output)
    told, length_s = [*remarks_on(done.said, done.scan, done.frames)], None
    if verifies:
        if work.cut.length_s is not None and not reaches_end(done.scan, work.cut):
            if not is_web:
                await check_end(ffmpeg, source, reading, found.said)
            told.append(f"the clip ends with the source, at {done.ends_s:g} s")
        check_source(done.said, done.scan, is_web=is_web, cut=work.cut)
    if not done.frames.encoded and _leaves_out(target.recipe):
        raise _no_picture_by(target.recipe)
    if not is_written(output):
        raise FfmpegError("ffmpeg ended well but wrote no output")
    if verifies:
        length_s = await _check_output(ffmpeg, done, output, work)
    encoding = done.encoding
    return Result(
        encoder=target.encoder.name,
        crf=target.encoder.crf_of(encoding.number),
        vmaf=None if searched is None else searched.vmaf,
        source=Extent(_size(source), found.said.duration_s or found.source.duration_s),
        output=Extent(output.stat().st_size, length_s),
        kept=tuple(encoding.kept),
        left_out=tuple(encoding.left_out),
        speed=None if length_s is None else round(length_s / max(done.took_s, 0.001), 2),
        warnings=(
            *told,
            *(() if searched is None else searched.warnings),
            *encoding.changes,
        ),
        ffmpeg=ffmpeg.version,
        arguments=(*encoding.input_options, *encoding.options),
    )


def fitted(target: Target, found: Inspected) -> Target:
    """Return a target with an encoder that takes films of the size of the one that was found."""
    if found.film is None:
        return target
    proven, film = target.encoder, turned_upright(found.film)
    size = scaled(film, target.recipe, pads=proven.even) or Size(film.width, film.height)
    return msgspec.structs.replace(target, encoder=target.codec.encoder_for(*size, proven))


async def _searched(
    ffmpeg: Ffmpeg,
    target: Target,
    reading: Run,
    found: Inspected,
    progress: Callable[[float], None],
) -> Found:
    """Search the number of the encoder that reaches the score of a recipe."""
    if target.recipe.vmaf is None or not ffmpeg.scores_vmaf:
        raise FfmpegError(
            "the recipe has a 'vmaf', and this engine's ffmpeg can't score", cause="engine"
        )

    def encoding_for(number: float) -> Encoding:
        at = msgspec.structs.replace(target, number=number)
        return encoding_of(found.source, found.film, at, ffmpeg.abilities, found.light)

    try:
        return await search(
            reading,
            film_of(found, target, encoding_for),
            target.recipe.vmaf,
            part_of(target.recipe, found.said.duration_s),
            lambda part: progress(round(100 * _SEARCHING * part, 1)),
        )
    except NoSampleError as error:
        raise (_no_picture_by(target.recipe) if _leaves_out(target.recipe) else error) from None


async def _encoded(ffmpeg: Ffmpeg, work: _Work, reading: Run, output: Path) -> _Done:
    """Encode a part of a source, and scan it."""
    found, cut = work.found, work.cut
    texts = await _cut_texts(ffmpeg, work, reading, output)
    encoding = encoding_of(
        found.source,
        found.film,
        work.target,
        ffmpeg.abilities,
        found.light,
        cut,
        {stream: number for number, stream in enumerate(texts, start=1)},
        is_rest=work.is_rest,
    )
    whole_s = found.said.duration_s
    length_s = cut.length_s or (whole_s and whole_s - cut.seek_s - cut.run_up_s)
    frames = Frames()

    def on_line(line: str) -> None:
        nonlocal frames
        name, _, value = line.partition("=")
        frames = frames.told(name, value)
        if name == "out_time_us" and length_s and value.isdecimal():
            work.progress(min(100.0, round(int(value) / length_s / 10_000, 1)))

    film = 0 if found.film is None else found.film.index
    scan = PacketScan(scanned_of(found.said, f"0:{film}"), part_s=cut.part_s)
    encode = reading.opening(*encoding.input_options, "-nostats", "-progress", "pipe:1")
    started = time.monotonic()
    ran = await run(
        encode._replace(
            command=[
                *encode.command,
                *(word for it in texts.values() for word in _reading_text(it)),
                *encoding.options,
                *_into(output),
            ],
            access=encode.access.to(work.target.encoder.device),
            output=output,
            scan=scan if ffmpeg.checks.verify != "none" else None,
            on_line=on_line,
            fails=False,
        )
    )
    if ran.failure is not None and not (
        ran.said.known is NOTHING_DECODED and _leaves_out(work.target.recipe)
    ):
        raise ran.failure
    return _Done(
        ran.said,
        scan,
        frames,
        encoding,
        time.monotonic() - started,
        begins_in_time(ran.said, scan, film, cut),
        round(cut.seek_s + scan.end_s, 3),
    )


def _leaves_out(recipe: Recipe) -> bool:
    """Whether a recipe wants only some of the pictures."""
    return recipe.clip != Clip() or recipe.fps is not None


def _no_picture_by(recipe: Recipe) -> FfmpegError:
    """Return the error for a recipe that wants only some of the pictures, and leaves none."""
    if recipe.clip != Clip():
        return no_picture_in(recipe.clip)
    return FfmpegError(
        f"'fps' of the recipe, {recipe.fps}, leaves no picture of the source: give a higher one",
        cause="source_bad",
    )


async def _cut_texts(ffmpeg: Ffmpeg, work: _Work, reading: Run, output: Path) -> dict[int, Path]:
    """Write the subtitles of a clip that ffmpeg can't cut to files, by their streams."""
    wanted = texts_to_cut(work.found.source, work.target, ffmpeg.abilities, work.cut)
    texts = {it.index: output.with_name(f"subtitles-{it.index}.ass") for it in wanted}
    if texts:
        outputs = [
            ("-map", f"0:{stream}", "-c:s", "ass", "-f", "ass", *_into(path))
            for stream, path in texts.items()
        ]
        await run(
            reading._replace(
                command=[*reading.command, *(word for words in outputs for word in words)],
                output=next(iter(texts.values())),
            )
        )
    for path in texts.values():
        path.write_text(cut_text(path.read_text("utf-8", "replace"), work.cut), "utf-8")
    return texts


async def check_end(ffmpeg: Ffmpeg, source: Input, reading: Run, listed: Messages) -> None:
    """Raise `VerificationError` if a file was cut off, as far as its end tells."""
    why = await cut_off(
        source.url.removeprefix("file:"),
        format_=listed.format,
        pyav=ffmpeg.checks.pyav,
        demuxers=media_demuxers(ffmpeg.demuxers, playlists=False),
        sandbox=ffmpeg.sandbox,
        inherits=source.inherits,
        timeout_s=ffmpeg.checks.stall_s,
    )
    if why is not None:
        # To tell how much is missing, if the file says how long it is.
        scan = PacketScan(scanned_of(listed))
        ran = await run(reading._replace(scan=scan, fails=False))
        check_source(ran.said, scan, is_web=False)
        raise VerificationError(
            f"the source was cut off after {scan.end_s:.1f} s: {why}", cause="source_bad"
        )


async def _check_output(ffmpeg: Ffmpeg, done: _Done, output: Path, work: _Work) -> float:
    """Read the output, and return its length in seconds.

    Raises `VerificationError` if not all of the source, or of the part, is in it.
    """
    found = PacketScan(["0:v?", "0:a?"])
    of = await read_back(ffmpeg, output, found)
    check_output(done.said, done.scan, of, found, work.cut, has_film=not work.is_rest)
    return round(found.length_s, 3)


async def read_back(
    ffmpeg: Ffmpeg, output: Path, scan: PacketScan, *, decodes: bool = True
) -> Messages:
    """Scan a file that was made here, and decode it if outputs are to be fully verified.

    Raises `VerificationError` if it can't be read.
    """
    command = [
        *(str(ffmpeg.path), "-hide_banner", "-nostdin", *LISTED, "-nostats"),
        *("-protocol_whitelist", "file", "-i", f"file:{output}"),
    ]
    if decodes := decodes and ffmpeg.checks.verify == "full":
        command += ["-progress", "pipe:1", "-map", "0:V?", "-map", "0:a?", "-f", "null", "-"]
    access = Access(folder=output.absolute().parent)
    work = Run(command, ffmpeg.sandbox, access, scan=scan, stall_s=ffmpeg.checks.stall_s)
    try:
        of = (await run(work)).said
    except FfmpegStalledError:
        raise
    except FfmpegError as error:
        raise VerificationError(f"the output can't be read: {error}", cause="engine") from error
    if decodes and of.errors:
        raise VerificationError(f"the output can't be decoded: {of.first_error}", cause="engine")
    return of


def _after(progress: Callable[[float], None], part: float) -> Callable[[float], None]:
    """Return what tells the progress of all that comes after a first part."""
    return lambda percent: progress(round(100 * part + (1 - part) * percent, 1))


def _into(output: Path) -> list[str]:
    return ["-y", f"file:{output}"]


def _reading_text(path: Path) -> list[str]:
    return ["-protocol_whitelist", "file", "-f", "ass", "-i", f"file:{path}"]


def _size(source: Input) -> int | None:
    """Return the size of a source that is a file, in bytes."""
    try:
        path = Path(source.url.removeprefix("file:"))
        return path.stat().st_size if source.proxy_port is None else None
    except OSError:
        return None
