"""The read models, where they show more than the rules see (see also `test_replay`)."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given

from dispatcher.core.events import (
    AnswerRefused,
    EngineBlocked,
    EngineDrained,
    EngineForgotten,
    EngineLost,
    EngineReported,
    EngineResumed,
    EngineSeen,
    Event,
    JobCancelled,
    JobProgressed,
    JobReleased,
    JobRetried,
    Recorded,
)
from dispatcher.core.fleet import Fleet, evolve
from projections import Projections, ProjectionsSnapshot
from projections.engines import Engines, EngineView
from tests.log.golden.make import told
from tests.support.given import assigned, completed, engine, failed, job, requeued
from tests.support.histories import genuine
from tests.support.strategies import reports

START: Final = datetime(2024, 1, 1, tzinfo=UTC)


def projected(*events: Event) -> Projections:
    """Fold events that happened one second apart."""
    projections = Projections()
    for seq, event in enumerate(events, 1):
        projections.apply(Recorded(seq, START + timedelta(seconds=seq), "tester", event))
    return projections


def job_shown(*events: Event) -> dict[str, Any]:
    shown: dict[str, Any] = projected(*events).state()["jobs"][0]
    return shown


def engine_shown(*events: Event) -> dict[str, Any]:
    shown: dict[str, Any] = projected(*events).state()["engines"][0]
    return shown


def test_the_times_of_a_job_are_those_of_its_events() -> None:
    shown = job_shown(job("a"), engine("e"), assigned("a", "e"), completed("a", "e"))
    assert shown["submitted_at"] == "2024-01-01T00:00:01Z"
    assert shown["finished_at"] == "2024-01-01T00:00:04Z"


def test_a_completed_job_keeps_its_engine() -> None:
    shown = job_shown(job("a"), engine("e"), assigned("a", "e"), completed("a", "e"))
    assert (shown["status"], shown["assigned_engine"]) == ("completed", "e")


def test_a_requeued_job_shows_why_and_no_engine() -> None:
    past = (job("a"), engine("e"), assigned("a", "e"))
    shown = job_shown(*past, requeued("a", "e", error="no disk"))
    assert (shown["status"], shown["assigned_engine"]) == ("pending", None)
    assert (shown["retries"], shown["error_message"], shown["finished_at"]) == (1, "no disk", None)


def test_a_job_that_failed_permanently_shows_why_and_when() -> None:
    past = (job("a"), engine("e"), assigned("a", "e"))
    shown = job_shown(*past, failed("a", "e", retries=3, error="no disk"))
    assert (shown["status"], shown["error_message"]) == ("failed_permanently", "no disk")
    assert shown["finished_at"] == "2024-01-01T00:00:04Z"


@pytest.mark.parametrize("said", [{}, {"status": "idle"}, {"status": "busy"}])
def test_an_engine_that_holds_a_job_is_busy_whatever_it_says(said: dict[str, str]) -> None:
    shown = engine_shown(job("a"), engine("e", **said), assigned("a", "e"))
    assert (shown["status"], shown["current_job"]) == ("busy", "a")


def test_an_engine_that_says_busy_is_shown_so() -> None:
    shown = engine_shown(engine("e", status="busy"))
    assert (shown["status"], shown["current_job"]) == ("busy", None)


def test_an_engine_that_said_busy_while_it_worked_is_shown_idle_after_it() -> None:
    past = (job("a"), engine("e"), assigned("a", "e"), engine("e", status="busy"))
    shown = engine_shown(*past, completed("a", "e"))
    assert (shown["status"], shown["current_job"]) == ("idle", None)


def test_the_fields_of_the_protocol_come_first_and_the_engines_own_last() -> None:
    shown = engine_shown(engine("e", hostname="rack", engine_type="gpu"))
    assert list(shown) == [
        *("engine_id", "engine_type", "supported_codecs", "status", "storage_capacity_gb"),
        *("streaming_support", "benchmark_time", "current_job", "online", "last_seen"),
        *("drained", "blocked", "blocked_until", "fenced_instances", "failed_jobs", "hostname"),
    ]


def test_the_fields_of_the_protocol_come_first_in_a_job_too() -> None:
    assert list(job_shown(job("a", priority=7))) == [
        *("job_id", "source_url", "target_codec", "job_size", "status", "assigned_engine"),
        *("output_url", "retries", "max_retries", "attempt", "priority", "progress"),
        *("not_before", "error_message", "submitted_at", "finished_at", "assigned_at"),
    ]


def test_a_job_shows_its_priority_attempt_and_progress() -> None:
    past = (job("a", priority=7), engine("e"), assigned("a", "e", attempt=2))
    shown = job_shown(*past, JobProgressed("a", "e", 2, 33.5))
    assert (shown["priority"], shown["attempt"], shown["progress"]) == (7, 2, 33.5)


@pytest.mark.parametrize(
    "end", [completed("a", "e"), requeued("a", "e"), failed("a", "e"), JobCancelled("a", "e", 1)]
)
def test_progress_is_not_shown_after_the_attempt(end: Event) -> None:
    past = (job("a"), engine("e"), assigned("a", "e"), JobProgressed("a", "e", 1, 33.5))
    assert job_shown(*past, end)["progress"] is None


def test_a_paused_job_shows_until_when_and_no_longer_than_that() -> None:
    past = (job("a"), requeued("a", None, not_before=START + timedelta(seconds=40)))
    assert job_shown(*past)["not_before"] == "2024-01-01T00:00:40Z"
    assert job_shown(*past, JobReleased("a"))["not_before"] is None
    assert job_shown(*past, JobCancelled("a", None, 0))["not_before"] is None


def test_a_cancelled_job_shows_when_and_a_retried_one_is_as_new() -> None:
    past = (job("a"), engine("e"), assigned("a", "e"), requeued("a", "e"))
    shown = job_shown(*past, JobCancelled("a", None, 1))
    assert (shown["status"], shown["finished_at"]) == ("cancelled", "2024-01-01T00:00:05Z")
    shown = job_shown(*past, JobCancelled("a", None, 1), JobRetried("a"))
    assert (shown["status"], shown["finished_at"], shown["retries"]) == ("pending", None, 0)
    assert (shown["attempt"], shown["assigned_engine"]) == (1, None)


def test_a_refused_answer_is_seen_nowhere_but_in_the_history() -> None:
    past = (job("a"), engine("e"), assigned("a", "e"))
    before, after = projected(*past), projected(*past, AnswerRefused("a", "f", 1, "fail", "why"))
    assert after.seq == before.seq + 1
    assert after.state() | {"seq": 0} == before.state() | {"seq": 0}


def test_an_engine_was_last_seen_at_the_last_event_that_it_caused() -> None:
    past = (engine("e"), EngineSeen("e"))
    assert engine_shown(*past)["last_seen"] == "2024-01-01T00:00:02Z"
    shown = engine_shown(*past, EngineLost("e", 60.0), EngineDrained("e"), EngineBlocked("e", "x"))
    assert shown["last_seen"] == "2024-01-01T00:00:02Z"


def test_a_lost_engine_is_offline_until_it_is_seen() -> None:
    past = (engine("e"), EngineLost("e", 60.0))
    assert engine_shown(*past)["online"] is False
    assert engine_shown(*past, EngineSeen("e"))["online"] is True
    assert engine_shown(*past, job("a"), assigned("a", "e"))["online"] is True


def test_a_drained_or_blocked_engine_is_shown_so_until_it_is_resumed() -> None:
    past = (engine("e"), EngineDrained("e"), EngineBlocked("e", "failed 3 different jobs"))
    shown = engine_shown(*past)
    assert (shown["drained"], shown["blocked"]) == (True, "failed 3 different jobs")
    shown = engine_shown(*past, EngineResumed("e"))
    assert (shown["drained"], shown["blocked"]) == (False, None)


def test_a_forgotten_engine_is_not_shown_and_comes_back_as_new() -> None:
    past = (engine("e", hostname="rack"), EngineDrained("e"), EngineForgotten("e"))
    assert projected(*past).engines.all() == []
    shown = engine_shown(*past, engine("e"))
    assert (shown["drained"], shown.get("hostname")) == (False, None)


def test_the_jobs_after_one_are_those_submitted_after_it() -> None:
    jobs = projected(job("b"), job("a"), job("c")).jobs
    assert [it.view.job_id for it in jobs.after(None)] == ["b", "a", "c"]
    assert [it.view.job_id for it in jobs.after(jobs.number_of("b"))] == ["a", "c"]
    assert jobs.after(jobs.number_of("c")) == []
    assert jobs.number_of("ghost") is None


@given(reports)
def test_an_engine_read_from_the_wire_is_the_engine_that_was_shown(report: dict[str, Any]) -> None:
    (view,) = projected(EngineReported("e", report)).engines.all()
    wire = msgspec.json.decode(msgspec.json.encode(view.wire()))
    assert EngineView.from_wire(wire).wire() == wire


def test_a_snapshot_holds_every_read_model() -> None:
    held = set(ProjectionsSnapshot.__struct_fields__) - {"submitted"}
    assert held == set(vars(Projections())) - {"history"}


def test_every_read_model_is_given_the_events() -> None:
    projections = Projections()
    for recorded in told():  # every kind of event is among them
        projections.apply(recorded)
    before, after = Projections().snapshot(), projections.snapshot()
    for name in ProjectionsSnapshot.__struct_fields__:
        assert getattr(before, name) != getattr(after, name), name


@pytest.mark.parametrize("seed", range(3))
def test_failed_jobs_are_those_that_count_against_the_engine(seed: int) -> None:
    fleet, engines, most = Fleet(), Engines(), 0
    for recorded in genuine(800, seed):
        evolve(fleet, recorded.event)
        engines.apply(recorded)
        for engine_id, known in fleet.engines.items():
            shown = engines.get(engine_id)
            assert shown is not None
            assert shown.failed_jobs == known.failures
            most = max(most, len(known.failures))
    assert most > 1
