"""How much of a free text is kept.

Laws:
- A text that is short enough is kept as it is. So cutting a text twice is cutting it once.
- A text is cut when the event is decided. Events that are in a log stay as they are.
"""

from typing import Final

__all__ = ["TEXT_BYTES", "shortened"]

TEXT_BYTES: Final = 8 << 10
"""The most bytes of a text in UTF-8, with the mark where it was cut."""
_MARK: Final = "\n[… {:,} bytes cut …]\n"
_KEPT: Final = (TEXT_BYTES - 64) // 2
"""Bytes of the head, and of the tail. The mark takes less than 64."""
_MOST_BYTES_A_CHARACTER: Final = 4
_CONTINUED: Final = 0b1000_0000
_CONTINUED_BITS: Final = 0b0011_1111


def shortened(text: str) -> str:
    """Return a text, or its head and tail with a mark between them that says how much is cut.

    No character is cut in two.
    """
    if len(text) * _MOST_BYTES_A_CHARACTER <= TEXT_BYTES:
        return text
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) <= TEXT_BYTES:
        return text
    first, last = _KEPT, len(encoded) - _KEPT
    while _is_within_character(encoded[first]):
        first -= 1
    while _is_within_character(encoded[last]):
        last += 1
    head, tail = (it.decode("utf-8", "surrogatepass") for it in (encoded[:first], encoded[last:]))
    return f"{head}{_MARK.format(last - first)}{tail}"


def _is_within_character(byte: int) -> bool:
    """Whether a byte of UTF-8 continues the character that an earlier one begins."""
    return byte & ~_CONTINUED_BITS == _CONTINUED
