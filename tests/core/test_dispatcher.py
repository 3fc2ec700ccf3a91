"""The dispatcher without a loop, a disk or a clock: ticks, waits, restarts, call by call."""

from datetime import timedelta

import pytest

from dispatcher.core import events
from dispatcher.core.commands import (
    AssignJob,
    CompleteJob,
    DrainEngine,
    FailJob,
    LoseEngine,
    ReleaseJob,
    ReportHeartbeat,
    SubmitJob,
    TimeOutJob,
)
from dispatcher.core.deadlines import TIMED, Deadlines
from dispatcher.core.dispatcher import Settle, StoodStill, Wait
from dispatcher.core.events import Event, JobAssigned, Recorded
from dispatcher.core.policy import Policy
from dispatcher.core.replies import NO_WORK, JobIs, Orders, Reason, Refused
from dispatcher.log.serialization import NAMES
from tests.support.driven import Driven, replies
from tests.support.given import START, assigned, completed, engine, failed, job, requeued

# Ticks


def test_what_is_due_is_carried_out() -> None:
    driven = Driven(engine("e"))
    assert driven.after(59) == []
    assert driven.after(1) == [LoseEngine("e", 60.0)]
    assert not driven.core.fleet.engines["e"].online
    assert driven.after(1000) == []


def test_what_time_brings_about_is_the_dispatchers_own_doing() -> None:
    driven = Driven(engine("e"))
    driven.after(59)
    driven.now_s += 1.0
    (effect,) = driven.tick()
    assert isinstance(effect, Settle)
    assert [(it.seq, it.actor, it.request_id) for it in effect.records] == [(2, "dispatcher", None)]
    assert effect.ticket is None


def test_after_the_dispatcher_stood_still_every_engine_has_a_lease_again() -> None:
    driven = Driven(engine("e"), engine("f"))
    driven.now_s += 3600.0
    (stood_still,) = driven.tick()
    assert isinstance(stood_still, StoodStill)
    assert stood_still.seconds == pytest.approx(3599.75)
    assert driven.tick() == []
    assert driven.after(59) == []
    assert driven.after(1) == [LoseEngine("e", 60.0), LoseEngine("f", 60.0)]


def test_while_a_loss_took_long_to_record_the_dispatcher_stood_still_too() -> None:
    driven = Driven(engine("e"))
    driven.after(30)
    driven.take(ReportHeartbeat("f", {}))
    driven.after(29)
    driven.now_s += 1.0
    (lost,) = driven.tick()
    assert isinstance(lost, Settle)
    assert lost.command == LoseEngine("e", 60.0)
    driven.now_s += 3600.0  # the disk was slow
    assert [type(effect) for effect in driven.tick()] == [StoodStill]
    assert driven.after(59) == []


def test_an_engine_that_is_heard_while_another_is_being_lost_is_not_lost() -> None:
    driven = Driven(engine("e"), engine("f"))
    driven.after(59)
    driven.now_s += 1.0
    (lost,) = driven.tick()
    assert isinstance(lost, Settle)
    assert lost.command == LoseEngine("e", 60.0)
    driven.take(ReportHeartbeat("f", {}))
    assert driven.tick() == []
    assert driven.core.fleet.engines["f"].online


def test_what_the_log_could_not_take_is_due_again() -> None:
    paused = requeued("a", None, not_before=START + timedelta(seconds=5))
    driven = Driven(job("a"), paused)
    assert driven.after(10) == [ReleaseJob("a")]
    driven.restart()
    assert driven.after(1) == [ReleaseJob("a")]


@pytest.mark.parametrize("engine_id", ["e", "f"])
def test_after_the_log_could_not_be_written_every_engine_has_a_lease_again(engine_id: str) -> None:
    driven = Driven(engine("e"))  # whose lease runs out while the log takes nothing
    driven.after(30)
    driven.take(ReportHeartbeat("f", {}))
    driven.now_s += 40.0
    driven.restart(engine("f"))
    assert driven.after(59) == []
    assert LoseEngine(engine_id, 60.0) in driven.after(1)


def test_an_attempt_keeps_its_bound_when_the_log_could_not_be_written() -> None:
    driven = Driven(
        engine("e"), job("a"), assigned("a", "e"), policy=Policy(lease_s=1e9, job_timeout_s=900.0)
    )
    driven.after(800)
    driven.restart()
    assert driven.after(99) == []
    assert driven.after(1) == [TimeOutJob("a", 1, 900.0)]


def test_the_time_that_the_dispatcher_stood_still_does_not_count_against_an_attempt() -> None:
    policy = Policy(lease_s=1e9, job_timeout_s=900.0)
    driven = Driven(engine("e"), job("a"), assigned("a", "e"), policy=policy)
    driven.after(800)
    driven.now_s += 3600.0
    assert [type(effect) for effect in driven.tick()] == [StoodStill]
    assert driven.tick() == []
    assert driven.after(98) == []
    assert driven.after(2) == [TimeOutJob("a", 1, 900.0)]


def test_the_time_that_the_log_could_not_be_written_does_not_count_either() -> None:
    policy = Policy(lease_s=1e9, job_timeout_s=900.0)
    driven = Driven(engine("e"), job("a"), assigned("a", "e"), policy=policy)
    driven.after(800)
    driven.now_s += 3600.0
    driven.restart()
    assert driven.after(98) == []
    assert driven.after(2) == [TimeOutJob("a", 1, 900.0)]


@pytest.mark.parametrize("backoff_s", [0.0, 10.0])
@pytest.mark.parametrize("is_assigned_again", [False, True])
@pytest.mark.parametrize("is_timed_out", [False, True])
def test_an_attempt_whose_end_could_not_be_recorded_keeps_its_bound_too(
    backoff_s: float, *, is_assigned_again: bool, is_timed_out: bool
) -> None:
    policy = Policy(lease_s=1e9, job_timeout_s=900.0, retry_backoff_s=backoff_s)
    driven = Driven(engine("e"), engine("f"), job("a"), assigned("a", "e"), policy=policy)
    driven.after(899)
    if is_timed_out:
        driven.now_s += 1.0
        (settle,) = driven.tick()
        assert isinstance(settle, Settle)
        assert settle.command == TimeOutJob("a", 1, 900.0)
    else:
        driven.take(FailJob("a", "broke"))
    if is_assigned_again:
        driven.take(AssignJob("f"))
    driven.restart()  # without what was decided
    driven.now_s += 1.0
    assert [it.command for it in driven.tick() if isinstance(it, Settle)] == [
        TimeOutJob("a", 1, 900.0)
    ]


@pytest.mark.parametrize("timeout_s", [0.0, 900.0])
def test_a_failure_that_could_not_be_recorded_is_forgotten_with_its_pause(timeout_s: float) -> None:
    policy = Policy(lease_s=1e9, job_timeout_s=timeout_s, retry_backoff_s=10.0)
    driven = Driven(engine("e"), job("a"), assigned("a", "e"), policy=policy)
    driven.take(FailJob("a", "broke"))
    driven.restart()
    assert driven.core.fleet.engines["e"].holds == "a"
    assert driven.after(20) == []


def test_an_attempt_whose_end_is_durable_leaves_no_bound() -> None:
    policy = Policy(lease_s=1e9, job_timeout_s=900.0)
    driven = Driven(engine("e"), job("a"), assigned("a", "e"), policy=policy)
    driven.take(CompleteJob("a", "out"))
    assert driven.core._deadlines._ended != []
    driven.tick()
    assert driven.core._deadlines._ended == []


def test_events_that_are_not_timed_move_no_deadline() -> None:
    """The dispatcher asks only about those that are."""
    every: dict[type[Event], Event] = {
        **{type(it): it for it in (job("a"), assigned("a", "e"), completed("a", "e"))},
        **{type(it): it for it in (failed("a", "e"), engine("e"), requeued("a", "e"))},
        events.JobReleased: events.JobReleased("a"),
        events.JobProgressed: events.JobProgressed("a", "e", 1, 5.0),
        events.JobCancelled: events.JobCancelled("a", "e", 1),
        events.JobRetried: events.JobRetried("a"),
        events.JobReprioritized: events.JobReprioritized("a", 5, START),
        events.JobSplit: events.JobSplit("a", "e", 1, ("b",)),
        events.JobMadeWhole: events.JobMadeWhole("a", "why"),
        events.AnswerRefused: events.AnswerRefused("a", "e", 1, "fail", ""),
        events.EngineSeen: events.EngineSeen("e"),
        events.EngineBenchmarked: events.EngineBenchmarked("e", 1.0),
        events.EngineReplaced: events.EngineReplaced("e", "2", "1", START),
        events.EngineFenced: events.EngineFenced("e", "1"),
        events.EngineAsked: events.EngineAsked("e", "a"),
        events.EngineLost: events.EngineLost("e", 60.0),
        events.EngineBlamed: events.EngineBlamed("e", "a"),
        events.EngineBlocked: events.EngineBlocked("e", "why", START + timedelta(seconds=60)),
        events.EngineUnblocked: events.EngineUnblocked("e"),
        events.EngineDrained: events.EngineDrained("e"),
        events.EngineResumed: events.EngineResumed("e"),
        events.EngineForgotten: events.EngineForgotten("e"),
    }
    assert set(every) == set(NAMES)
    for kind, event in every.items():
        deadlines = Deadlines(Policy(job_timeout_s=900.0, forget_engine_after_s=900.0))
        deadlines.notice(Recorded(1, START, "tester", engine("e")), 0.0)
        deadlines.notice(Recorded(2, START, "tester", assigned("a", "e")), 0.0)
        before = dict(deadlines._due)
        deadlines.notice(Recorded(3, START, "tester", event), 1.0)
        assert (deadlines._due != before) == (kind in TIMED), kind


# Waits


def test_an_ask_that_finds_no_job_waits_and_has_the_next_one_in_the_same_step() -> None:
    driven = Driven(engine("e"))
    assert driven.take(AssignJob("e"), "ask", wait_s=20.0) == [Wait("ask", 20.0)]
    submission, assignment = driven.take(SubmitJob("a", "u", "h264"), "submission")
    assert replies([submission]) == [("submission", JobIs("a", is_new=True))]
    assert replies([assignment]) == [("ask", JobIs("a", is_new=True))]
    assert isinstance(assignment, Settle)
    assert [type(it.event) for it in assignment.records] == [JobAssigned]
    assert [it.seq for it in assignment.records] == [3]
    assert driven.core.waiting() == []


def test_an_ask_whose_time_is_over_is_told_that_there_is_no_work() -> None:
    driven = Driven(engine("e"))
    driven.take(AssignJob("e"), "ask", wait_s=20.0)
    assert driven.core.end_wait("ask") == [Settle(AssignJob("e"), (), NO_WORK, "ask")]
    assert driven.core.end_wait("ask") == []


def test_an_ask_whose_caller_hung_up_is_given_nothing() -> None:
    driven = Driven(engine("e"), engine("f"))
    driven.take(AssignJob("e"), "gone", wait_s=20.0)
    driven.take(AssignJob("f"), "there", wait_s=20.0)
    driven.core.hang_up("gone")
    effects = driven.take(SubmitJob("a", "u", "h264"), "submission")
    assert [ticket for ticket, _ in replies(effects)] == ["submission", "there"]
    assert driven.core.end_wait("gone") == []


def test_the_asks_of_an_engine_that_is_lost_are_answered() -> None:
    driven = Driven(engine("e"), engine("f"))
    driven.take(AssignJob("e"), "lost", wait_s=20.0)
    driven.take(AssignJob("f"), "there", wait_s=20.0)
    effects = driven.take(LoseEngine("e", 60.0))
    assert ("lost", NO_WORK) in replies(effects)
    assert driven.core.waiting() == ["there"]


def test_an_engine_that_resumes_is_told_what_it_holds_when_its_wait_ends() -> None:
    driven = Driven(engine("e", benchmark_time=1.0))
    driven.take(AssignJob("e", resume=True), "ask", wait_s=20.0)
    driven.take(DrainEngine("e"))
    driven.restart(job("a"), assigned("a", "e"))
    assert replies(driven.core.end_wait("ask")) == [("ask", JobIs("a", is_new=False))]


def test_whoever_waits_when_the_log_comes_back_is_served() -> None:
    driven = Driven(engine("e"))
    driven.take(AssignJob("e"), "ask", wait_s=20.0)
    effects = driven.restart(job("a"))
    assert replies(effects) == [("ask", JobIs("a", is_new=True))]
    assert driven.core.seq == 3


def test_after_the_close_nobody_waits() -> None:
    driven = Driven(engine("e"), engine("f"))
    driven.take(AssignJob("e"), "first", wait_s=20.0)
    assert replies(driven.core.close()) == [("first", NO_WORK)]
    assert replies(driven.take(AssignJob("f"), "second", wait_s=20.0)) == [("second", NO_WORK)]


# Replies


def test_an_unknown_engine_does_not_wait() -> None:
    effects = Driven().take(AssignJob("ghost"), "ask", wait_s=20.0)
    assert replies(effects) == [("ask", Refused(Reason.ENGINE_NOT_FOUND))]


@pytest.mark.parametrize(
    ("attempt", "orders"),
    [(1, Orders("a")), (2, Orders()), (None, Orders())],
)
def test_an_engine_is_told_that_an_attempt_is_not_its_own_any_more(
    attempt: int | None, orders: Orders
) -> None:
    driven = Driven(engine("e"), job("a"), assigned("a", "e"), requeued("a", "e"))
    driven.take(AssignJob("e"))
    beat = ReportHeartbeat("e", {}, "a", attempt)
    assert replies(driven.take(beat, "beat")) == [("beat", orders)]


def test_an_engine_that_was_restarted_in_a_job_is_told_to_leave_another_that_it_names() -> None:
    driven = Driven(engine("e", instance="1"), job("a"), job("b"), assigned("a", "e"))
    beat = ReportHeartbeat("e", {"instance": "2"}, "b")
    assert replies(driven.take(beat, "beat")) == [("beat", Orders("b"))]
    assert driven.core.fleet.engines["e"].holds is None


def test_a_drained_engine_is_told_so_with_every_heartbeat() -> None:
    driven = Driven(engine("e"))
    driven.take(DrainEngine("e"))
    for _ in range(2):
        assert replies(driven.take(ReportHeartbeat("e", {}), "b")) == [("b", Orders(drain=True))]


def test_the_same_completion_again_is_done_and_writes_nothing() -> None:
    driven = Driven(engine("e"), job("a"), assigned("a", "e"))
    first = driven.take(CompleteJob("a", "out"), "first")
    (again,) = driven.take(CompleteJob("a", "out"), "again")
    assert isinstance(again, Settle)
    assert (replies(first)[0][1], list(again.records)) == (again.reply, [])


def test_an_ask_of_a_blocked_engine_has_a_job_as_soon_as_its_block_is_over() -> None:
    until = START + timedelta(seconds=600)
    driven = Driven(engine("e"), job("a"), events.EngineBlocked("e", "why", until))
    driven.take(AssignJob("e"), "ask", wait_s=20.0)
    asked = False
    for _ in range(600):
        driven.now_s += 1.0
        driven.take(ReportHeartbeat("e", {}))
        while effects := driven.tick():
            asked = asked or ("ask", JobIs("a", is_new=True)) in replies(effects)
        assert asked == (driven.now_s >= 1600.0)


def test_an_ask_of_an_instance_that_is_replaced_is_refused_and_has_no_job() -> None:
    driven = Driven(engine("e", instance="1"))
    driven.take(AssignJob("e", instance="1"), "ask", wait_s=20.0)
    effects = driven.take(ReportHeartbeat("e", {"instance": "2"}))
    (_, refused) = replies(effects)
    assert refused[0] == "ask"
    assert isinstance(refused[1], Refused)
    assert driven.core.waiting() == []
