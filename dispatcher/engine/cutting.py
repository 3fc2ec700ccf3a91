"""A part of a source, for a recipe's clip: what ffmpeg reads of it, and what it leaves away.

Or a segment of a film that is split, in which each picture keeps its exact time.

ffmpeg begins to read at the key frame before the part, and throws away what it decodes before its
first frame. Where a format has no index, ffmpeg may land after that key frame. Of such a source it
is told to begin earlier, and filters cut off the rest.

Law: where the part ends is for filters to tell, by the times of frames and samples. ffmpeg's own
`-t` counts from the first frame that it could decode, which may come late. It only ends the
reading, which it never does too early.
"""

from fractions import Fraction
from math import inf
from typing import Final, NamedTuple

from dispatcher.engine.ffmpeg_errors import FfmpegError
from dispatcher.engine.streams import Source
from dispatcher.recipes import Clip
from dispatcher.segments import Segment

__all__ = ["WHOLE", "Cut", "Piece", "cut_of", "no_picture_in"]

_INDEXED: Final = frozenset({"mov", "matroska", "avi", "ogg"})
_RUN_UP_S: Final = 30.0
"""More than most films have between two key frames."""


class Cut(NamedTuple):
    """From where ffmpeg reads, where the part begins after that, and how long it is, in seconds.

    `length_s` is `None` if it ends with the source.
    """

    seek_s: float = 0.0
    run_up_s: float = 0.0
    length_s: float | None = None

    @property
    def ends_s(self) -> float | None:
        """Where the part ends, in the time of what is read."""
        return None if self.length_s is None else self.run_up_s + self.length_s

    @property
    def part_s(self) -> tuple[float, float]:
        """From when to when the part is, in the time of what is read."""
        return self.run_up_s, inf if self.ends_s is None else self.ends_s

    @property
    def is_whole(self) -> bool:
        """Whether the part begins with the source."""
        return self.seek_s + self.run_up_s <= 0

    @property
    def input_options(self) -> list[str]:
        """The options before the input."""
        begins = ["-ss", _text(self.seek_s)] if self.seek_s else []
        return begins if self.ends_s is None else [*begins, "-t", _text(self.ends_s)]

    @property
    def options(self) -> list[str]:
        """The options of the output: the chapters after the part would be in it without them.

        After a run-up the first frame may be shown twice, for even times: they would end too early.
        """
        return [] if self.length_s is None or self.run_up_s else ["-t", _text(self.length_s)]

    @property
    def picture_filters(self) -> list[str]:
        """The filters that leave away what comes before the part, and after it."""
        return self._filters("trim", "setpts")

    @property
    def sound_filters(self) -> list[str]:
        """The same for sound."""
        return self._filters("atrim", "asetpts")

    def _filters(self, trim: str, moved: str) -> list[str]:
        begins = [f"start={_text(self.run_up_s)}"] if self.run_up_s else []
        ends = [] if self.ends_s is None else [f"end={_text(self.ends_s)}"]
        bounds = [f"{trim}={':'.join([*begins, *ends])}"] if begins or ends else []
        # Rounded: a filter cuts the ticks off, and the first frame would begin before zero.
        return [*bounds, *([f"{moved}=round(PTS-{_text(self.run_up_s)}/TB)"] if begins else [])]


WHOLE: Final = Cut()


class Piece(NamedTuple):
    """A segment of a film, decoded from `preroll_s` earlier than need be.

    ffmpeg takes times as they stand in the file. It would count them from the start of the streams
    that it reads, which are not those of the film here.
    """

    segment: Segment
    preroll_s: float = 0.0

    @property
    def input_options(self) -> list[str]:
        """The options before the input."""
        seek_s = (self.segment.seek_s or 0.0) - self.preroll_s
        return [
            *("-copyts", "-noaccurate_seek"),
            *(["-ss", _text(seek_s)] if seek_s > 0 else []),
        ]

    @property
    def picture_filters(self) -> list[str]:
        """The filters that leave away what is of other segments. The first picture is at zero."""
        segment = self.segment
        later_s = float(segment.offset * Fraction(segment.time_base))
        begins = [] if segment.from_s is None else [f"start={_text(segment.from_s + later_s)}"]
        ends = [] if segment.to_s is None else [f"end={_text(segment.to_s + later_s)}"]
        return [
            f"settb={segment.time_base}",
            *([f"trim={':'.join([*begins, *ends])}"] if begins or ends else []),
            f"setpts=PTS-({segment.begins + segment.offset})",
        ]

    @property
    def timing(self) -> list[str]:
        """The options by which each frame keeps its time."""
        ticks = self.segment.time_base.replace("/", ":")
        return ["-fps_mode", "passthrough", "-enc_time_base", ticks]


def cut_of(clip: Clip, source: Source, *, from_start: bool = False) -> Cut:
    """Return how a clip is cut out of a source; `from_start` without seeking.

    Raises `FfmpegError` if the source ends before the clip begins.
    """
    if source.duration_s is not None and clip.from_s and clip.from_s >= source.duration_s:
        raise FfmpegError(
            f"the recipe's clip begins at {clip.from_s:g} s, and the source ends after "
            f"{source.duration_s:g} s",
            cause="source_bad",
        )
    run_up_s = 0.0 if source.demuxer.partition(",")[0] in _INDEXED else _RUN_UP_S
    seek_s = 0.0 if from_start else max(0.0, clip.from_s - run_up_s)
    length_s = None if clip.to_s is None else clip.to_s - clip.from_s
    return Cut(seek_s, clip.from_s - seek_s, length_s)


def no_picture_in(clip: Clip) -> FfmpegError:
    """Return the error for a clip in which the source shows no picture."""
    ends = "on" if clip.to_s is None else f"to {_text(clip.to_s)} s"
    return FfmpegError(
        f"the recipe's clip from {_text(clip.from_s)} s {ends} has no picture of the source in it",
        cause="source_bad",
    )


def _text(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")
