"""What ffmpeg says of its work, read line by line, with the flag `level` of its `-v`.

Laws:
- However much ffmpeg prints, what is kept is bounded.
- A line counts as a fault only by its level: what a source's own texts say is `info`.
"""

import re
from collections import deque
from typing import Final, NamedTuple

from dispatcher.client import FailureCause
from dispatcher.engine.causes import Known, known_in

__all__ = ["LINE_BYTES", "Fault", "Messages", "Pictures"]

LINE_BYTES: Final = 2_000
"""A longer line is cut before the word that exceeds this.

Of a part of a URL nobody could tell what is its password.
"""
TOLD_LINES: Final = 8
KEPT_LINES: Final = 64
REPORT_CHARS: Final = 1_000_000
"""Of a report on a source, so much is kept: it lists streams, chapters and tags."""
MAX_STREAMS: Final = 1_000

# [mov,mp4 @ 0x5562] [error] stream 0, offset 0x6f87: partial file
_LEVELLED: Final = re.compile(r"((?:\[[^\]]* @ (?:0x)?[0-9a-fA-F]+\] )*)\[([a-z]+)\] (.*)")
_GRAVE: Final = frozenset({"panic", "fatal", "error"})
_INPUT: Final = re.compile(r"Input #0, (\S+), from ")
_DURATION: Final = re.compile(
    r"\s*Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)(?:, start: (-?\d+(?:\.\d+)?))?"
)
_STREAM: Final = re.compile(r"\s*Stream #0:(\d+)(?:[\[(][^:]*)?: (Video|Audio|Subtitle): (.*)")
_SIZE: Final = re.compile(r", \d{2,}x\d+")
_CHAPTER: Final = re.compile(r"\s*Chapter #0:\d+: start -?[\d.]+, end (\d+(?:\.\d+)?)")
_MAPPED: Final = re.compile(r"\s*Stream #0:(\d+) -> #(\d+):(\d+)")
_SHOWN: Final = ("[Parsed_showinfo_", "[Parsed_scdet_")
_BY_BIT_RATE: Final = "Estimating duration from bitrate"
_NO_LENGTH: Final = "18446744073709551615"  # ffmpeg's "should be" where a server gives no length

_DAMAGE: Final = re.compile(
    r"Packet corrupt|corrupt decoded frame"
    # What the readers of Matroska, FLV and Ogg skip.
    r"|invalid as first byte of an EBML number|Packet mismatch|CRC mismatch!"
)
_JUMP: Final = re.compile(r"timestamp discontinuity|Non-monoton")


class Fault(NamedTuple):
    """A line after which a transcode can't be whole, whatever the exit status is."""

    text: str
    cause: FailureCause


_FAULTS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"No space left on device|Disk quota exceeded|Read-only file system",
        r"Connection timed out|Connection reset",
        rf"Stream ends prematurely at \d+, should be (?!{_NO_LENGTH})",
        r"Failed to open segment",
        r"moov atom not found|File ended prematurely|partial file|Failed to get packet for obu",
        r"Input/output error",
    )
)
"""The most telling first: a server that broke off explains a file that ended."""


# Most lines are none of these, and there may be millions of them.
_NOTABLE: Final = re.compile(
    "|".join(pattern.pattern for pattern in (_DAMAGE, _JUMP, *_FAULTS)) + f"|{_BY_BIT_RATE}"
)


class Pictures(NamedTuple):
    """A video stream of a source: its number, and whether it is declared to be a cover."""

    stream: int
    is_cover: bool


class Messages:
    """What one run of ffmpeg has said."""

    def __init__(self) -> None:
        self.report: list[str] = []
        """What is said of the source: its streams, chapters, tags, and what filters find in it."""
        self._report_chars = 0
        self.warnings: list[str] = []
        """The first ones."""
        self.format = ""
        self.duration_s: float | None = None
        """How long the source says that it is; `None` if that is unknown, or a guess."""
        self.start_s = 0.0
        self.chapters_end_s = 0.0
        self.videos: dict[int, Pictures] = {}
        self.streams: dict[int, str] = {}
        """The streams of which enough is known to copy them; no cover pictures."""
        self.mapped: list[tuple[int, int, int]] = []
        """Stream of the source, number of the output, stream of the output."""
        self.damaged = 0
        self.jumps = 0
        self.errors = 0
        self.first_error = ""
        self._faults: dict[int, Fault] = {}
        self._guessed = False
        self._is_listed = False
        self._grave: deque[str] = deque(maxlen=KEPT_LINES)
        self._plain: deque[str] = deque(maxlen=KEPT_LINES)

    def read(self, line: str) -> None:
        """Take in one line."""
        found = _LEVELLED.fullmatch(line)
        if found is None:
            self._plain.append(line)
            self._listed(line)
            return
        where, level, text = found.groups()
        if level in _GRAVE:
            self.errors += 1
            self.first_error = self.first_error or text
            self._grave.append(where + text)
        elif level == "warning" and len(self.warnings) < KEPT_LINES:
            self.warnings.append(where + text)
        if level in _GRAVE or level == "warning":
            self._noted(text)
        elif where.startswith(_SHOWN):
            self._report(text)
        else:
            self._listed(text)

    @property
    def fault(self) -> Fault | None:
        """The most telling line after which the transcode can't be whole."""
        return self._faults[min(self._faults)] if self._faults else None

    @property
    def told(self) -> list[str]:
        """The last lines that say what went wrong."""
        return self.recent[-TOLD_LINES:]

    @property
    def recent(self) -> list[str]:
        """Those lines, and more before them."""
        return list(self._grave or self._plain)

    @property
    def known(self) -> Known | None:
        """What is known of why this run failed, if it did."""
        if self.fault is not None and self.fault.cause != "unknown":
            return known_in(self.fault.text)
        return known_in("\n".join(self.recent))

    def _noted(self, text: str) -> None:
        if not _NOTABLE.search(text):
            return
        self._guessed = self._guessed or _BY_BIT_RATE in text
        if self._guessed:
            self.duration_s = None
        self.damaged += bool(_DAMAGE.search(text))
        self.jumps += bool(_JUMP.search(text))
        for number, pattern in enumerate(_FAULTS):
            if number not in self._faults and pattern.search(text):
                known = known_in(text)
                self._faults[number] = Fault(text, known.cause if known else "unknown")

    def _listed(self, text: str) -> None:
        if text.startswith(("Output #", "Stream mapping:")):
            self._is_listed = True
        if self._is_listed:
            if (match := _MAPPED.match(text)) and len(self.mapped) < MAX_STREAMS:
                self.mapped.append((int(match[1]), int(match[2]), int(match[3])))
            return
        if match := _INPUT.match(text):
            self.format = match[1]
        elif match := _STREAM.match(text):
            self._add(int(match[1]), match[2], match[3])
        elif self.duration_s is None and not self._guessed and (match := _DURATION.match(text)):
            hours, minutes, seconds, start = match.groups()
            self.duration_s = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
            self.start_s = float(start or 0)
        elif match := _CHAPTER.match(text):
            self.chapters_end_s = max(self.chapters_end_s, float(match[1]))
        if self.format:
            self._report(text)

    def _report(self, text: str) -> None:
        if self._report_chars < REPORT_CHARS:
            self.report.append(text)
            self._report_chars += len(text) + 1

    def _add(self, stream: int, kind: str, described: str) -> None:
        if len(self.streams) >= MAX_STREAMS:
            return
        is_cover = "(attached pic)" in described
        match kind:
            case "Video":
                self.videos.setdefault(stream, Pictures(stream, is_cover))
                is_known = not is_cover and _SIZE.search(described) is not None
            case "Audio":
                is_known = " Hz" in described
            case _:
                is_known = True
        if is_known:
            self.streams.setdefault(stream, kind)
