"""What an engine tells of an output when it completes a job.

An engine need not tell any of it, and fields that are not known are ignored.
"""

from typing import Annotated

import msgspec

__all__ = ["Extent", "Result"]

_Number = Annotated[float, msgspec.Meta(ge=0)]
_Text = Annotated[str, msgspec.Meta(max_length=1_000)]
_Texts = Annotated[tuple[_Text, ...], msgspec.Meta(max_length=200)]


class Extent(msgspec.Struct, frozen=True, omit_defaults=True):
    """How large a film is, in bytes and in seconds."""

    size_bytes: Annotated[int, msgspec.Meta(ge=0)] | None = None
    length_s: _Number | None = None


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was done.

    `encoder` is ffmpeg's name of it. `crf` is the one that was used, and `vmaf` the score that was
    measured. `kept` and `left_out` name streams, `warnings` are sentences. `speed` is the seconds
    of film that were encoded in a second.
    """

    encoder: _Text | None = None
    crf: _Number | None = None
    vmaf: _Number | None = None
    source: Extent | None = None
    output: Extent | None = None
    kept: _Texts = ()
    left_out: _Texts = ()
    speed: _Number | None = None
    warnings: _Texts = ()
