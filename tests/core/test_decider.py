"""The rules of protocol.md and protocol-pinned.md about jobs: what a command leads to."""

import pytest

from dispatcher.core.commands import AssignJob, CompleteJob, FailJob, SubmitJob
from dispatcher.core.events import Event, JobSubmitted
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

ASSIGNED = (job("a"), engine("e"), assigned("a", "e"))
COMPLETED = (*ASSIGNED, completed("a", "e"))
FAILED = (job("a", max_retries=1), engine("e"), assigned("a", "e"), failed("a", "e"))


# Submission


def test_a_submission_is_recorded_with_all_its_fields() -> None:
    given().when(SubmitJob("a", "http://x/y", "vp9", 12.5, 7)).then(
        JobSubmitted("a", "http://x/y", "vp9", 12.5, 7, 0, START, None, START)
    )


def test_a_submission_that_names_no_size_or_retries_gets_the_defaults() -> None:
    given().when(SubmitJob("a", "u", "h264")).then(
        JobSubmitted("a", "u", "h264", 0.0, 3, 0, START, None, START)
    )


def test_a_job_id_is_taken_once() -> None:
    given(job("a")).when(SubmitJob("a", "u", "h264")).then_rejected(Reason.JOB_ID_TAKEN)


def test_the_id_of_a_finished_job_stays_taken() -> None:
    given(*COMPLETED).when(SubmitJob("a", "u", "h264")).then_rejected(Reason.JOB_ID_TAKEN)


# Completion


def test_an_assigned_job_is_completed_by_its_holder() -> None:
    given(*ASSIGNED).when(CompleteJob("a", OUTPUT)).then(completed("a", "e"))


def test_a_job_that_was_never_assigned_can_be_completed() -> None:
    given(job("a")).when(CompleteJob("a", OUTPUT)).then(completed("a", None, attempt=0))


def test_a_late_completion_of_a_requeued_job_is_accepted() -> None:
    given(*ASSIGNED, requeued("a", "e")).when(CompleteJob("a", OUTPUT)).then(completed("a", None))


def test_a_job_that_was_completed_late_is_not_given_out_again() -> None:
    story = given(*ASSIGNED, requeued("a", "e")).when(CompleteJob("a", OUTPUT))
    story.when(AssignJob("e")).then_nothing()


def test_a_late_completion_frees_the_engine_that_holds_the_job_now() -> None:
    story = given(
        *ASSIGNED, requeued("a", "e"), engine("f"), assigned("a", "f", attempt=2), job("b")
    )
    story.when(CompleteJob("a", OUTPUT)).then(completed("a", "f", attempt=2))
    story.when(AssignJob("f")).then(assigned("b", "f"))


def test_a_repeated_completion_is_accepted_and_writes_nothing() -> None:
    given(*COMPLETED).when(CompleteJob("a", OUTPUT)).then_nothing()


def test_a_completion_with_another_output_is_refused() -> None:
    given(*COMPLETED).when(CompleteJob("a", "http://else")).then_rejected(Reason.JOB_IS_FINAL)


def test_a_job_that_failed_permanently_can_not_be_completed() -> None:
    given(*FAILED).when(CompleteJob("a", OUTPUT)).then_rejected(Reason.JOB_IS_FINAL)


def test_completing_an_unknown_job_is_refused() -> None:
    given().when(CompleteJob("a", OUTPUT)).then_rejected(Reason.JOB_NOT_FOUND)


def test_an_engine_is_idle_at_once_after_a_completion() -> None:
    story = given(*ASSIGNED, job("b")).when(CompleteJob("a", OUTPUT))
    story.when(AssignJob("e")).then(assigned("b", "e"))


# Failure


@pytest.mark.parametrize("max_retries", [0, 1])
def test_with_no_retries_or_one_the_first_failure_is_the_last(max_retries: int) -> None:
    story = given(job("a", max_retries=max_retries), engine("e"), assigned("a", "e"))
    story.when(FailJob("a", "broke")).then(failed("a", "e"))


def test_with_three_retries_the_third_failure_is_the_last() -> None:
    story = given(job("a", max_retries=3), engine("e"))
    story.when(AssignJob("e")).then(assigned("a", "e", attempt=1))
    story.when(FailJob("a", "one")).then(requeued("a", "e", attempt=1, retries=1, error="one"))
    story.when(AssignJob("e")).then(assigned("a", "e", attempt=2))
    story.when(FailJob("a", "two")).then(requeued("a", "e", attempt=2, retries=2, error="two"))
    story.when(AssignJob("e")).then(assigned("a", "e", attempt=3))
    story.when(FailJob("a", "three")).then(failed("a", "e", attempt=3, retries=3, error="three"))
    story.when(AssignJob("e")).then_nothing()


def test_a_failure_of_a_pending_job_counts_too() -> None:
    given(job("a")).when(FailJob("a", "broke")).then(requeued("a", None, attempt=0))


@pytest.mark.parametrize("past", [COMPLETED, FAILED])
def test_a_final_job_can_not_fail(past: tuple[Event, ...]) -> None:
    given(*past).when(FailJob("a", "broke")).then_rejected(Reason.JOB_IS_FINAL)


def test_a_failure_of_an_unknown_job_is_refused() -> None:
    given().when(FailJob("a", "broke")).then_rejected(Reason.JOB_NOT_FOUND)


@pytest.mark.parametrize("max_retries", [1, 3])
def test_an_engine_is_idle_at_once_after_a_failure(max_retries: int) -> None:
    story = given(job("a", max_retries=max_retries), job("b", codec="vp9"), engine("e"))
    story.when(AssignJob("e")).when(FailJob("a", "broke"))
    assert story.fleet.engines["e"].idle
    story.when(CompleteJob("a", OUTPUT)).when(AssignJob("e")).then(assigned("b", "e"))


def test_a_requeued_job_can_be_assigned_to_another_engine_immediately() -> None:
    story = given(*ASSIGNED, engine("f"), requeued("a", "e"))
    story.when(AssignJob("f")).then(assigned("a", "f", attempt=2))


def test_a_requeued_job_keeps_its_place_in_the_queue() -> None:
    story = given(job("a"), job("b"), job("c"), engine("e"), engine("f"))
    story.when(AssignJob("e")).then(assigned("a", "e"))
    story.when(FailJob("a", "broke"))
    story.when(AssignJob("f")).then(assigned("a", "f", attempt=2))
    story.when(AssignJob("e")).then(assigned("b", "e"))
