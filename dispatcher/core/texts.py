"""How much of a free text, and of the result of a job, is kept.

Laws:
- A text that is short enough is kept as it is. So cutting a text twice is cutting it once.
- A text is cut when the event is decided. Events that are in a log stay as they are.
"""

from typing import Any, Final

import msgspec

__all__ = ["RESULT_BYTES", "RESULT_TEXT_BYTES", "TEXT_BYTES", "bounded", "shortened"]

TEXT_BYTES: Final = 8 << 10
"""The most bytes of a text in UTF-8, with the mark where it was cut."""
RESULT_TEXT_BYTES: Final = 1_000
"""The same of each text in a result."""
RESULT_BYTES: Final = 16 << 10
"""The most bytes of a result as JSON."""
_MARK: Final = "\n[… {:,} bytes cut …]\n"
_MARK_BYTES: Final = 64
"""The mark takes less."""
_LENGTHS: Final = (200, 100, 50, 25, 12, 6, 3, 1, 0)
"""To how many entries the lists of a result are cut: the first at which it is small enough."""
_MOST_BYTES_A_CHARACTER: Final = 4
_CONTINUED: Final = 0b1000_0000
_CONTINUED_BITS: Final = 0b0011_1111


def shortened(text: str, at_most_bytes: int = TEXT_BYTES) -> str:
    """Return a text, or its head and tail with a mark between them that says how much is cut.

    No character is cut in two.
    """
    if len(text) * _MOST_BYTES_A_CHARACTER <= at_most_bytes:
        return text
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) <= at_most_bytes:
        return text
    kept = (at_most_bytes - _MARK_BYTES) // 2
    first, last = kept, len(encoded) - kept
    while _is_within_character(encoded[first]):
        first -= 1
    while _is_within_character(encoded[last]):
        last += 1
    head, tail = (it.decode("utf-8", "surrogatepass") for it in (encoded[:first], encoded[last:]))
    return f"{head}{_MARK.format(last - first)}{tail}"


def bounded(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result with shortened texts, and shortened lists if it is too large.

    The end of a list says how many entries were cut. The values that are no texts and lists must be
    numbers, or objects of a few numbers.
    """
    for length in _LENGTHS:
        cut = {name: _cut(value, length) for name, value in result.items()}
        if len(msgspec.json.encode(cut)) <= RESULT_BYTES:
            break
    return cut


def _cut(value: Any, length: int) -> Any:
    match value:
        case str():
            return shortened(value, RESULT_TEXT_BYTES)
        case list():
            more = [f"… and {len(value) - length:,} more"] if len(value) > length else []
            return [shortened(text, RESULT_TEXT_BYTES) for text in value[:length]] + more
        case _:
            return value


def _is_within_character(byte: int) -> bool:
    """Whether a byte of UTF-8 continues the character that an earlier one begins."""
    return byte & ~_CONTINUED_BITS == _CONTINUED
