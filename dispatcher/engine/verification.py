"""Decide whether a transcode is whole: the source when it was read, and the output that was made.

No single sign is enough: ffmpeg ends well after a source that was cut off, and complains of sources
that are good. These rules are what of many signs told the cut from the good ones. They see what
ffmpeg has said and which packets there were, and do nothing else.

Laws:
- A damaged source that is whole is no failure: what was found is told as remarks.
- No failure is found by counting frames: with variable frame rates their number means nothing.
- A failure says how much is missing, if that is known, and who could mend it.
"""

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from dispatcher.client import FailureCause
from dispatcher.engine.cutting import WHOLE, Cut
from dispatcher.engine.ffmpeg_errors import VerificationError
from dispatcher.engine.messages import Messages
from dispatcher.engine.scan import PacketScan, Track

__all__ = [
    "Frames",
    "Verify",
    "begins_in_time",
    "check_output",
    "check_source",
    "film_among",
    "reaches_end",
    "remarks_on",
    "scanned_of",
]

Verify = Literal["full", "packets", "none"]
"""How much is verified: also the pictures of the output, or packets only, or nothing."""

_SLACK_S: Final = 0.25
_SLACK: Final = 0.01
_MOST_SLACK_S: Final = 2.0
"""How much a declared duration may be wrong: by a part of it, but between these two times."""
_CHAPTERS_SLACK_S: Final = 0.1
_HOLE_S: Final = 0.5
_SHORT_S: Final = 0.5
_LONG_S: Final = 0.1
_LAST: Final = 3
"""Damage in so many last packets of a stream is from a cut."""
# These declare no duration: ffmpeg takes it from the last timestamps, which jump where such files
# have been joined.
_WITHOUT_DURATION: Final = frozenset({"mpegts", "mpeg"})
# These have the same film in several qualities, of which each that is read is fetched.
_PLAYLISTS: Final = frozenset({"hls", "dash"})
_FEW_FRAMES: Final = 3
_FEW: Final = 0.01
"""So few pictures that can't be decoded are not told: a recording may begin with them."""
_STILL: Final = 8
"""A stream is no film beside another that has as many times its packets."""


def check_source(said: Messages, scan: PacketScan, *, is_web: bool, cut: Cut = WHOLE) -> None:
    """Raise `VerificationError` if the source ended early, or has a hole.

    Of a source that was cut, only the part counts.
    """
    whose: FailureCause = "source_away" if is_web else "source_bad"
    whole_s = said.duration_s
    if said.format in _WITHOUT_DURATION:
        whole_s = None
    end_s, reached = scan.end_s, reaches_end(scan, cut)
    missing = None
    if whole_s is not None:
        slack_s = max(_SLACK_S, _SLACK * whole_s)
        if said.format not in _PLAYLISTS:  # their durations are sums of rounded ones
            slack_s = min(slack_s, _MOST_SLACK_S)
        least_s = whole_s - max(said.start_s, 0) - slack_s
        if end_s + cut.seek_s < least_s and not reached and not _is_of_chapters(said, whole_s):
            missing = f"the source ends after {_s(end_s + cut.seek_s)} of {_s(whole_s)}"
    fault = said.fault
    if reached and fault is not None and fault.cause != "engine":
        fault = None  # what is wrong comes after the part
    if is_web and fault is not None and fault.cause == "unknown":
        fault = None  # ffmpeg says so at the end of a whole answer too that declares no length
    if fault is not None:
        if fault.cause == "engine":
            raise VerificationError(f"the output is not whole: {fault.text}", cause="engine")
        begins = missing or f"the source is not whole; it was read up to {_s(end_s)}"
        cause = fault.cause if fault.cause == "source_away" else whose
        raise VerificationError(f"{begins}: {fault.text}", cause=cause)
    if missing:
        raise VerificationError(missing, cause=whose)
    # One packet has no gaps: it is a still picture.
    seen = [t for t in scan.tracks.values() if t.kind in {"video", "audio"} and t.packets > 1]
    if not reached and any(track.corrupt and track.since_corrupt < _LAST for track in seen):
        raise VerificationError(
            f"the source was cut off after {_s(end_s)}: its last packets are incomplete",
            cause=whose,
        )
    corrupt = said.damaged + sum(track.corrupt for track in seen)
    if seen and corrupt and all(track.gap_s > _HOLE_S for track in seen):
        hole_s = min(track.gap_s for track in seen)
        raise VerificationError(
            f"the source has a hole: {_s(hole_s)} are missing where it is damaged", cause=whose
        )


def _is_of_chapters(said: Messages, whole_s: float) -> bool:
    """Whether a duration may be that of chapters, which some take for the film's (ffmpeg 5.1).

    MP4 and QuickTime have them as a track. Where such a file breaks off ffmpeg says so anyway.
    """
    return "mp4" in said.format and said.chapters_end_s > whole_s - _CHAPTERS_SLACK_S


def reaches_end(scan: PacketScan, cut: Cut) -> bool:
    """Whether all that was read goes as far as the end of a part that ends before the source."""
    return cut.ends_s is not None and scan.end_s >= cut.ends_s - _SLACK_S


def begins_in_time(said: Messages, scan: PacketScan, film: int, cut: Cut) -> bool:
    """Whether the film was read from where the part begins, or before."""
    found = [scan.tracks[stream] for source, stream in _scanned(said) if source == film
             and stream in scan.tracks]  # fmt: skip
    return not cut.seek_s or any(
        track.first_s is not None and track.first_s <= cut.run_up_s + _SLACK_S for track in found
    )


def check_output(  # noqa: PLR0913 - all that decides
    said: Messages,
    scan: PacketScan,
    of: Messages,
    output: PacketScan,
    cut: Cut = WHOLE,
    *,
    has_film: bool = True,
) -> None:
    """Raise `VerificationError` if a stream of the output ends before that which it was made of.

    It is also raised if one goes on after the end of a part that was wanted.

    `said` and `scan` are of the source, `of` and `output` of the output when it was read.
    `has_film` is false of the rest of a film that is split.
    """
    if (fault := of.fault) is not None:
        raise VerificationError(f"the output is not whole: {fault.text}", cause="engine")
    pairs = list(_pairs(said, scan, of, output))
    if not pairs and not has_film:
        return
    if has_film and not any(track.kind == "video" for _, track in pairs):
        raise VerificationError("the output has no video that can be read", cause="engine")
    # The muxer may have moved all times: what begins first in both is taken to be the same moment.
    begins = min((max(track.first_s, 0) for track, _ in pairs if track.first_s is not None))
    if not cut.is_whole:
        firsts = [track.begins_s for track, _ in pairs if track.begins_s is not None]
        begins = min(firsts, default=cut.run_up_s)
    began = min((track.first_s for _, track in pairs if track.first_s is not None), default=0.0)
    for source, made in pairs:
        end_s = 0.0 if made.end_s is None else made.end_s - began
        last_s = 0.0 if source.last_s is None else source.last_s - begins
        if end_s < last_s - _SHORT_S:
            raise VerificationError(
                f"the output is not whole: its {made.kind} ends after {_s(end_s)} of {_s(last_s)}",
                cause="engine",
            )
        # What lasts long may begin before the end: then that says nothing.
        starts_s = 0.0 if made.last_s is None else made.last_s - began
        most_s = None if cut.ends_s is None else cut.ends_s - begins
        if most_s is not None and starts_s > most_s + max(_LONG_S, end_s - starts_s):
            raise VerificationError(
                f"the output is too long for the clip: its {made.kind} ends after {_s(end_s)} of "
                f"{_s(most_s)}",
                cause="engine",
            )


class Frames(NamedTuple):
    """How many frames ffmpeg has encoded, and of these repeated, or not encoded, by the clock."""

    encoded: int = 0
    repeated: int = 0
    dropped: int = 0

    def told(self, name: str, value: str) -> "Frames":
        """Take in a line of ffmpeg's progress."""
        field = _PROGRESS.get(name)
        return self._replace(**{field: int(value)}) if field and value.isdecimal() else self

    @property
    def decoded(self) -> int:
        """How many were decoded."""
        return self.encoded - self.repeated + self.dropped


_PROGRESS: Final = {"frame": "encoded", "dup_frames": "repeated", "drop_frames": "dropped"}


def remarks_on(said: Messages, scan: PacketScan, frames: Frames) -> list[str]:
    """Tell what is wrong with a source that is whole."""
    remarks = []
    if told := _undecoded(said, scan, frames):
        remarks.append(told)
    corrupt = max(said.damaged, sum(track.corrupt for track in scan.tracks.values()))
    if corrupt:
        remarks.append(f"damaged packets or frames: {corrupt}")
    if said.jumps:
        remarks.append(f"jumps of time: {said.jumps}")
    if said.errors:
        remarks.append(f"errors that ffmpeg passed over: {said.errors}, first: {said.first_error}")
    return remarks


def _undecoded(said: Messages, scan: PacketScan, frames: Frames) -> str | None:
    """Tell of pictures that were read but gave none, such as those of zeros.

    That there are fewer says nothing by itself: two packets may be the fields of one picture.
    """
    film = next((source for source, output, made in said.mapped if (output, made) == (0, 0)), None)
    number = next((it for source, it in _scanned(said) if source == film), None)
    shown = scan.tracks[number].shown if number in scan.tracks else 0
    missing = shown - frames.decoded
    if not said.errors or missing < max(_FEW_FRAMES, _FEW * shown):
        return None
    return f"pictures that could not be decoded: {missing} of {shown}"


def scanned_of(listed: Messages, film: str | None = None) -> list[str]:
    """Return the streams of a source whose packets are to be scanned, as ffmpeg maps them.

    That are all but covers, data, and what ffmpeg knows too little of to copy it. Of a playlist
    only the film is read, with its sounds.
    """
    is_playlist = film is not None and listed.format in _PLAYLISTS
    kinds = {"Audio"} if is_playlist else {"Video", "Audio", "Subtitle"}
    found = [f"0:{stream}" for stream, kind in sorted(listed.streams.items()) if kind in kinds]
    return [film, *found] if is_playlist and film is not None else found or ["0:V?", "0:a?"]


def film_among(said: Messages, scan: PacketScan) -> int | None:
    """Return the stream that is the film: the first that moves, by its packets."""
    packets = {
        source: scan.tracks[stream].packets
        for source, stream in _scanned(said)
        if stream in scan.tracks
    }
    most = max(packets.values(), default=0)
    least = 2 if most > 1 else 1
    return next(
        (it for it, found in sorted(packets.items()) if found >= least and found * _STILL >= most),
        None,
    )


def _pairs(
    said: Messages, scan: PacketScan, of: Messages, output: PacketScan
) -> Iterator[tuple[Track, Track]]:
    """Give each stream of sound or pictures that was scanned, with what became of it."""
    scanned = {source: scan.tracks.get(stream) for source, stream in _scanned(said)}
    found = {stream: output.tracks.get(number, Track()) for stream, number in _scanned(of)}
    for source, to_output, made in said.mapped:
        track = scanned.get(source)
        if to_output == 0 and track is not None and track.kind in {"video", "audio"}:
            if track.packets == 0 or track.first_s is None:
                continue
            yield track, found.get(made, Track(track.kind))


def _scanned(said: Messages) -> Iterator[tuple[int, int]]:
    """Give the streams that were scanned, with their numbers in the scan: the last output."""
    last = max((output for _, output, _ in said.mapped), default=0)
    for source, output, stream in said.mapped:
        if output == last:
            yield source, stream


def _s(seconds: float) -> str:
    return f"{round(seconds, 1):g} s"
