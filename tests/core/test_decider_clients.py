"""What clients may do with jobs that are under way: cancel, retry, and submit once more."""

from typing import Any

import msgspec
import pytest

from dispatcher.core.commands import AssignJob, CancelJob, CompleteJob, FailJob, RetryJob, SubmitJob
from dispatcher.core.events import (
    AnswerRefused,
    EngineReported,
    Event,
    JobAssigned,
    JobCancelled,
    JobRetried,
    JobSubmitted,
)
from dispatcher.core.policy import Policy
from dispatcher.core.replies import Reason
from tests.support.given import (
    OUTPUT,
    START,
    assigned,
    completed,
    engine,
    failed,
    given,
    job,
    requeued,
)

PENDING = (job("a"), engine("e"))
ASSIGNED = (*PENDING, assigned("a", "e"))
PAUSED = (*ASSIGNED, requeued("a", "e", not_before=START))
COMPLETED = (*ASSIGNED, completed("a", "e"))
FAILED = (*ASSIGNED, failed("a", "e", retries=3))
CANCELLED = (*ASSIGNED, JobCancelled("a", "e", 1))


# Cancelling


@pytest.mark.parametrize(
    ("past", "engine_id", "attempt"),
    [(PENDING, None, 0), (ASSIGNED, "e", 1), (PAUSED, None, 1)],
    ids=["pending", "assigned", "paused"],
)
def test_a_job_that_is_not_final_can_be_cancelled(
    past: tuple[Event, ...], engine_id: str | None, attempt: int
) -> None:
    story = given(*past).when(CancelJob("a")).then(JobCancelled("a", engine_id, attempt))
    assert story.fleet.jobs["a"].status == "cancelled"
    assert len(story.fleet.queue) == 0
    assert story.fleet.engines["e"].idle


def test_cancelling_again_is_accepted_and_writes_nothing() -> None:
    given(*CANCELLED).when(CancelJob("a")).then_nothing()


@pytest.mark.parametrize("past", [COMPLETED, FAILED], ids=["completed", "failed"])
def test_a_job_that_ended_otherwise_can_not_be_cancelled(past: tuple[Event, ...]) -> None:
    given(*past).when(CancelJob("a")).then_rejected(Reason.JOB_IS_FINAL)


def test_an_unknown_job_can_not_be_cancelled_or_retried() -> None:
    given().when(CancelJob("a")).then_rejected(Reason.JOB_NOT_FOUND)
    given().when(RetryJob("a")).then_rejected(Reason.JOB_NOT_FOUND)


def test_a_cancelled_job_is_final() -> None:
    given(*CANCELLED).when(CompleteJob("a", OUTPUT)).then_rejected(Reason.JOB_IS_FINAL)
    given(*CANCELLED).when(FailJob("a", "broke")).then_rejected(Reason.JOB_IS_FINAL)
    given(*CANCELLED).when(AssignJob("e")).then_nothing()


def test_the_engine_of_a_cancelled_job_that_answers_is_told_so() -> None:
    given(*CANCELLED).when(CompleteJob("a", OUTPUT, "e", 1)).then_too_late(
        "it is cancelled", AnswerRefused("a", "e", 1, "complete", "")
    )


def test_a_cancelled_job_is_nobodys_fault() -> None:
    story = given(*ASSIGNED, policy=Policy(block_after=1)).when(CancelJob("a"))
    assert story.fleet.engines["e"].failures == []
    assert story.fleet.jobs["a"].retries == 0


# Retrying


@pytest.mark.parametrize("past", [FAILED, CANCELLED], ids=["failed", "cancelled"])
def test_a_failed_or_cancelled_job_can_be_put_back_with_all_its_retries(
    past: tuple[Event, ...],
) -> None:
    story = given(*past, engine("f")).when(RetryJob("a")).then(JobRetried("a"))
    assert story.fleet.jobs["a"].retries == 0
    story.when(AssignJob("e")).then(assigned("a", "e", attempt=2))
    story.when(FailJob("a", "broke")).then(requeued("a", "e", attempt=2, retries=1))


def test_a_job_that_is_put_back_takes_its_old_place() -> None:
    story = given(*FAILED, job("b")).when(RetryJob("a"))
    story.when(AssignJob("e")).then(assigned("a", "e", attempt=2))


@pytest.mark.parametrize(
    "past",
    [PENDING, ASSIGNED, PAUSED, COMPLETED],
    ids=["pending", "assigned", "paused", "completed"],
)
def test_any_other_job_can_not_be_retried(past: tuple[Event, ...]) -> None:
    given(*past).when(RetryJob("a")).then_rejected(Reason.JOB_NOT_RETRYABLE)


# Submitting once more

FIRST = SubmitJob("a", "http://x", "h264", 5.0, 2, 7, "key")
SAME = msgspec.structs.replace(FIRST, job_id="b")


def test_the_key_is_recorded_with_the_submission() -> None:
    story = given().when(FIRST)
    (event,) = story.outcome.events
    assert isinstance(event, JobSubmitted)
    assert event.idempotency_key == "key"


def test_the_same_submission_with_the_same_key_writes_nothing() -> None:
    given().when(FIRST).when(SAME, at_s=1e9).then_nothing()


@pytest.mark.parametrize(
    "later",
    [
        (EngineReported("e", {}), JobAssigned("a", "e", 1, "")),
        (completed("a", None),),
        (failed("a", None),),
        (JobCancelled("a", None, 0),),
    ],
)
def test_the_key_holds_whatever_became_of_the_job(later: tuple[Event, ...]) -> None:
    past = job("a", size=5.0, max_retries=2, priority=7, key="key")
    same = SubmitJob("b", past.source_url, "h264", 5.0, 2, 7, "key")
    given(past, *later).when(same).then_nothing()


@pytest.mark.parametrize(
    "other",
    [
        {"source_url": "http://y"},
        {"target_codec": "vp9"},
        {"job_size": 6.0},
        {"max_retries": 3},
        {"priority": 8},
    ],
    ids=str,
)
def test_the_key_can_not_be_used_for_another_job(other: dict[str, Any]) -> None:
    story = given().when(FIRST).when(msgspec.structs.replace(SAME, **other))
    story.then_rejected(Reason.KEY_REUSED)
    story.when(SAME).then_nothing()


def test_other_keys_and_no_keys_are_other_jobs() -> None:
    story = given().when(FIRST)
    for job_id, key in [("b", "other"), ("c", None), ("d", None)]:
        story.when(msgspec.structs.replace(FIRST, job_id=job_id, idempotency_key=key))
        assert list(story.fleet.jobs)[-1] == job_id


def test_an_empty_key_is_not_the_same_as_no_key() -> None:
    story = given().when(msgspec.structs.replace(FIRST, idempotency_key=""))
    story.when(msgspec.structs.replace(SAME, idempotency_key=None))
    assert list(story.fleet.jobs) == ["a", "b"]
