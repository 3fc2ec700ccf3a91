"""What jobs took, and when others will be done by that."""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.commands import Command
from dispatcher.core.events import (
    EngineForgotten,
    EngineReported,
    Event,
    JobCancelled,
    JobProgressed,
    JobRetried,
    JobSubmitted,
    Recorded,
)
from dispatcher.core.placing import picture_of
from dispatcher.core.policy import Policy
from dispatcher.state.replay import State
from projections.forecast import MOST_SHOWN, Forecast
from projections.forecasting import NOTHING_TO_DO, at_once, forecast, outlook_of
from projections.speeds import KEPT, SpeedShown, SpeedsShown
from projections.statistics import MOST_CODECS, OTHERS
from tests.state.test_replay import histories, live
from tests.support.given import assigned, completed, engine, failed, job, requeued
from tests.support.strategies import any_events, policies, times

START: Final = datetime(2026, 3, 1, tzinfo=UTC)


def state_of(*events: tuple[float, Event]) -> State:
    """Fold events, each at a second after the start."""
    state = State()
    for seq, (second, event) in enumerate(events, 1):
        state.apply(Recorded(seq, START + timedelta(seconds=second), "tester", event))
    return state


def speeds_of(state: State) -> SpeedsShown:
    return state.projections.speeds.shown(state.seq, state.projections.time)


def forecast_of(state: State) -> Forecast:
    return at_once(forecast(outlook_of(picture_of(state.fleet), state.projections)))


def after(second: float) -> datetime:
    return START + timedelta(seconds=second)


def done(
    job_id: str, engine_id: str, begin: float, end: float, **its: float | str
) -> list[tuple[float, Event]]:
    """A job that an engine began and completed at these seconds."""
    submitted = JobSubmitted(
        job_id, "http://media/in", str(its.get("codec", "h264")), float(its.get("size", 0.0)), 3
    )
    return [
        (begin, submitted),
        (begin, assigned(job_id, engine_id)),
        (end, completed(job_id, engine_id)),
    ]


ENGINES: Final[list[tuple[float, Event]]] = [(0, engine("x")), (0, engine("y"))]


# How long jobs took


def test_a_job_takes_from_its_newest_assignment_to_its_completion() -> None:
    events = [
        *ENGINES,
        *((0, job("a", size=10.0)), (1, assigned("a", "x")), (9, requeued("a", "x"))),
        *((20, assigned("a", "y", attempt=2)), (50, completed("a", "y", attempt=2))),
    ]
    shown = speeds_of(state_of(*events))
    assert shown.codecs == {"h264": SpeedShown(1, 30.0, 3.0)}
    assert shown.engines == {"y": {"h264": SpeedShown(1, 30.0, 3.0)}}


def test_the_newest_jobs_count_most() -> None:
    events = [*ENGINES]
    for number in range(300):
        took = 10.0 if number < 150 else 20.0
        events += done(f"job {number}", "x", number * 100, number * 100 + took)
    (speed,) = speeds_of(state_of(*events)).codecs.values()
    assert speed.jobs == 300
    assert speed.seconds == pytest.approx(20.0, abs=0.1)
    weights = [KEPT**age for age in range(3)]
    few = state_of(*ENGINES, *done("a", "x", 0, 1), *done("b", "x", 1, 3), *done("c", "x", 3, 9))
    (speed,) = speeds_of(few).codecs.values()
    expected = (6 * weights[0] + 2 * weights[1] + 1 * weights[2]) / sum(weights)
    assert speed.seconds == pytest.approx(expected)


def test_jobs_of_no_size_count_for_their_time_only() -> None:
    events = [*ENGINES, *done("a", "x", 0, 10, size=5.0), *done("b", "x", 10, 40)]
    (speed,) = speeds_of(state_of(*events)).codecs.values()
    assert (speed.jobs, speed.seconds_per_mb) == (2, 2.0)
    assert speeds_of(state_of(*ENGINES, *done("b", "x", 0, 1))).codecs["h264"] == SpeedShown(
        1, 1.0, None
    )


@pytest.mark.parametrize("end", [failed("a", "x"), requeued("a", "x"), JobCancelled("a", "x", 1)])
def test_what_does_not_complete_has_no_speed(end: Event) -> None:
    state = state_of(*ENGINES, (0, job("a")), (1, assigned("a", "x")), (2, end))
    assert speeds_of(state).codecs == {}


def test_work_that_arrives_late_or_from_the_future_has_no_speed() -> None:
    begun = [*ENGINES, (10.0, job("a")), (11.0, assigned("a", "x"))]
    late = state_of(*begun, (12.0, requeued("a", "x")), (99.0, completed("a", None)))
    set_back = state_of(*begun, (5.0, completed("a", "x")))
    assert speeds_of(late).codecs == speeds_of(set_back).codecs == {}


def test_a_forgotten_engine_leaves_its_speed_to_the_farm_only() -> None:
    state = state_of(*ENGINES, *done("a", "x", 0, 10), (11, EngineForgotten("x")))
    assert (speeds_of(state).engines, speeds_of(state).codecs["h264"].jobs) == ({}, 1)


def test_memory_is_bounded_however_many_codecs_are_asked_for() -> None:
    events = [*ENGINES]
    for number in range(MOST_CODECS + 9):
        events += done(f"job {number}", "x", number, number + 1, codec=f"codec {number}")
    shown = speeds_of(state_of(*events))
    for codecs in (shown.codecs, shown.engines["x"]):
        assert (len(codecs), codecs[OTHERS].jobs) == (MOST_CODECS + 1, 9)


def test_a_codec_beyond_those_that_are_counted_one_by_one_has_no_speed() -> None:
    events = [*ENGINES[:1]]
    for number in range(MOST_CODECS + 1):
        events += done(f"job {number}", "x", number, number + 1, codec=f"codec {number}")
    speeds = state_of(*events).projections.speeds
    assert speeds.of_farm("never completed") is speeds.of_engine("x", "never completed") is None
    assert speeds.of_farm("codec 0") is not None


@given(st.lists(st.tuples(any_events, times), max_size=40))
def test_any_log_has_speeds_and_a_forecast_that_json_can_hold(
    events: list[tuple[Event, datetime]],
) -> None:
    state = State()
    for seq, (event, at) in enumerate(events, 1):
        state.apply(Recorded(seq, at, "tester", event))
    for shown in (speeds_of(state), forecast_of(state)):
        again = msgspec.json.decode(msgspec.json.encode(shown), type=type(shown))
        assert again == shown


def test_a_forecast_is_of_the_speeds_at_its_seq_whatever_is_completed_meanwhile() -> None:
    waiting = (100.0, job("w"))
    state = state_of(*ENGINES[:1], *done("a", "x", 0.0, 60.0), waiting)
    outlook, before = outlook_of(picture_of(state.fleet), state.projections), forecast_of(state)
    for seq, (second, event) in enumerate(done("b", "x", 100.0, 900.0), state.seq + 1):
        state.apply(Recorded(seq, after(second), "tester", event))
    assert at_once(forecast(outlook)) == before
    assert forecast_of(state) != before


def test_a_copy_of_the_speeds_shares_each_of_them() -> None:
    speeds = state_of(*ENGINES, *done("a", "x", 0.0, 60.0)).projections.speeds
    copy = speeds.copied()
    assert copy.of_farm("h264") is speeds.of_farm("h264")
    assert copy.of_engine("x", "h264") is speeds.of_engine("x", "h264")


# When what runs and waits will be done


def test_of_an_empty_farm_there_is_nothing_to_tell() -> None:
    assert forecast_of(State()) == Forecast(0, None, None, 0.0, 0, NOTHING_TO_DO, [], [])
    idle = forecast_of(state_of(*ENGINES))
    assert (idle.done_at, idle.work_s, idle.how) == (None, 0.0, NOTHING_TO_DO)


def test_a_job_that_runs_goes_on_as_it_went_so_far() -> None:
    progressed = JobProgressed("a", "x", 1, 25.0)
    begun = [*ENGINES, (0.0, job("a")), (100.0, assigned("a", "x"))]
    ahead = forecast_of(state_of(*begun, (200.0, progressed)))
    (running,) = ahead.running
    assert (running.expected_at, running.how) == (after(500.0), "progress")
    assert (ahead.done_at, ahead.work_s) == (after(500.0), 300.0)
    assert ahead.how == "1 by their own progress."


def test_before_it_has_done_much_the_past_says_when() -> None:
    past = [*ENGINES, *done("a", "x", 0.0, 60.0, size=10.0)]
    begun = [*past, (100.0, job("b", size=20.0)), (100.0, assigned("b", "x"))]
    barely = JobProgressed("b", "x", 1, 0.1)
    (running,) = forecast_of(state_of(*begun, (110.0, barely))).running
    assert (running.expected_at, running.how) == (after(220.0), "engine")
    (overdue,) = forecast_of(state_of(*begun, (999.0, barely))).running
    assert overdue.expected_at == after(999.0)


def test_the_past_of_the_engine_counts_before_that_of_the_farm() -> None:
    past = [*ENGINES, *done("a", "x", 0.0, 60.0), *done("b", "y", 0.0, 20.0)]
    begun = [
        (100.0, it) for name in "cd" for it in (job(name), assigned(name, "xy"["cd".index(name)]))
    ]
    state = state_of(*past, *begun)
    assert [it.expected_at for it in forecast_of(state).running] == [after(160.0), after(120.0)]
    new: list[tuple[float, Event]] = [
        (100.0, engine("z")),
        (100.0, job("e")),
        (100.0, assigned("e", "z")),
    ]
    (_, _, third) = forecast_of(state_of(*past, *begun, *new)).running
    assert third.how == "codec"
    assert third.expected_at is not None
    assert after(120.0) < third.expected_at < after(160.0)


def test_nothing_is_guessed_of_a_codec_that_is_new() -> None:
    ahead = forecast_of(state_of((0.0, engine("x")), (0.0, job("a")), (1.0, job("b"))))
    assert [(it.expected_start, it.expected_at, it.how) for it in ahead.waiting] == [
        (after(1.0), None, "unknown"),
        (None, None, "unknown"),
    ]
    assert (ahead.done_at, ahead.work_s, ahead.unknown) == (None, 0.0, 2)
    assert ahead.how == "2 of codecs of which nothing is known yet."


def test_a_job_that_no_engine_takes_counts_as_work_by_the_past_of_the_farm() -> None:
    past = [(0.0, engine("x")), *done("a", "x", 0.0, 60.0)]
    ahead = forecast_of(state_of(*past, (60.0, EngineForgotten("x")), (60.0, job("b"))))
    assert (ahead.unplaced, ahead.work_s, ahead.done_at) == (1, 60.0, None)
    assert ahead.unknown == 0
    assert [it.how for it in ahead.waiting] == ["unplaced"]


def test_of_very_many_jobs_the_first_are_shown_and_all_are_counted() -> None:
    jobs: list[tuple[float, Event]] = [
        (100.0, job(f"job {number}", waits_since_s=number)) for number in range(MOST_SHOWN + 5)
    ]
    ahead = forecast_of(state_of(*ENGINES[:1], *done("a", "x", 0.0, 10.0), *jobs))
    assert [it.place for it in ahead.waiting] == [*range(1, MOST_SHOWN + 1)]
    assert ahead.work_s == pytest.approx(10.0 * len(jobs))
    assert ahead.done_at == after(100.0 + 10.0 * len(jobs))


def test_a_time_beyond_all_times_is_not_told() -> None:
    past = [(0.0, engine("x")), *done("a", "x", 0.0, 1e6, size=1e-6)]
    jobs = [(1e6, job(f"{number}", size=1e12)) for number in range(400)]
    ahead = forecast_of(state_of(*past, *jobs))
    assert ahead.done_at is None
    assert ahead.waiting[0].expected_at is not None


@given(histories, policies)
def test_all_that_runs_and_waits_is_told_once_in_the_order_of_the_queue(
    history: list[Command], policy: Policy
) -> None:
    state = State()
    for recorded in live(history, policy)[2]:
        state.apply(recorded)
    ahead = forecast_of(state)
    jobs = state.fleet.jobs.values()
    in_line = sorted(
        (
            it
            for it in jobs
            if it.status == "pending"
            and not it.ties.waits_for
            and it.job_id not in state.fleet.queue.paused
        ),
        key=lambda it: it.place,
    )
    told = [(it.place, it.job_id) for it in ahead.waiting if it.place is not None]
    assert told == [(number, it.job_id) for number, it in enumerate(in_line, 1)]
    blocked = {it.job_id for it in ahead.waiting if it.how == "waits"}
    assert blocked == set(state.fleet.queue.blocked)
    paused = {it.job_id for it in ahead.waiting if it.place is None} - blocked
    assert paused == set(state.fleet.queue.paused)
    held = {(it.job_id, it.holder) for it in jobs if it.status == "assigned"}
    assert {(it.job_id, it.engine_id) for it in ahead.running} == held
    assert ahead.unplaced == sum(it.how == "unplaced" for it in ahead.waiting)
    for waits in ahead.waiting:
        if waits.expected_at is not None:
            assert ahead.time is not None
            assert waits.expected_start is not None
            assert ahead.time <= waits.expected_start <= waits.expected_at


def test_a_job_that_was_retried_is_expected_anew() -> None:
    past = [(0.0, engine("x")), *done("a", "x", 0.0, 60.0)]
    again = ((70.0, job("b")), (71.0, JobCancelled("b", None, 0)), (80.0, JobRetried("b")))
    (waits,) = forecast_of(state_of(*past, *again)).waiting
    assert (waits.job_id, waits.expected_at) == ("b", after(140.0))


def test_what_an_engine_can_not_hold_waits_for_another() -> None:
    small = EngineReported("x", {"storage_capacity_gb": 0.01})
    ahead = forecast_of(state_of((0.0, small), (0.0, job("a", size=10.5)), (0.0, job("b"))))
    assert [(it.job_id, it.how) for it in ahead.waiting] == [("a", "unplaced"), ("b", "unknown")]
