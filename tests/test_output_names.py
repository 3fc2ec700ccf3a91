"""The names of outputs: which templates are refused, and that a name is always safe."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.output_names import (
    MAX_TEMPLATE,
    NAME_BYTES,
    PLACEHOLDERS,
    filled_in,
    template_fault,
)

VALUES: Final = {
    "stem": "clip",
    "job_id": "17_0",
    "codec": "h264",
    "attempt": 2,
    "recipe": "web",
}
fragments = st.sampled_from([*(f"{{{name}}}" for name in PLACEHOLDERS), "a", "-", " ", ".", "é"])
templates = st.lists(fragments, min_size=1, max_size=8).map("".join)
values = st.text(max_size=300) | st.sampled_from(["..", "../../etc/passwd", "", "\0", "CON", "a/b"])


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{stem}", "clip"),
        ("{stem}-{job_id}.{codec}", "clip-17_0.h264"),
        ("fixed", "fixed"),
        ("{stem} ({recipe}, {attempt})", "clip (web, 2)"),
        ("ünï {stem}", "ünï clip"),
    ],
)
def test_placeholders_are_filled_in(template: str, name: str) -> None:
    assert template_fault(template) is None
    assert filled_in(template, VALUES) == name


def test_there_is_a_value_for_every_placeholder() -> None:
    assert VALUES.keys() == PLACEHOLDERS.keys()


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("", "must not be empty"),
        (" \t", "must not be empty"),
        ("x" * (MAX_TEMPLATE + 1), "must be at most 200 characters, not 201"),
        (
            "{stem}{size}",
            "has no placeholder {size}; it has {stem}, {job_id}, {codec}, {attempt}, {recipe}",
        ),
        (
            "{}",
            "has no placeholder {}; it has {stem}, {job_id}, {codec}, {attempt}, {recipe}",
        ),
        (
            "{stem!r}",
            "has no placeholder {stem!r}; it has {stem}, {job_id}, {codec}, {attempt}, {recipe}",
        ),
        ("{stem", "has a brace without the other one"),
        ("stem}", "has a brace without the other one"),
        ("{{stem}}", "has a brace without the other one"),
        ("a/b", "must be the name of a file, without '/'"),
        ("a\\b", "must be the name of a file, without '\\\\'"),
        ("C:b", "must be the name of a file, without ':'"),
        ("a\nb", "must have printable characters only, without '\\n'"),
        ("a\u202eb", "must have printable characters only, without '\\u202e'"),
        ("{stem}..{codec}", "must not have '..'"),
        ("..", "must not have '..'"),
        (".{stem}", "must not begin with a dot"),
    ],
)
def test_a_bad_template_is_told_its_fault(template: str, fault: str) -> None:
    assert template_fault(template) == fault


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", "output"),
        ("", "output"),
        (".hidden", "hidden"),
        (" . x", "x"),
        ("a\0b\nc", "a_b_c"),
        ("nul", "_nul"),
        ("com1.txt", "_com1.txt"),
        ("end. ", "end"),
        ("é" * 300, "é" * 100),
        ("{job_id}", "{job_id}"),
    ],
)
def test_whatever_a_source_is_called_its_output_has_a_safe_name(stem: str, name: str) -> None:
    assert filled_in("{stem}", VALUES | {"stem": stem}) == name


def test_a_value_that_is_missing_is_empty() -> None:
    assert filled_in("{stem}-{recipe}", {"stem": "clip"}) == "clip-"


@given(templates, st.fixed_dictionaries(dict.fromkeys(PLACEHOLDERS, values)))
def test_a_name_is_always_that_of_a_visible_file(template: str, filled: dict[str, str]) -> None:
    name = filled_in(template, filled)
    assert 0 < len(name.encode()) <= NAME_BYTES + 1
    assert not name.startswith((".", " "))
    assert not name.endswith((".", " "))
    assert not set(name) & set("/\\\0\n\r\x7f:")
