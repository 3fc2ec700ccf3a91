"""Moments as people write them."""

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.cli.moments import duration_s, moment
from dispatcher.state.moments import MomentError

NOW: Final = datetime(2026, 11, 25, 10, 30, tzinfo=UTC)
"""A Wednesday."""


@pytest.fixture
def paris(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The operator's zone is an hour ahead of UTC in winter, and two in summer."""
    monkeypatch.setenv("TZ", "Europe/Paris")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-11-25T10:30:00"),
        ("5 minutes ago", "2026-11-25T10:25:00"),
        ("5min ago", "2026-11-25T10:25:00"),
        ("  5   Minutes AGO ", "2026-11-25T10:25:00"),
        ("an hour ago", "2026-11-25T09:30:00"),
        ("1.5 h ago", "2026-11-25T09:00:00"),
        ("2h30m ago", "2026-11-25T08:00:00"),
        ("2 hours and 30 minutes ago", "2026-11-25T08:00:00"),
        ("90s ago", "2026-11-25T10:28:30"),
        ("2 days ago", "2026-11-23T10:30:00"),
        ("a week ago", "2026-11-18T10:30:00"),
        ("9 months ago", "2026-02-25T10:30:00"),
        ("a year ago", "2025-11-25T10:30:00"),
        ("08:56", "2026-11-25T08:56:00"),
        ("08:56:07.25", "2026-11-25T08:56:07.250000"),
        ("8:56", "2026-11-25T08:56:00"),
        ("9 am", "2026-11-25T09:00:00"),
        ("12:15am", "2026-11-25T00:15:00"),
        ("23:50", "2026-11-24T23:50:00"),  # the last time that it was so late
        ("today", "2026-11-25T00:00:00"),
        ("today 14:00", "2026-11-25T14:00:00"),
        ("yesterday", "2026-11-24T00:00:00"),
        ("yesterday 14:00", "2026-11-24T14:00:00"),
        ("yesterday at 2 pm", "2026-11-24T14:00:00"),
        ("monday", "2026-11-23T00:00:00"),
        ("last wednesday", "2026-11-18T00:00:00"),
        ("Tuesday 07:00", "2026-11-24T07:00:00"),
        ("2026-11-22", "2026-11-22T00:00:00"),
        ("2026-11-22 09:30", "2026-11-22T09:30:00"),
        ("2026-11-22T09:30:00", "2026-11-22T09:30:00"),
        ("2026-11-22T09:30:00Z", "2026-11-22T09:30:00"),
        ("2026-11-22T09:30:00.5+01:00", "2026-11-22T08:30:00.500000"),
        ("2026-11-22 09:30 -0100", "2026-11-22T10:30:00"),
        ("08:56 utc", "2026-11-25T08:56:00"),
    ],
)
def test_a_moment_is_understood(text: str, expected: str) -> None:
    assert moment(text, NOW, utc=True) == datetime.fromisoformat(f"{expected}+00:00")


@pytest.mark.parametrize(
    "text",
    [
        *("", "ago", "soon", "5", "5 ago", "5 lightyears ago", "minutes ago", "-5 minutes ago"),
        *("25:00", "08:60", "8", "13 pm", "0 am", "2026-13-01", "2026-02-30", "2026-11-22Z"),
        *("yesterday 14", "yesterday monday", "99999999999999 weeks ago", "9999999 years ago"),
        *("1.5 months ago", "08:56 CET", "٠٨:٥٦", "5 minutes ago ago"),
    ],
)
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(MomentError, match="such as '5 minutes ago'"):
        moment(text, NOW, utc=True)


@given(st.text())
def test_no_text_is_a_fault(text: str) -> None:
    with suppress(MomentError):
        assert moment(text, NOW, utc=True).utcoffset() is not None


def test_a_time_that_is_still_to_come_is_todays_if_an_end_is_meant() -> None:
    assert moment("23:50", NOW, utc=True, ahead=True).day == 25


@pytest.mark.usefixtures("paris")
def test_a_time_without_a_zone_is_the_operators() -> None:
    assert moment("yesterday 14:00", NOW, utc=False) == datetime(2026, 11, 24, 13, tzinfo=UTC)
    assert moment("yesterday 14:00", NOW, utc=True) == datetime(2026, 11, 24, 14, tzinfo=UTC)
    assert moment("2026-07-01 14:00", NOW, utc=False) == datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert moment("11:15", NOW, utc=False) == datetime(2026, 11, 25, 10, 15, tzinfo=UTC)


@pytest.mark.usefixtures("paris")
def test_today_is_the_operators_day() -> None:
    late = datetime(2026, 11, 25, 23, 30, tzinfo=UTC)  # past midnight in Paris
    assert moment("today", late, utc=False) == datetime(2026, 11, 25, 23, tzinfo=UTC)
    assert moment("today", late, utc=True) == datetime(2026, 11, 25, tzinfo=UTC)


@pytest.mark.usefixtures("paris")
def test_a_month_ago_is_the_same_time_of_day_across_a_change_of_the_clocks() -> None:
    at = datetime(2026, 3, 31, 10, tzinfo=UTC)  # noon in summer
    assert moment("a month ago", at, utc=False) == datetime(2026, 2, 28, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("10m", 600), ("1h 30min", 5_400), ("2 days", 172_800)],
)
def test_a_duration_is_understood(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-1", "10 m 5", "a month", "nan", "inf"])
def test_no_other_duration_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        duration_s(text)
