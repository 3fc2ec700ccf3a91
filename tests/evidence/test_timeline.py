"""A job's story: who did what when, how long each stage took, and how each attempt ended."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st

from dispatcher.core.events import (
    AnswerRefused,
    Cause,
    EngineReported,
    EngineSeen,
    Event,
    JobCancelled,
    JobProgressed,
    JobReleased,
    JobReprioritized,
    JobRetried,
    Recorded,
)
from dispatcher.evidence.timeline import Stage, duration, happening_of, told
from dispatcher.log import serialization
from dispatcher.log.serialization import LogEntry
from tests.support.given import START, assigned, completed, failed, job, requeued
from tests.support.strategies import any_events, times


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def story(*happened: tuple[float, Event], actor: str = "operator") -> list[LogEntry]:
    """Give entries of events, each with the second in which it happened."""
    return [
        serialization.encode(Recorded(seq, at(second), actor, event))
        for seq, (second, event) in enumerate(happened, 1)
    ]


def stages(*happened: tuple[float, Event]) -> list[Stage]:
    return told(story(*happened)).stages


def test_a_job_waits_and_then_an_engine_does_it() -> None:
    timeline = told(
        story((0, job("j")), (2, assigned("j", "e")), (65, completed("j", "e", output_url="out")))
    )
    assert timeline.stages == [
        Stage("waiting", None, 2, "assigned to e"),
        Stage("attempt 1", "e", 63, "completed: out"),
    ]
    assert timeline.total_s == 65
    assert [(line.seq, line.since_s, line.actor) for line in timeline.lines] == [
        (1, 0, "operator"),
        (2, 2, "operator"),
        (3, 63, "operator"),
    ]
    assert [line.time for line in timeline.lines] == [
        "2024-01-01T00:00:00.000000Z",
        "2024-01-01T00:00:02.000000Z",
        "2024-01-01T00:01:05.000000Z",
    ]


@pytest.mark.parametrize(
    ("cause", "end"),
    [
        ("reported", "failed: broke"),
        ("engine_silent", "lost, the engine fell silent"),
        ("timed_out", "lost, it took too long or showed no progress"),
        ("engine_restarted", "lost, the engine restarted or was taken over"),
        ("engine_forgotten", "lost, the engine was forgotten"),
    ],
)
def test_every_attempt_has_its_engine_and_its_end(cause: Cause, end: str) -> None:
    assert stages(
        (0, job("j")),
        (1, assigned("j", "a")),
        (3, requeued("j", "a", cause=cause)),
        (7, assigned("j", "b", attempt=2)),
        (15, failed("j", "b", attempt=2, cause=cause)),
    ) == [
        Stage("waiting", None, 1, "assigned to a"),
        Stage("attempt 1", "a", 2, end),
        Stage("waiting", None, 4, "assigned to b"),
        Stage("attempt 2", "b", 8, f"{end} (for good)"),
    ]


def test_a_pause_is_told_from_waiting() -> None:
    assert stages(
        (0, job("j")),
        (0, assigned("j", "e")),
        (1, requeued("j", "e", not_before=at(31))),
        (31, JobReleased("j")),
        (40, assigned("j", "e", attempt=2)),
    )[2:] == [
        Stage("pausing", None, 30, "over"),
        Stage("waiting", None, 9, "assigned to e"),
        Stage("attempt 2", "e", None, "still under way"),
    ]


def test_what_is_under_way_has_no_length_but_its_progress() -> None:
    begun = ((0.0, job("j")), (1.0, assigned("j", "e")))
    assert stages(*begun, (9, JobProgressed("j", "e", 1, 41.6)))[-1] == Stage(
        "attempt 1", "e", None, "still under way, 42 %"
    )
    assert stages((0, job("j"))) == [Stage("waiting", None, None, "still under way")]


def test_a_cancelled_job_that_is_retried_waits_again() -> None:
    assert stages(
        (0, job("j")),
        (5, JobCancelled("j", None, 0)),
        (100, JobRetried("j")),
        (103, assigned("j", "e")),
        (104, JobCancelled("j", "e", 1)),
    ) == [
        Stage("waiting", None, 5, "cancelled"),
        Stage("waiting", None, 3, "assigned to e"),
        Stage("attempt 1", "e", 1, "cancelled"),
    ]


def test_a_job_that_nobody_held_can_be_completed() -> None:
    assert stages((0, job("j")), (4, completed("j", None, 0, "out"))) == [
        Stage("waiting", None, 4, "completed: out")
    ]


def test_a_refused_late_answer_is_marked_and_ends_nothing() -> None:
    late = AnswerRefused("j", "a", 1, "complete", "Conflict: too late.")
    begun = ((0.0, job("j")), (1.0, assigned("j", "b", attempt=2)))
    timeline = told(story(*begun, (2, late)))
    assert [line.is_refusal for line in timeline.lines] == [False, False, True]
    assert timeline.lines[2].what == (
        "refused the late 'complete' of attempt 1 by a: Conflict: too late."
    )
    assert timeline.stages == stages(*begun)


def test_a_clock_that_was_set_back_is_not_hidden() -> None:
    timeline = told(story((10, job("j")), (4, assigned("j", "e"))))
    assert timeline.lines[1].since_s == -6
    assert timeline.stages[0].took_s == -6


def test_a_story_without_events_is_empty() -> None:
    assert told([]) == ([], [], 0)


@pytest.mark.parametrize(("of_type", "version"), [("job_teleported", 1), ("job_assigned", 99)])
def test_an_event_of_a_later_version_is_shown_by_its_type(of_type: str, version: int) -> None:
    (first,) = story((0, job("j")))
    strange = LogEntry(2, first.time, of_type, version, "a", None, b'{"job_id":"j","far":1}')
    timeline = told([first, strange])
    assert timeline.lines[1].what == of_type
    assert happening_of(strange) == ("?", of_type, None)


def test_engines_have_a_story_too() -> None:
    for event, what in (
        (EngineReported("e", {}), "reported for the first time"),
        (EngineReported("e", {"status": "busy"}), 'reported {"status":"busy"}'),
        (EngineSeen("e"), "seen"),
    ):
        (entry,) = story((0, event))
        assert happening_of(entry) == ("engine e", what, event)


@given_any(st.lists(st.tuples(times, any_events), max_size=8))
def test_whatever_happened_is_told(happened: list[tuple[datetime, Event]]) -> None:
    entries = [
        serialization.encode(Recorded(seq, when, "a", event))
        for seq, (when, event) in enumerate(happened, 1)
    ]
    timeline = told(entries)
    seqs = [line.seq for line in timeline.lines]
    assert seqs == sorted(set(seqs))
    folded = {entry.seq for entry in entries} - {*seqs}
    assert all(isinstance(happened[seq - 1][1], JobProgressed) for seq in folded)
    since_s = sum(line.since_s for line in timeline.lines)
    assert since_s == pytest.approx(timeline.total_s, abs=0.001)
    assert all(line.what for line in timeline.lines)
    for entry, (_, event) in zip(entries, happened, strict=True):
        assert happening_of(entry).event == event


def test_the_progress_of_an_attempt_is_one_line_until_something_else_happens() -> None:
    reports = [(n, JobProgressed("j", "e", 1, 10.0 * n)) for n in (2, 3, 4)]
    again = [(n, JobProgressed("j", "e", 1, 10.0 * n)) for n in (6, 7)]
    other = (5, JobReprioritized("j", 3, START))
    lines = told(story((0, job("j")), (1, assigned("j", "e")), *reports, other, *again)).lines
    assert [(line.seq, line.since_s, line.what) for line in lines[2:]] == [
        (5, 3.0, "attempt 1 on e went from 20 % to 40 %"),
        (6, 1.0, "given priority 3"),
        (8, 2.0, "attempt 1 on e went from 60 % to 70 %"),
    ]


def test_of_an_error_the_last_line_is_told() -> None:
    error = "frame 1\nbroke here\n \n"
    begun = ((0.0, job("j")), (1.0, assigned("j", "e")))
    for ended in (requeued("j", "e", error=error), failed("j", "e", error=error)):
        timeline = told(story(*begun, (2, ended)))
        assert "failed: broke here;" in timeline.lines[-1].what
        assert timeline.stages[1].end.startswith("failed: broke here")


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0.000 s"),
        (1.2344, "1.234 s"),
        (12.34, "12.3 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (61, "1 min 01 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (90_061, "25 h 01 min"),
        (-2.5, "-2.500 s"),
    ],
)
def test_a_length_of_time_is_written_as_people_do(seconds: float, written: str) -> None:
    assert duration(seconds) == written
