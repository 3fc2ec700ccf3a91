"""A long text is cut to its head and tail, and says so."""

import re
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.texts import (
    RESULT_BYTES,
    RESULT_TEXT_BYTES,
    TEXT_BYTES,
    bounded,
    shortened,
)

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


# Results

result_texts = st.text(max_size=40) | st.sampled_from(["\0" * 1_500, "é" * 900, "x" * 1_000])


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "encoder": result_texts,
            "crf": st.floats(0, 63),
            "output": st.just({"size_bytes": 7, "length_s": 1.5}),
            "kept": st.lists(result_texts, max_size=300),
            "warnings": st.lists(result_texts, max_size=300),
        },
    )
)
def test_a_result_is_bounded_and_keeps_its_numbers(result: dict[str, Any]) -> None:
    kept = bounded(result)
    assert len(msgspec.json.encode(kept)) <= RESULT_BYTES
    assert kept.keys() == result.keys()
    for name in ("crf", "output"):
        assert kept.get(name) == result.get(name)


def test_a_small_result_is_kept_as_it_is() -> None:
    result = {"encoder": "libx264", "kept": ["video", "audio"], "source": {"size_bytes": 1}}
    assert bounded(result) == result


def test_the_end_of_a_list_says_how_much_is_cut() -> None:
    kept = bounded({"kept": ["a"] * 1_300})["kept"]
    assert kept == ["a"] * 200 + ["… and 1,100 more"]
    (text,) = bounded({"kept": ["x" * 5_000]})["kept"]
    assert len(text.encode()) <= RESULT_TEXT_BYTES
    assert "bytes cut" in text
