"""Look at a source before it is encoded: what it has, which is the film, what can be decoded.

Laws:
- A source that is no film fails here, in one plain sentence.
- What is said of a source is not believed where a short trial can tell.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from dispatcher.engine.causes import known_in
from dispatcher.engine.encoding import NoFilmError
from dispatcher.engine.ffmpeg_errors import FfmpegError
from dispatcher.engine.hdr import Light, is_hdr, light_of
from dispatcher.engine.messages import Messages
from dispatcher.engine.running import Ran, Run, run
from dispatcher.engine.scan import PacketScan
from dispatcher.engine.streams import Source, Stream, may_be_still, source_of
from dispatcher.engine.verification import film_among

__all__ = ["Inspected", "inspected"]

_FIRST_PACKETS: Final = 50
"""So many packets of one stream tell which of several is the film."""
_TRIED_S: Final = 10
_UNDECODABLE: Final = re.compile(
    r"Decode error rate|Error while decoding stream|Error submitting packet to decoder|"
    r"Error while opening decoder|Error opening output files: Invalid data"
)


class Inspected(NamedTuple):
    """What was found: what the source has, the film in it with its light, and what ffmpeg said.

    A track of sound that can't be decoded has the codec "none".
    """

    source: Source
    film: Stream | None
    light: Light | None
    said: Messages


async def inspected(reading: Run, *, tries_sound: bool) -> Inspected:
    """Inspect a source with runs of a command that opens it, and ends in its input.

    Raises `NoFilmError` if all pictures are still, and `FfmpegError` if it can't be opened. Without
    `tries_sound`, tracks of sound are taken at their word.
    """
    reading = reading._replace(fails=False)
    opened = await run(reading)
    source = _source_in(opened)
    film = await _film_in(source, reading)
    light = await _light_of(film, reading) if film is not None and is_hdr(film) else None
    if tries_sound:
        source = await _without_noise(source, reading)
    return Inspected(source, film, light, opened.said)


def _source_in(opened: Ran) -> Source:
    """Return what a source has. ffmpeg has failed, as it had no output: ignore that."""
    if (found := source_of(opened.report)) is not None:
        return found
    known = known_in("\n".join([*opened.said.warnings, *opened.said.recent]))
    if known is not None and known.cause == "source_bad":
        raise FfmpegError(known.sentence, cause="source_bad") from opened.failure
    raise opened.failure or FfmpegError("ffmpeg ended well but told nothing of the source")


async def _film_in(source: Source, reading: Run) -> Stream | None:
    """Return the first video stream that moves; `None` if there is none but cover pictures.

    Raises `NoFilmError` if all are still pictures.
    """
    pictures = [it for it in source.of_kind("video") if not it.is_cover]
    match pictures:
        case []:
            return None
        case [only] if not may_be_still(source, only):
            return only
        case _:
            pass
    scan = PacketScan([f"0:{it.index}" for it in pictures])
    enough = 2 if len(pictures) == 1 else _FIRST_PACKETS

    def is_enough() -> bool:
        return any(track.packets >= enough for track in scan.tracks.values())

    ran = await run(reading._replace(scan=scan, enough=is_enough))
    film = film_among(ran.said, scan)
    moves = any(track.packets > 1 for track in scan.tracks.values())
    if not moves and ran.failure is None and ran.said.fault is None:
        raise NoFilmError("is a still picture")
    # One that can't be read so far may still be: the encode tells why it is not.
    return next((it for it in pictures if it.index == film), pictures[0])


async def _light_of(film: Stream, reading: Run) -> Light:
    """Return what the first picture tells of its light."""
    first = ("-map", f"0:{film.index}", "-filter:v:0", "showinfo", "-frames:v", "1")
    return light_of((await _tried(reading, first)).report)


async def _without_noise(source: Source, reading: Run) -> Source:
    """Return a source with the codec "none" for tracks of sound that can't be decoded.

    So it is tried: a name of a codec is no proof.
    """
    streams = [
        msgspec.structs.replace(it, codec="none", tag=it.tag or it.codec)
        if it.kind == "audio" and not await _sounds(it, reading)
        else it
        for it in source.streams
    ]
    return msgspec.structs.replace(source, streams=tuple(streams))


async def _sounds(stream: Stream, reading: Run) -> bool:
    first = ("-map", f"0:{stream.index}", "-frames:a", "1")
    ran = await _tried(reading.opening("-t", str(_TRIED_S)), first)
    # Also if there is no sound so early, ffmpeg fails: that is no noise.
    return ran.failure is None or not _UNDECODABLE.search("\n".join(ran.said.recent))


async def _tried(reading: Run, output: Sequence[str]) -> Ran:
    return await run(reading._replace(command=[*reading.command, *output, "-f", "null", "-"]))
