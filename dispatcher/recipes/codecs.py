"""What is known of codecs before an engine sees a job: bounds, and which containers take which."""

from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = ["AUDIO_CODECS", "RATES", "VIDEO_CODECS", "Rates"]


class Rates(msgspec.Struct, frozen=True):
    """How the quality of a codec can be set, and its bounds.

    `most_crf` is 0 if it has none. `most_bits` and `most_frames` are those of a second.
    """

    most_crf: int = 0
    takes_quality: bool = True
    takes_bitrate: bool = True
    has_10_bits: bool = False
    most_bits: int = 1_000_000_000
    most_frames: int = 1_000


RATES: Final[Mapping[str, Rates]] = {
    "h264": Rates(51),
    "hevc": Rates(51, has_10_bits=True),
    "h265": Rates(51, has_10_bits=True),
    "vp8": Rates(63),
    "vp9": Rates(63, has_10_bits=True),
    # Those of libsvtav1.
    "av1": Rates(63, has_10_bits=True, most_bits=100_000_000, most_frames=240),
    "mpeg4": Rates(),
    "mpeg2": Rates(),
    "mpeg2video": Rates(),
    "theora": Rates(),
    "prores": Rates(takes_quality=False, takes_bitrate=False, has_10_bits=True),
    "ffv1": Rates(takes_quality=False, takes_bitrate=False, has_10_bits=True),
}
"""By the names of the codecs that this project's engines know. Of others nothing is checked."""

_HEVC: Final = frozenset({"hevc", "h265"})
_MPEG2: Final = frozenset({"mpeg2", "mpeg2video"})
VIDEO_CODECS: Final[Mapping[str, frozenset[str]]] = {
    "mp4": frozenset({"h264", "vp9", "av1", "mpeg4"}) | _HEVC | _MPEG2,
    "mkv": frozenset(RATES),
    "webm": frozenset({"vp8", "vp9", "av1"}),
    "mov": frozenset({"h264", "mpeg4", "prores"}) | _HEVC | _MPEG2,
    "ts": frozenset({"h264", "mpeg4"}) | _HEVC | _MPEG2,
}
"""The codecs of films that each container takes."""
AUDIO_CODECS: Final[Mapping[str, frozenset[str]]] = {
    "mp4": frozenset({"aac", "ac3", "eac3", "mp3", "opus"}),
    "mkv": frozenset({"aac", "ac3", "eac3", "mp2", "mp3", "opus", "vorbis", "flac", "pcm"}),
    "webm": frozenset({"opus", "vorbis"}),
    "mov": frozenset({"aac", "ac3", "eac3", "mp3", "pcm"}),
    "ts": frozenset({"aac", "ac3", "eac3", "mp2", "mp3"}),
}
"""The codecs of sound that each container takes."""
