"""Leases, time-outs, restarts and fencing: how an attempt ends, and who may answer for it."""

import msgspec
import pytest

from dispatcher.core.commands import (
    AssignJob,
    Command,
    CompleteJob,
    FailJob,
    ForgetEngine,
    LoseEngine,
    ReportHeartbeat,
    TimeOutJob,
)
from dispatcher.core.decider import Decision
from dispatcher.core.events import (
    AnswerRefused,
    EngineForgotten,
    EngineReplaced,
    EngineReported,
    EngineSeen,
    Event,
    JobFailedPermanently,
    JobProgressed,
    JobRequeued,
    JobRetried,
)
from dispatcher.core.policy import Policy
from dispatcher.core.replies import Orders, Reason, Refused
from tests.support.given import (
    OUTPUT,
    START,
    assigned,
    completed,
    engine,
    failed,
    given,
    job,
    lost,
    requeued,
)

HELD = (job("a"), engine("e", instance="1"), assigned("a", "e"))
PASSED_ON = (*HELD, requeued("a", "e"), engine("f"), assigned("a", "f", attempt=2))
SILENT = "engine e has been silent for 60 s"
RESTARTED = "engine e was restarted and no longer has the job"
LOST_WITH_IT = requeued(
    "a", "e", retries=0, error=SILENT, cause="engine_silent", blames=False, losses=1
)
RESTARTED_WITHOUT_IT = requeued(
    "a", "e", retries=0, error=RESTARTED, cause="engine_restarted", blames=False, losses=1
)
REPLACED = EngineReplaced("e", "2", "1", START)


# Leases


def test_the_job_of_a_silent_engine_is_requeued() -> None:
    story = given(*HELD).when(LoseEngine("e", 60.0))
    story.then(lost("e"), LOST_WITH_IT)
    assert not story.fleet.engines["e"].online
    assert story.fleet.jobs["a"].status == "pending"


def test_the_loss_of_its_engine_uses_up_no_retry_of_a_job() -> None:
    given(job("a", max_retries=1), engine("e"), assigned("a", "e")).when(
        LoseEngine("e", 60.0)
    ).then(lost("e"), LOST_WITH_IT)


def test_a_job_that_kills_engines_comes_to_an_end() -> None:
    story = given(job("killer", max_retries=3), *map(engine, "efgh"), policy=Policy(max_losses=3))
    for attempt, engine_id in enumerate("efg", 1):
        story.when(AssignJob(engine_id)).then(assigned("killer", engine_id, attempt))
        story.when(LoseEngine(engine_id, 60.0))
    assert story.fleet.jobs["killer"].status == "failed_permanently"
    assert story.fleet.jobs["killer"].error_message == "engine g has been silent for 60 s"
    story.when(AssignJob("h")).then_nothing()


def test_an_engine_that_falls_silent_without_a_job_is_only_lost() -> None:
    given(engine("e")).when(LoseEngine("e", 2.5)).then(lost("e", 2.5))


def test_an_attempt_that_takes_too_long_ends() -> None:
    given(*HELD).when(TimeOutJob("a", 1, 900.0)).then(
        requeued("a", "e", error="attempt 1 on engine e took longer than 900 s", cause="timed_out")
    )


def test_a_timeout_uses_up_retries_too() -> None:
    story = given(job("a", max_retries=1), engine("e"), assigned("a", "e"))
    story.when(TimeOutJob("a", 1, 0.5)).then(
        failed("a", "e", error="attempt 1 on engine e took longer than 0.5 s", cause="timed_out")
    )


@pytest.mark.parametrize(
    "stale",
    [
        LoseEngine("ghost", 60.0),
        LoseEngine("lost", 60.0),
        TimeOutJob("ghost", 1, 60.0),
        TimeOutJob("a", 1, 60.0),
        TimeOutJob("a", 3, 60.0),
        TimeOutJob("waits", 0, 60.0),
        TimeOutJob("done", 1, 60.0),
    ],
    ids=str,
)
def test_a_stale_timer_does_nothing(stale: Command) -> None:
    story = given(
        *PASSED_ON,
        engine("lost"),
        lost("lost"),
        job("waits"),
        job("done"),
        assigned("done", "e"),
        completed("done", "e"),
    )
    story.when(stale).then_nothing()


# Who may answer


@pytest.mark.parametrize(("engine_id", "attempt"), [("f", 2), ("f", None), (None, 2), (None, None)])
def test_the_holder_answers_with_any_of_the_fields(
    engine_id: str | None, attempt: int | None
) -> None:
    given(*PASSED_ON).when(CompleteJob("a", OUTPUT, engine_id, attempt)).then(
        completed("a", "f", attempt=2)
    )
    given(*PASSED_ON).when(FailJob("a", "broke", engine_id, attempt)).then(
        requeued("a", "f", attempt=2, retries=2, blames=False)
    )


@pytest.mark.parametrize(
    ("engine_id", "attempt"), [("e", 1), ("e", None), (None, 1), ("f", 1), ("e", 2), ("f", 3)]
)
def test_an_answer_of_anybody_else_is_refused_and_told_who_holds_the_job_now(
    engine_id: str | None, attempt: int | None
) -> None:
    now = "engine f holds it now (attempt 2)"
    story = given(*PASSED_ON)
    story.when(CompleteJob("a", OUTPUT, engine_id, attempt))
    story.then_too_late(now, AnswerRefused("a", engine_id, attempt, "complete", ""))
    story.when(FailJob("a", "broke", engine_id, attempt))
    story.then_too_late(now, AnswerRefused("a", engine_id, attempt, "fail", ""))
    assert (story.fleet.jobs["a"].holder, story.fleet.jobs["a"].retries) == ("f", 1)
    story.when(CompleteJob("a", OUTPUT, "f", 2)).then(completed("a", "f", attempt=2))


def test_a_late_answer_to_a_job_that_waits_is_told_so() -> None:
    story = given(*HELD, requeued("a", "e")).when(CompleteJob("a", OUTPUT, "e", 1))
    story.then_too_late("it waits for attempt 2", AnswerRefused("a", "e", 1, "complete", ""))


@pytest.mark.parametrize("answer", ["complete", "fail"])
def test_a_late_answer_to_a_job_that_ended_is_told_so(answer: str) -> None:
    story = given(*PASSED_ON, completed("a", "f", attempt=2))
    if answer == "complete":
        story.when(CompleteJob("a", "http://else", "e", 1))
        story.then_too_late("it is completed", AnswerRefused("a", "e", 1, "complete", ""))
    else:
        story.when(FailJob("a", "broke", "e", 1))
        story.then_too_late("it is completed", AnswerRefused("a", "e", 1, "fail", ""))


def test_a_late_answer_after_a_retry_is_told_so() -> None:
    past = (job("a", max_retries=1), engine("e"), assigned("a", "e"), failed("a", "e"))
    story = given(*past, JobRetried("a")).when(CompleteJob("a", OUTPUT, "e", 1))
    story.then_too_late("it waits for attempt 2", AnswerRefused("a", "e", 1, "complete", ""))


@pytest.mark.parametrize(("engine_id", "attempt"), [("e", 1), (None, 1), ("e", None), (None, None)])
def test_the_same_completion_again_is_accepted_and_writes_nothing(
    engine_id: str | None, attempt: int | None
) -> None:
    story = given(*HELD, completed("a", "e"))
    story.when(CompleteJob("a", OUTPUT, engine_id, attempt)).then_nothing()


def test_an_answer_to_an_unknown_job_is_refused_before_all_else() -> None:
    given().when(CompleteJob("a", OUTPUT, "e", 1)).then_rejected(Reason.JOB_NOT_FOUND)
    given().when(FailJob("a", "broke", "e", 1)).then_rejected(Reason.JOB_NOT_FOUND)


# Restarts


def test_an_engine_that_restarted_without_its_job_loses_it_at_once() -> None:
    given(*HELD).when(ReportHeartbeat("e", {"instance": "2"})).then(
        EngineReported("e", {"instance": "2"}),
        REPLACED,
        RESTARTED_WITHOUT_IT,
    )


def test_an_engine_that_restarted_with_another_job_in_hand_loses_its_own() -> None:
    story = given(*HELD).when(ReportHeartbeat("e", {"instance": "2"}, "b", 1, 5.0))
    story.then(
        EngineReported("e", {"instance": "2"}),
        REPLACED,
        RESTARTED_WITHOUT_IT,
    )


def test_an_engine_that_restarted_and_has_its_job_keeps_it() -> None:
    story = given(*HELD).when(ReportHeartbeat("e", {"instance": "2"}, "a", 1))
    kept = EngineReplaced("e", "2", "1", START, kept_job="a")
    story.then(EngineReported("e", {"instance": "2"}), kept)
    assert story.fleet.engines["e"].holds == "a"
    assert story.fleet.jobs["a"].setbacks.losses == 1
    assert story.outcome.reply == Orders()


def test_a_job_that_kills_the_process_of_its_engine_comes_to_an_end_though_it_is_resumed() -> None:
    story = given(*HELD, policy=Policy(max_losses=3))
    for instance in "23":
        story.when(ReportHeartbeat("e", {"instance": instance}, "a", 1))
        assert story.fleet.engines["e"].holds == "a"
    story.when(ReportHeartbeat("e", {"instance": "4"}, "a", 1))
    why = "engine e was restarted again and again while it had the job"
    story.then(
        EngineReported("e", {"instance": "4"}),
        EngineReplaced("e", "4", "3", START),
        failed("a", "e", retries=0, error=why, cause="engine_restarted", blames=False, losses=3),
    )
    assert story.outcome.reply == Orders(cancel="a")


def test_an_engine_that_did_not_restart_keeps_a_job_that_it_does_not_speak_of() -> None:
    given(*HELD).when(ReportHeartbeat("e", {"instance": "1"})).then(EngineSeen("e"))
    given(*HELD).when(ReportHeartbeat("e", {})).then(EngineSeen("e"))


def test_an_engine_that_restarts_with_nothing_assigned_loses_nothing() -> None:
    given(engine("e", instance="1")).when(ReportHeartbeat("e", {"instance": "2"})).then(
        EngineReported("e", {"instance": "2"}), REPLACED
    )


# Progress


def test_progress_of_the_job_in_hand_is_recorded() -> None:
    story = given(*HELD).when(ReportHeartbeat("e", {}, "a", 1, 33.5))
    story.then(JobProgressed("a", "e", 1, 33.5))
    assert story.fleet.jobs["a"].progress == 33.5


def test_progress_that_stands_still_is_only_a_sign_of_life() -> None:
    story = given(*HELD, JobProgressed("a", "e", 1, 33.5))
    story.when(ReportHeartbeat("e", {}, "a", 1, 33.5)).then(EngineSeen("e"))


def test_progress_and_news_of_one_heartbeat_are_both_recorded() -> None:
    given(*HELD).when(ReportHeartbeat("e", {"gpu": "hot"}, "a", None, 1.0)).then(
        EngineReported("e", {"gpu": "hot"}), JobProgressed("a", "e", 1, 1.0)
    )


@pytest.mark.parametrize(
    ("job_id", "attempt", "progress"),
    [("b", 1, 5.0), (None, None, 5.0), ("a", 2, 5.0), ("a", 1, None)],
)
def test_progress_of_anything_but_the_present_attempt_is_only_a_sign_of_life(
    job_id: str | None, attempt: int | None, progress: float | None
) -> None:
    story = given(*HELD).when(ReportHeartbeat("e", {}, job_id, attempt, progress))
    story.then(EngineSeen("e"))
    assert story.fleet.jobs["a"].progress is None


def test_progress_ends_with_its_attempt() -> None:
    story = given(*HELD, JobProgressed("a", "e", 1, 33.5)).when(FailJob("a", "broke"))
    assert story.fleet.jobs["a"].progress is None


# Engines that were taken away


def test_the_job_of_a_forgotten_engine_is_requeued_and_pays_no_retry() -> None:
    story = given(job("a", max_retries=1), engine("e"), assigned("a", "e"))
    story.when(ForgetEngine("e")).then(
        requeued(
            *("a", "e"),
            retries=0,
            error="engine e was taken off the list",
            cause="engine_forgotten",
            blames=False,
        ),
        EngineForgotten("e"),
    )
    assert story.fleet.engines == {}
    story.when(ReportHeartbeat("e", {})).then(EngineReported("e", {}))
    story.when(AssignJob("e")).then(assigned("a", "e", attempt=2))


def test_a_forgotten_engine_is_unknown() -> None:
    story = given(engine("e"), EngineForgotten("e"))
    story.when(AssignJob("e")).then_rejected(Reason.ENGINE_NOT_FOUND)
    story.when(ForgetEngine("e")).then_rejected(Reason.ENGINE_NOT_FOUND)


@pytest.mark.parametrize("of_type", [JobRequeued, JobFailedPermanently])
def test_events_from_before_causes_were_recorded_were_reported_by_engines(
    of_type: type[JobRequeued] | type[JobFailedPermanently],
) -> None:
    event = of_type("a", "e", 1, 1, "broke")
    assert (event.cause, event.blames_engine) == ("reported", False)


# Callers that speak for one engine


@pytest.mark.parametrize("answer", [CompleteJob("a", OUTPUT), FailJob("a", "broke")])
def test_who_speaks_for_an_engine_answers_for_its_newest_attempt(
    answer: CompleteJob | FailJob,
) -> None:
    its_own = msgspec.structs.replace(answer, speaks_for="e")
    assert not isinstance(given(*HELD).when(its_own).outcome.reply, Refused)
    lost = (*HELD, requeued("a", "e"))
    assert not isinstance(given(*lost).when(its_own).outcome.reply, Refused)


@pytest.mark.parametrize("answer", [CompleteJob("a", OUTPUT), FailJob("a", "broke")])
@pytest.mark.parametrize(
    "past",
    [PASSED_ON, (job("a"), engine("e")), (*PASSED_ON, completed("a", "f", attempt=2))],
)
def test_and_for_no_other(answer: CompleteJob | FailJob, past: tuple[Event, ...]) -> None:
    text = (
        "Forbidden: this key speaks for engine e alone, and the newest attempt at this job is not "
        "that engine's."
    )
    outcome = given(*past).when(msgspec.structs.replace(answer, speaks_for="e")).outcome
    assert outcome == Decision((), Refused(Reason.NOT_ITS_ENGINE, text))


def test_an_answer_that_names_the_engine_is_late_as_anybodys_is() -> None:
    late = CompleteJob("a", OUTPUT, engine_id="e", attempt=1, speaks_for="e")
    reply = given(*PASSED_ON).when(late).outcome.reply
    assert isinstance(reply, Refused)
    assert reply.reason is Reason.NOT_THE_HOLDER
