"""A long text is cut to its head and tail, and says so."""

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.texts import TEXT_BYTES, shortened

MARK: Final = re.compile(r"\n\[… ([0-9,]+) bytes cut …\]\n")

surrogates = st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF)
parts = st.lists(
    st.tuples(st.text(st.characters() | surrogates, min_size=1, max_size=5), st.integers(1, 4_000)),
    max_size=5,
)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("character", ["x", "é", "…", "🎬"])
def test_a_text_is_kept_up_to_the_limit_and_cut_from_there(character: str) -> None:
    size = len(character.encode())
    fits = character * (TEXT_BYTES // size)
    assert shortened(fits) is fits
    assert MARK.search(shortened(fits + character)) is not None


def test_what_is_kept_is_the_beginning_and_the_end() -> None:
    text = "the beginning " + "x" * 1_000_000 + " the end"
    cut = shortened(text)
    head, told, tail = MARK.split(cut)
    assert head.startswith("the beginning x")
    assert tail.endswith("x the end")
    assert int(told.replace(",", "")) == len(text) - len(head) - len(tail)


@given(parts)
def test_whatever_is_cut_is_within_the_limit_and_no_character_is_split(
    repeated: list[tuple[str, int]],
) -> None:
    text = "".join(part * count for part, count in repeated)
    cut = shortened(text)
    assert len(encoded(cut)) <= TEXT_BYTES
    assert shortened(cut) == cut
    if cut != text:
        found = MARK.search(cut, TEXT_BYTES // 8 - 64)
        assert found is not None
        assert text.startswith(cut[: found.start()])
        assert text.endswith(cut[found.end() :])
