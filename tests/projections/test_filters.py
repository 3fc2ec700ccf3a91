"""Which jobs a filter admits, and that a record of the index is known by the same rule."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dispatcher.core.job import Job, Place
from dispatcher.index.records import compressed, encode, views_of
from projections.filters import JobFilter, words_of
from projections.jobs import JobView

NOW: Final = datetime(2026, 11, 27, 9, tzinfo=UTC)
JOB: Final = JobView(
    *("1790000000000000_0", "http://media/Ferien%20%C3%9Cbung.mp4", "h264", 10.0, "completed"),
    *("Farm-07", "http://out/film.MP4", 0, 3),
    error_message="ffmpeg: Straße is no\nfilm",
    submitted_at=NOW - timedelta(hours=1),
    finished_at=NOW,
    output_name="{stem}-clip",
)

RULES: Final = Job("a", "h264", 10.0, 3, Place(0, 0))


def admits(job: JobView, **wanted: Any) -> bool:
    return JobFilter(**wanted).admits(job)


# Words


@pytest.mark.parametrize(
    "text",
    [
        *("", "   ", "ferien", "FERIEN", "übung", "Übung", "U\u0308bung", "%C3%9C", "mp4"),
        *("17900", "farm-07", "out/film", "strasse", "STRASSE", "straße", "{stem}", "clip"),
        *("film ferien", "ferien film", "mp4 mp4", "\tfilm\n no", "is no"),
    ],
)
def test_words_are_found_in_any_text_and_case(text: str) -> None:
    assert admits(JOB, words=words_of(text))


@pytest.mark.parametrize(
    "text", ["absent", "film absent", "filmferien", "h264", "completed", "nofilm"]
)
def test_each_word_must_be_in_a_text_as_it_stands(text: str) -> None:
    assert not admits(JOB, words=words_of(text))


def test_a_job_without_texts_has_only_those_that_it_has() -> None:
    new = replace(JOB, assigned_engine=None, output_url=None, error_message=None)
    assert admits(new, words=("ferien",))
    assert not admits(new, words=("none",))


# Time


@pytest.mark.parametrize(
    ("since_s", "until_s", "is_admitted"),
    [
        *((0, None, True), (1, None, False), (-1, None, True)),
        *((None, 0, False), (None, 1, True), (None, -1, False)),
        *((0, 1, True), (-9, 0, False), (5, 9, False), (1, -1, False)),
    ],
)
def test_a_span_has_its_beginning_and_not_its_end(
    since_s: int | None, until_s: int | None, is_admitted: bool
) -> None:
    since, until = (
        None if it is None else NOW + timedelta(seconds=it) for it in (since_s, until_s)
    )
    assert admits(JOB, since=since, until=until) == is_admitted
    waiting = replace(JOB, status="pending", submitted_at=NOW, finished_at=None)
    assert admits(waiting, since=since, until=until) == is_admitted


def test_of_a_finished_job_its_submission_does_not_count() -> None:
    assert not admits(JOB, until=NOW - timedelta(minutes=30))
    assert admits(replace(JOB, status="assigned"), until=NOW - timedelta(minutes=30))


def test_a_job_without_a_time_is_in_no_span() -> None:
    assert not admits(replace(JOB, finished_at=None), since=NOW)


# All together


def test_every_part_must_match() -> None:
    parts: dict[str, Any] = {
        "statuses": frozenset({"completed", "pending"}),
        "codec": "h264",
        "engine": "Farm-07",
        "words": ("ferien",),
        "since": NOW,
    }
    wrong: dict[str, Any] = {
        "statuses": frozenset({"cancelled"}),
        "codec": "vp9",
        "engine": "farm-07",
        "words": ("absent",),
        "since": NOW + timedelta(seconds=1),
    }
    assert admits(JOB, **parts)
    for name, value in wrong.items():
        assert not admits(JOB, **parts | {name: value})


# Records of the index

characters = st.sampled_from('aAbBßẞéE\u0301É"\\%/{}\x00\x1f\x7f\u2028 İı\u017f')
texts = st.text(characters, max_size=8)


@given(texts, texts, st.none() | texts, texts, st.booleans())
def test_a_record_is_wanted_if_its_job_is(
    source: str, error: str, output: str | None, searched: str, is_quoted: bool
) -> None:
    view = replace(
        JOB,
        source_url=quote(source) if is_quoted else source,
        error_message=error,
        output_url=output,
    )
    wanted = JobFilter(words=words_of(searched))
    found = views_of([(7, compressed(encode(view, RULES, None)))], wanted)
    assert found == [(7, view if wanted.admits(view) else None)]
