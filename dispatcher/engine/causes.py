"""Who could mend a failure of ffmpeg, and what it means in plain words, by what ffmpeg says.

Laws:
- One table has every error of ffmpeg that engines know. The first row that fits decides.
- Only ffmpeg's own lines are looked at, not the titles and tags of a source, which are indented.
"""

import re
from typing import Final, NamedTuple

from dispatcher.client import FailureCause

__all__ = ["KNOWN", "NOTHING_DECODED", "Known", "known_in"]


class Known(NamedTuple):
    """An error that is known: lines that tell it, who could mend it, and a plain sentence."""

    lines: re.Pattern[str]
    cause: FailureCause
    sentence: str


def known_in(printed: str) -> Known | None:
    """Return the first row of the table that fits what ffmpeg has printed on stderr."""
    lines = "\n".join(it for it in printed.splitlines() if not it[:1].isspace())
    return next((row for row in KNOWN if row.lines.search(lines)), None)


def _rows(cause: FailureCause, *rows: tuple[str, ...]) -> tuple[Known, ...]:
    return tuple(Known(re.compile("|".join(row[1:])), cause, row[0]) for row in rows)


[NOTHING_DECODED] = _rows(
    "unknown", ("nothing of a stream could be decoded", r"Could not open encoder before EOF")
)
"""So says ffmpeg 7 and newer; older ones end well, with an output without pictures."""

# What this machine lacks comes early: it also makes ffmpeg complain of good sources.
KNOWN: Final = (
    *_rows(
        "engine",
        ("the engine's disk is full", r"No space left on device", r"Disk quota exceeded"),
        ("the engine's file system takes no file of that size", r"File too large"),
        ("the engine can't write in its folder", r"Read-only file system"),
        ("the engine has too little memory", r"Cannot allocate memory", r"bad_alloc"),
        ("the engine has too many processes or threads", r"Resource temporarily unavailable"),
        ("the engine has too many open files", r"Too many open files"),
        ("the pictures are larger than this engine permits", r"max pixel count"),
        (
            "ffmpeg is not installed well",
            *(r"error while loading shared libraries", r"symbol lookup error"),
        ),
        (
            "ffmpeg lacks the encoder",
            *(r"Unknown encoder", r"Encoder not found", r"Automatic encoder selection failed"),
        ),
        (
            "ffmpeg lacks a decoder",
            *(r"Unknown decoder", r"Decoder not found", r"Decoder \(codec .*\) not found"),
            r"Decoding requested, but no decoder found",
        ),
        ("ffmpeg lacks a filter", r"No such filter", r"Filter not found", r"Unknown filter"),
        (
            "ffmpeg lacks the container",
            *(r"Requested output format .* is not", r"Unable to choose an output format"),
            *(r"Muxer not found", r"Unknown output format"),
        ),
        (
            "ffmpeg does not know an option",
            *(r"Unrecognized option", r"Option not found", r"Error splitting the argument list"),
            r"is not an? encoding option",
        ),
        (
            "the engine's hardware can't be used",
            *(r"Device creation failed", r"No device available", r"Cannot load lib"),
        ),
    ),
    *_rows(
        "source_bad",
        (
            "the encoder can't take pictures or sound such as the source's",
            r"maybe incorrect parameters such as",
        ),
    ),
    NOTHING_DECODED,
    *_rows(
        "engine",
        (
            "ffmpeg's encoder can't be started",
            *(r"Error (while opening|initializing) (the )?encoder", r"Could not open encoder"),
        ),
        (
            "ffmpeg can't write the output",
            *(r"Could not write header", r"Error writing trailer", r"Error muxing a packet"),
            r"av_interleaved_write_frame",
        ),
    ),
    *_rows(
        "source_away",
        ("the source's server takes no connections", r"Connection refused"),
        (
            "the source's server does not answer",
            *(r"Connection timed out", r"Operation timed out"),
        ),
        (
            "the source's server broke off",
            *(r"Connection reset", r"Broken pipe"),
            # The number is ffmpeg's where the server has told no length.
            r"Stream ends prematurely at \d+, should be (?!18446744073709551615)",
        ),
        (
            "the source's server can't be reached",
            *(r"Network is unreachable", r"No route to host", r"Host is unreachable"),
        ),
        (
            "the source's server has no address",
            *(r"Failed to resolve hostname", r"Name or service not known"),
            r"Temporary failure in name resolution",
        ),
        (
            "the source's server can't serve it now",
            *(r"(HTTP error|Server returned) (5|408|425|429)", r"Too Many Requests"),
        ),
        (
            "the source's server can't be trusted",
            *(r"certificate verify failed", r"[Hh]andshake fail", r"TLS fatal alert"),
        ),
        (
            "a part of the playlist is missing",
            *(r"Failed to open segment", r"Failed to reload playlist"),
        ),
        ("the source is not there", r"No such file or directory"),
    ),
    *_rows(
        "source_bad",
        ("the source's server does not give it out", r"(HTTP error|Server returned) 4"),
        (
            "no video stream: its format, such as a picture, a playlist or a text, is not read",
            r"[Ff]ormat not on whitelist",
        ),
        ("no video stream: the source is no media file", r"detected only with low score"),
        (
            "no video stream: the source has no index: it was cut off, or is a picture (HEIF)",
            r"moov atom not found",
        ),
        (
            "no video stream: the source has none that can be used",
            *(r"does not contain any stream", r"matches no streams"),
        ),
        (
            "the source is damaged: most of it can't be decoded",
            *(r"Decode error rate .* exceeds", r"Conversion failed because of too many errors"),
        ),
        (
            "the source is damaged: its streams are not described",
            *(r"Could not find codec parameters", r"unspecified size", r"unspecified pixel"),
        ),
        (
            "the source is cut off or damaged",
            *(r"partial file", r"File ended prematurely", r"EBML header parsing failed"),
            r"Failed to get packet for obu",
        ),
        (
            "the source refers to an address that engines don't open",
            *(r"Protocol .* not on whitelist", r"Protocol not found"),
        ),
        ("no video stream: the source is empty", r"End of file$"),
        (
            "no video stream: the source is no media file, or is damaged",
            *(r"Invalid data found when processing input", r"Error reading header"),
        ),
    ),
    *_rows(
        "unknown",
        ("ffmpeg may not open a file", r"Permission denied", r"Operation not permitted"),
        ("a disk or a connection failed", r"Input/output error"),
        ("ffmpeg can't read this kind of source yet", r"Not yet implemented in FFmpeg"),
        ("ffmpeg has a defect", r"Internal bug, should not have happened", r"Assertion .* failed"),
        (
            "ffmpeg can't convert this source",
            *(r"Error reinitializing filters", r"Impossible to convert between"),
        ),
    ),
)
