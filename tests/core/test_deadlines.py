"""What is due when, by a clock that the tests turn."""

from datetime import timedelta
from typing import Final

import pytest

from dispatcher.core.commands import (
    ForgetLostEngine,
    LoseEngine,
    ReleaseJob,
    TimeOutJob,
    UnblockEngine,
)
from dispatcher.core.events import (
    EngineBenchmarked,
    EngineBlocked,
    EngineForgotten,
    EngineLost,
    EngineSeen,
    Event,
    JobCancelled,
    JobProgressed,
    JobSubmitted,
)
from dispatcher.core.policy import Policy
from tests.support.given import START, assigned, completed, engine, failed, job, lost, requeued
from tests.support.ticking import Ticking

BOUNDED: Final = Policy(lease_s=1e9, job_timeout_s=900.0)


# Leases


def test_an_engine_that_is_silent_for_a_lease_is_lost_once() -> None:
    ticking = Ticking()
    ticking.notice(engine("e"))
    assert ticking.due_after(59.9) == []
    assert ticking.due_after(0.1) == [LoseEngine("e", 60.0)]
    assert ticking.due_after(1000.0) == []


@pytest.mark.parametrize(
    "sign",
    [
        EngineSeen("e"),
        engine("e", gpu="hot"),
        EngineBenchmarked("e", 4.5),
        JobProgressed("a", "e", 1, 5.0),
        assigned("a", "e"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_every_sign_of_life_renews_the_lease(sign: Event) -> None:
    ticking = Ticking()
    ticking.notice(engine("e"))
    for _ in range(5):
        assert ticking.due_after(59.9) == []
        ticking.notice(sign)
    assert ticking.due_after(59.9) == []
    assert ticking.due_after(0.1) == [LoseEngine("e", 60.0)]


@pytest.mark.parametrize(
    "event",
    [job("a"), completed("a", "e"), requeued("a", "e"), EngineLost("f", 60.0), EngineSeen("f")],
    ids=lambda event: type(event).__name__,
)
def test_what_the_engine_did_not_cause_renews_nothing(event: Event) -> None:
    ticking = Ticking()
    ticking.notice(engine("e"))
    assert ticking.due_after(59.0) == []
    ticking.notice(event)
    assert LoseEngine("e", 60.0) in ticking.due_after(1.0)


def test_each_engine_has_its_own_lease() -> None:
    ticking = Ticking()
    ticking.notice(engine("e"), engine("f"))
    assert ticking.due_after(30.0) == []
    ticking.notice(EngineSeen("f"))
    assert ticking.due_after(30.0) == [LoseEngine("e", 60.0)]
    assert ticking.due_after(30.0) == [LoseEngine("f", 60.0)]


def test_a_forgotten_engine_has_no_lease_until_it_comes_back() -> None:
    ticking = Ticking()
    ticking.notice(engine("e"), EngineForgotten("e"))
    assert ticking.due_after(60.0) == []
    ticking.notice(engine("e"))
    assert ticking.due_after(59.9) == []
    assert ticking.due_after(0.1) == [LoseEngine("e", 60.0)]


# Bounds of attempts


def test_an_attempt_that_takes_too_long_is_due() -> None:
    ticking = Ticking(BOUNDED)
    ticking.notice(assigned("a", "e", attempt=2))
    assert ticking.due_after(899.0) == []
    ticking.notice(JobProgressed("a", "e", 2, 99.0))
    assert ticking.due_after(1.0) == [TimeOutJob("a", 2, 900.0)]


def test_with_no_bound_an_attempt_may_take_for_ever() -> None:
    ticking = Ticking(Policy(lease_s=1e12, stall_timeout_s=0.0))
    ticking.notice(assigned("a", "e"))
    assert ticking.due_after(1e9) == []


def test_an_attempt_that_shows_no_progress_for_hours_is_due_once() -> None:
    ticking = Ticking(Policy(lease_s=1e12, stall_timeout_s=7200.0))
    ticking.notice(assigned("a", "e", attempt=2), assigned("b", "f"))
    assert ticking.due_after(7000.0) == []
    ticking.notice(JobProgressed("a", "e", 2, 1.0))
    assert ticking.due_after(200.0) == [TimeOutJob("b", 1, 7200.0, is_stalled=True)]
    assert ticking.due_after(7000.0) == [TimeOutJob("a", 2, 7200.0, is_stalled=True)]
    assert ticking.due_after(1e6) == []


def test_an_absence_of_the_dispatcher_is_no_lack_of_progress() -> None:
    ticking = Ticking(Policy(lease_s=1e12, stall_timeout_s=7200.0))
    ticking.notice(assigned("a", "e"))
    ticking.pass_unseen(5000.0)
    assert ticking.due_after(7199.0) == []
    assert ticking.due_after(1.0) == [TimeOutJob("a", 1, 7200.0, is_stalled=True)]


# Blocks


def test_a_block_ends_at_its_time_and_the_last_one_counts() -> None:
    ticking = Ticking(Policy(lease_s=1e12))
    ticking.notice(EngineBlocked("e", "why", START + timedelta(seconds=600)))
    assert ticking.due_after(599.0) == []
    ticking.notice(EngineBlocked("e", "why", START + timedelta(seconds=300)))
    assert ticking.due_after(299.0) == []
    assert ticking.due_after(1.0) == [UnblockEngine("e")]


def test_a_block_without_an_end_lasts() -> None:
    ticking = Ticking(Policy(lease_s=1e12))
    ticking.notice(EngineBlocked("e", "why"))
    assert ticking.due_after(1e9) == []


# Engines that come and go


def test_an_engine_that_is_offline_for_long_is_forgotten_if_that_is_wished() -> None:
    for forget_s, due in ((0.0, []), (3600.0, [ForgetLostEngine("e")])):
        ticking = Ticking(Policy(lease_s=60.0, forget_engine_after_s=forget_s))
        ticking.notice(engine("e"))
        assert ticking.due_after(60.0) == [LoseEngine("e", 60.0)]
        ticking.notice(lost("e"))
        assert ticking.due_after(3599.0) == []
        assert ticking.due_after(1.0) == due


@pytest.mark.parametrize(
    "end",
    [completed("a", "e"), requeued("a", "e"), failed("a", "e"), JobCancelled("a", "e", 1)],
    ids=lambda event: type(event).__name__,
)
def test_an_attempt_that_has_ended_is_never_due(end: Event) -> None:
    ticking = Ticking(BOUNDED)
    ticking.notice(assigned("a", "e"), end)
    assert ticking.due_after(1e6) == []


def test_every_attempt_has_the_whole_time() -> None:
    ticking = Ticking(BOUNDED)
    ticking.notice(assigned("a", "e"))
    assert ticking.due_after(800.0) == []
    ticking.notice(requeued("a", "e"), assigned("a", "f", attempt=2))
    assert ticking.due_after(899.0) == []
    assert ticking.due_after(1.0) == [TimeOutJob("a", 2, 900.0)]


# Pauses


def test_a_paused_job_is_released_after_its_pause() -> None:
    ticking = Ticking()
    ticking.notice(requeued("a", "e", not_before=START + timedelta(seconds=40)))
    assert ticking.due_after(39.9) == []
    assert ticking.due_after(0.1) == [ReleaseJob("a")]


def test_a_job_that_is_cancelled_in_its_pause_is_not_released() -> None:
    ticking = Ticking()
    ticking.notice(requeued("a", "e", not_before=START + timedelta(seconds=40)))
    ticking.notice(JobCancelled("a", None, 1))
    assert ticking.due_after(1e6) == []


# Starting


def test_at_the_start_every_engine_has_one_lease_however_long_it_was_silent() -> None:
    ticking = Ticking()
    ticking.start(engine("e"), job("a"), assigned("a", "e"), engine("f"), now_s=1e6)
    assert ticking.due_after(59.9) == []
    assert ticking.due_after(0.1) == [LoseEngine("e", 60.0), LoseEngine("f", 60.0)]


def test_at_the_start_an_engine_that_was_lost_stays_lost() -> None:
    ticking = Ticking()
    ticking.start(engine("e"), EngineLost("e", 60.0))
    assert ticking.due_after(1e6) == []


def test_at_the_start_an_attempt_under_way_has_its_whole_time_again() -> None:
    ticking = Ticking(BOUNDED)
    ticking.start(engine("e"), job("a"), assigned("a", "e", attempt=3), now_s=1e6)
    assert ticking.due_after(899.9) == []
    assert ticking.due_after(0.1) == [TimeOutJob("a", 3, 900.0)]


@pytest.mark.parametrize(("now_s", "rest_s"), [(0.0, 40.0), (30.0, 10.0), (1e6, 0.0)])
def test_at_the_start_a_pause_has_what_is_left_of_it(now_s: float, rest_s: float) -> None:
    ticking = Ticking()
    paused = requeued("a", None, not_before=START + timedelta(seconds=40))
    ticking.start(job("a"), paused, now_s=now_s)
    if rest_s:
        assert ticking.due_after(rest_s - 0.1) == []
        assert ticking.due_after(0.1) == [ReleaseJob("a")]
    assert ticking.due_after(0.0) == ([] if rest_s else [ReleaseJob("a")])


def test_the_wall_clock_of_an_event_is_nobodys_lease() -> None:
    ticking = Ticking()
    for at_s in (0.0, 3600.0, -3600.0):
        ticking.notice(EngineSeen("e"), at_s=at_s)
        assert ticking.due_after(59.9) == []
    assert ticking.due_after(0.1) == [LoseEngine("e", 60.0)]


def test_a_submission_sets_no_timer() -> None:
    ticking = Ticking(Policy(lease_s=1.0, job_timeout_s=1.0))
    event = job("a")
    assert isinstance(event, JobSubmitted)
    ticking.notice(event)
    assert ticking.due_after(1e9) == []


def test_a_fault_of_the_log_does_not_let_a_stalled_attempt_begin_anew() -> None:
    ticking = Ticking(Policy(lease_s=1e12, stall_timeout_s=100.0))
    past = (job("a"), engine("e"), assigned("a", "e"))
    ticking.start(*past)
    assert ticking.due_after(90.0) == []
    ticking.start(*past)
    assert ticking.due_after(10.0) == [TimeOutJob("a", 1, 100.0, is_stalled=True)]
    ticking.start(*past)  # its end could not be recorded
    assert ticking.due_after(0.0) == [TimeOutJob("a", 1, 100.0, is_stalled=True)]
