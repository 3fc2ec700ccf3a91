"""Where a film is split, and which films are not: those that can't be joined exactly.

Laws:
- A film is cut at key frames alone, at the first one at or after each multiple of a length.
- A film is split only if each of its segments gives the same pictures as the whole film would, at
  the same times. In doubt it is not.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Final

from dispatcher.engine.codecs import Target
from dispatcher.engine.film_index import FilmIndex, digest_of_times
from dispatcher.engine.messages import Messages
from dispatcher.engine.streams import Source, Stream
from dispatcher.recipes import VIDEO_CODECS
from dispatcher.segments import MOST_PARTS, Segment

__all__ = ["NotSplitError", "check_film", "segment_muxer", "segments_of"]

_PLAYLISTS: Final = frozenset({"hls", "dash"})
_INDEXED: Final = frozenset({"mov", "matroska", "avi"})
_EARLIER_S: Final = 1.0
"""ffmpeg may land after the key frame that it seeks in a format without an index."""
_FINEST: Final = Fraction(1, 1_000_000)
"""Films are joined by times in microseconds."""
_MPEG4_TICKS: Final = 65_535
_LEAST_SEGMENTS: Final = 2


class NotSplitError(Exception):
    """The film is to be encoded whole. The text says why, of "the film"."""


def check_film(source: Source, film: Stream, target: Target, filters: Sequence[str]) -> None:
    """Raise `NotSplitError` if a film can't be split, as far as that is known before it is read.

    `filters` are those that its picture goes through.
    """
    if source.demuxer.partition(",")[0] in _PLAYLISTS:
        raise NotSplitError("it is a playlist")
    if film.is_interlaced:
        raise NotSplitError("it is interlaced, and the fields of neighbouring pictures count")
    if not target.encoder.ticks:
        raise NotSplitError(f"{target.encoder.name} has a constant rate of frames")
    if segment_muxer(target) is None:
        raise NotSplitError(f"{target.codec.names[0]} can't be joined exactly")
    if "format=yuva420p" in filters:
        raise NotSplitError("its transparency can't be joined")


def segment_muxer(target: Target) -> str | None:
    """Return the muxer of a segment: one that keeps exact times; `None` if there is none."""
    known = (it for it in ("mp4", "mov") if target.codec.names[0] in VIDEO_CODECS[it])
    return next(known, None)


def segments_of(
    index: FilmIndex,
    offset: int,
    said: Messages,
    target: Target,
    split_s: float,
) -> tuple[Segment, ...]:
    """Return where a film is split into segments of about `split_s` seconds.

    `offset` is how much more the times in the file are than those of the index, and `said` what
    ffmpeg said when that was made. Raises `NotSplitError` if the film can't be
    split exactly, or if that gives one segment only.
    """
    _check_index(index, said, target)
    segments = tuple(_segments(index, offset, said, split_s))
    if len(segments) < _LEAST_SEGMENTS:
        raise NotSplitError(f"it has no key frame where a second segment of {split_s:g} s begins")
    return segments


def _check_index(index: FilmIndex, said: Messages, target: Target) -> None:
    if index.fault is not None:
        raise NotSplitError(index.fault)
    if not index.keys():
        raise NotSplitError("it has no key frame")
    if index.twice():
        raise NotSplitError("it has two pictures at one time")
    if said.damaged or said.jumps:
        raise NotSplitError("it is damaged, or its times jump")
    if index.time_base < _FINEST:
        raise NotSplitError("its times are finer than microseconds")
    if target.encoder.name == "mpeg4" and index.time_base.denominator > _MPEG4_TICKS:
        raise NotSplitError("mpeg4 can't tell its times exactly")


def _cuts(index: FilmIndex, split_s: float) -> list[int]:
    """Return when the segments begin. They are longer than asked for if there are too many."""
    first, end, tick_s = index.keys()[0], index.end(), float(index.time_base)
    cuts, goal = [first], split_s
    for key in index.keys()[1:]:
        at_s = (key - first) * tick_s
        if at_s >= goal:
            cuts.append(key)
            goal = (at_s // split_s + 1) * split_s
    if len(cuts) > 1 and (end - cuts[-1]) * tick_s < split_s / 2:
        cuts.pop()
    return cuts if len(cuts) < MOST_PARTS else _cuts(index, 2 * split_s)


def _segments(index: FilmIndex, offset: int, said: Messages, split_s: float) -> Iterator[Segment]:
    times, keys, base = index.times(), index.keys(), index.time_base
    cuts, end = _cuts(index, split_s), index.end()
    earlier_s = 0.0 if said.format.partition(",")[0] in _INDEXED else _EARLIER_S
    before = index.before_first()
    for number, (begins, ends) in enumerate(pairwise([*cuts, end])):
        at, to = bisect_left(times, begins), bisect_left(times, ends)
        is_last = number == len(cuts) - 1
        own = times[at:] if is_last else times[at:to]
        previous = times[at - 1] if at else before
        seek_s = float(keys[bisect_left(keys, begins) - 1] * base) - earlier_s if at else 0.0
        yield Segment(
            number=number,
            begins=begins,
            lasts=ends - begins,
            frames=len(own),
            time_base=f"{base.numerator}/{base.denominator}",
            times_sha256=digest_of_times(own, begins),
            seek_s=seek_s if seek_s > 0 else None,
            from_s=None if previous is None else _between(previous, begins, base),
            to_s=None if is_last else _between(times[to - 1], ends, base),
            offset=offset,
        )


def _between(earlier: int, later: int, base: Fraction) -> float:
    """Return the time halfway between two, in seconds."""
    return float((earlier + later) * base / 2)
