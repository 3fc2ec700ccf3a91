"""How much of a server's answer has come, so that the rest can be asked for if it breaks off.

Laws (RFC 9110, sections 13 and 14):
- Only the same bytes go on: the rest has the size and the validator of what came before.
- An answer is resumed a few times and no more, each time after a longer pause.
"""

import re
from collections.abc import Mapping
from typing import Final, Self

__all__ = ["Resumable"]

PAUSES_S: Final = (0.25, 1.0, 4.0)
"""Before each time that an answer is resumed."""
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_WHOLE, _PART = "200", "206"


class Resumable:
    """An answer of a known length to a GET."""

    def __init__(self, at: int, end: int, total: int, validator: str) -> None:
        self._at = at
        self._end = end
        self._total = total
        self._validator = validator
        self._pauses_s = list(PAUSES_S)

    @classmethod
    def of(cls, method: str, status: str, fields: Mapping[str, str]) -> Self | None:
        """Return what this head promises; `None` if the answer could not be resumed."""
        code = status.split()[1:2]
        length = fields.get("content-length", "")
        if method != "GET" or not length.isdecimal() or "transfer-encoding" in fields:
            return None
        part = _RANGE.fullmatch(fields.get("content-range", ""))
        if code == [_PART] and part:
            return cls(int(part[1]), int(part[2]) + 1, int(part[3]), _validator(fields))
        if code == [_WHOLE] and fields.get("accept-ranges", "").lower() == "bytes":
            return cls(0, int(length), int(length), _validator(fields))
        return None

    def received(self, size: int) -> None:
        """Count what has come."""
        self._at += size

    @property
    def is_over(self) -> bool:
        """Whether all has come that was promised."""
        return self._at >= self._end

    def pause_s(self) -> float | None:
        """Return how long to wait before asking again; `None` if that was done often enough."""
        return self._pauses_s.pop(0) if self._pauses_s else None

    @property
    def range(self) -> str:
        """What is to be asked for, as a line of a head."""
        return f"Range: bytes={self._at}-{self._end - 1}"

    def goes_on(self, status: str, fields: Mapping[str, str]) -> bool:
        """Whether this is the head of an answer with exactly the rest."""
        part = _RANGE.fullmatch(fields.get("content-range", ""))
        return (
            status.split()[1:2] == [_PART]
            and part is not None
            and (int(part[1]), int(part[2]) + 1) == (self._at, self._end)
            and int(part[3]) == self._total
            and _validator(fields) == self._validator
            and "transfer-encoding" not in fields
        )


def _validator(fields: Mapping[str, str]) -> str:
    return fields.get("etag") or fields.get("last-modified", "")
