"""Subtitles of a clip: those that are text are taken out of the source, cut, and given back.

ffmpeg itself would show them at a wrong time: one that begins before the clip moves all others, or
the whole film, and versions differ in how. So they are written to a file, as ASS, which holds all
that the text of other formats does.
"""

import re
from typing import Final

from dispatcher.engine.cutting import Cut

__all__ = ["cut_text"]

_DIALOGUE: Final = re.compile(r"(Dialogue: [^,]*),(\d+:\d\d:\d\d\.\d\d),(\d+:\d\d:\d\d\.\d\d),(.*)")


def cut_text(text: str, cut: Cut) -> str:
    """Return the subtitles of a clip, from the whole of an ASS file, in the clip's own time."""
    # Only these end a line of ASS: a text may have others, such as U+2028.
    lines = (_line(line.rstrip("\r"), cut) for line in text.split("\n"))
    return "\n".join(line for line in lines if line is not None)


def _line(line: str, cut: Cut) -> str | None:
    if (found := _DIALOGUE.fullmatch(line)) is None:
        return line
    from_s = cut.seek_s + cut.run_up_s
    begins_s, ends_s = (_seconds(found[it]) - from_s for it in (2, 3))
    begins_s = max(begins_s, 0.0)
    if cut.length_s is not None:
        ends_s = min(ends_s, cut.length_s)
    if ends_s <= begins_s:
        return None
    return f"{found[1]},{_clock(begins_s)},{_clock(ends_s)},{found[4]}"


def _seconds(clock: str) -> float:
    hours, minutes, seconds = clock.split(":")
    return int(hours) * 3_600 + int(minutes) * 60 + float(seconds)


def _clock(seconds: float) -> str:
    hundredths = round(seconds * 100)
    return f"{hundredths // 360_000}:{hundredths // 6_000 % 60:02}:{hundredths % 6_000 / 100:05.2f}"
