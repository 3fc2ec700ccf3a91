"""How much an engine may tell about itself, over all its heartbeats.

Law: a heartbeat in which only numbers change is never refused, so that looking at it costs little,
and an engine whose report in an older log is larger than the limit goes on.
"""

from typing import Any, Final

import msgspec

__all__ = ["REPORT_BYTES", "is_too_large"]

REPORT_BYTES: Final = 64 << 10
"""The most bytes of a report, as JSON. The names of all codecs that ffmpeg has take some 10 KB."""
_64_BITS: Final = 64


def is_too_large(known: dict[str, Any], news: dict[str, Any]) -> bool:
    """Whether what is known of an engine would be too large with the news."""
    if not any(name not in known or not _is_small(value) for name, value in news.items()):
        return False
    return len(msgspec.json.encode(known | news)) > REPORT_BYTES


def _is_small(value: object) -> bool:
    if isinstance(value, int):  # or a bool
        return value.bit_length() <= _64_BITS
    return isinstance(value, float)
