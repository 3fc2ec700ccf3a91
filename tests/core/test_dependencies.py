"""Jobs that wait for others, and films in parts."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from dispatcher.core.commands import (
    AssignJob,
    CancelJob,
    Command,
    CompleteJob,
    FailJob,
    PrioritizeJob,
    ReportHeartbeat,
    RetryJob,
    SplitJob,
    SubmitJob,
)
from dispatcher.core.events import (
    Event,
    JobAssigned,
    JobCancelled,
    JobCompleted,
    JobFailedPermanently,
    JobMadeWhole,
    JobReleased,
    JobReprioritized,
    JobRetried,
    JobSplit,
    JobSubmitted,
)
from dispatcher.core.explanations import explain
from dispatcher.core.replies import Reason, Refused
from tests.support.given import OUTPUT, START, assigned, completed, engine, failed, given, job

PARTS = tuple(
    SubmitJob(None, "u", "h264", 1.0, part={"kind": "segment", "number": number})
    for number in range(2)
)
SPLIT = SplitJob("film", PARTS, "e", 1)
FIRST, SECOND = (f"{int(START.timestamp()) * 1_000_000}_{number}" for number in range(2))


def waits(job_id: str, *needed: str, **fields: Any) -> JobSubmitted:
    return replace(job(job_id, **fields), after=needed, waits_for=needed)


def of_film(job_id: str) -> JobSubmitted:
    return replace(job(job_id), parent="film")


def a_film_in_parts() -> given:
    return given(engine("e"), engine("f"), job("film"), assigned("film", "e")).when(SPLIT)


def happened(story: given) -> list[Event]:
    return [*story.outcome.events]


# Chains


def test_a_job_waits_until_all_that_it_needs_is_completed() -> None:
    story = given(engine("e"), job("a"), job("b"), waits("c", "a", "b"))
    story.when(CompleteJob("a", OUTPUT)).then(completed("a", None, 0))
    story.when(CompleteJob("b", OUTPUT)).then(completed("b", None, 0), JobReleased("c"))
    story.when(AssignJob("e")).then(assigned("c", "e"))


def test_a_job_is_submitted_to_wait_only_for_what_is_not_completed_yet() -> None:
    story = given(job("a"), completed("a", None, 0), job("b"))
    story.when(SubmitJob("c", "u", "h264", after=("a", "b")))
    (submitted,) = happened(story)
    assert isinstance(submitted, JobSubmitted)
    assert (submitted.after, submitted.waits_for) == (("a", "b"), ("b",))


def test_a_job_after_completed_ones_does_not_wait() -> None:
    story = given(engine("e"), job("a"), completed("a", None, 0))
    story.when(SubmitJob("c", "u", "h264", after=("a",)))
    story.when(AssignJob("e")).then(assigned("c", "e"))


def test_nothing_waits_for_a_job_that_is_not_known() -> None:
    refused = given().when(SubmitJob("c", "u", "h264", after=("a",))).outcome.reply
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.NO_PREREQUISITE
    assert refused.text == "Bad Request: 'after' names job a, which is not known."


@pytest.mark.parametrize("end", [failed("a", None, attempt=0), JobCancelled("a", None, 0)])
def test_nothing_waits_for_a_job_that_ended_in_vain(end: Event) -> None:
    story = given(job("a", max_retries=1), end)
    refused = story.when(SubmitJob("c", "u", "h264", after=("a",))).outcome.reply
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.LOST_PREREQUISITE
    assert refused.text.endswith("retry that first.")


def test_a_job_fails_with_what_it_needs_and_so_does_what_needs_it() -> None:
    story = given(job("a", max_retries=1), waits("b", "a"), waits("c", "b"))
    story.when(FailJob("a", "broke"))
    ends = [(it.job_id, it.cause) for it in happened(story) if isinstance(it, JobFailedPermanently)]
    assert ends == [
        ("a", "reported"),
        ("b", "prerequisite_failed"),
        ("c", "prerequisite_failed"),
    ]
    assert story.fleet.jobs["c"].error_message == "job b failed: job a failed: broke"


def test_a_failure_that_is_not_the_last_fails_nothing_else() -> None:
    story = given(job("a"), waits("b", "a")).when(FailJob("a", "broke"))
    assert len(happened(story)) == 1
    assert story.fleet.jobs["b"].status == "pending"


def test_a_job_is_cancelled_with_what_it_needs() -> None:
    given(job("a"), waits("b", "a"), waits("c", "b")).when(CancelJob("a")).then(
        JobCancelled("a", None, 0), JobCancelled("b", None, 0, "a"), JobCancelled("c", None, 0, "b")
    )


def test_what_a_job_needs_goes_on_when_the_job_is_cancelled() -> None:
    given(job("a"), waits("b", "a")).when(CancelJob("b")).then(JobCancelled("b", None, 0))


def test_a_retry_takes_along_what_failed_with_the_job_and_what_it_needs() -> None:
    story = given(job("a", max_retries=1), waits("b", "a"), waits("c", "b"))
    story.when(FailJob("a", "broke")).when(RetryJob("b"))
    assert sorted(happened(story), key=lambda it: getattr(it, "job_id", "")) == [
        JobRetried("a", UNSET, "b"),
        JobRetried("b", ("a",)),
        JobRetried("c", ("b",), "b"),
    ]
    story.when(CompleteJob("a", OUTPUT)).then(completed("a", None, 0), JobReleased("b"))


def test_what_was_cancelled_by_itself_does_not_come_back_with_what_it_needed() -> None:
    story = given(job("a", max_retries=1), waits("b", "a")).when(CancelJob("b"))
    story.when(FailJob("a", "broke")).when(RetryJob("a")).then(JobRetried("a"))


def test_a_long_chain_ends_at_once() -> None:
    names = [f"j{number}" for number in range(5_000)]
    chain = [waits(name, before) for before, name in pairwise(names)]
    story = given(job(names[0]), *chain).when(CancelJob(names[0]))
    assert len(happened(story)) == len(names)


def test_why_says_what_a_job_waits_for() -> None:
    fleet = given(engine("e"), job("a"), job("b"), waits("c", "a", "b"), assigned("a", "e")).fleet
    found = explain(fleet, "c")
    assert found is not None
    assert found.because == (
        "it waits for other jobs: 2 of 2 are not completed, a (on engine e), b (pending)"
    )
    assert found.place is None
    assert {it.obstacle for it in found.engines} == {"waits"}


# Films in parts


def test_a_film_that_is_split_waits_for_its_parts_which_stand_in_its_place() -> None:
    story = given(
        engine("e"),
        job("film", waits_since_s=-60.0, priority=7),
        assigned("film", "e"),
        job("b", waits_since_s=-5.0),
    ).when(SPLIT, at_s=5.0)
    split, *parts = happened(story)
    assert isinstance(split, JobSplit)
    assert split.parts == tuple(it.job_id for it in parts if isinstance(it, JobSubmitted))
    first = story.fleet.jobs[split.parts[0]]
    assert first.ties.parent == "film"
    assert (first.priority, first.place.waits_since_us) == (
        7,
        story.fleet.jobs["film"].place.waits_since_us,
    )
    assert story.fleet.engines["e"].idle
    story.when(AssignJob("e")).then(assigned(first.job_id, "e"))


def test_the_engine_may_send_its_plan_again() -> None:
    story = a_film_in_parts().when(SPLIT).then_nothing()
    for part in (FIRST, SECOND):
        story.when(CompleteJob(part, OUTPUT))
    story.when(SPLIT).then_nothing()


def test_a_film_is_joined_when_its_parts_are_completed() -> None:
    story = a_film_in_parts()
    story.when(CompleteJob(FIRST, OUTPUT)).then(completed(FIRST, None, 0))
    story.when(CompleteJob(SECOND, OUTPUT)).then(completed(SECOND, None, 0), JobReleased("film"))
    story.when(AssignJob("f")).then(assigned("film", "f", 2))
    story.when(CompleteJob("film", OUTPUT, "f", 2)).then(completed("film", "f", 2))


@pytest.mark.parametrize(
    ("past", "told"),
    [
        ((), "it waits for attempt 1"),
        ((assigned("film", "f"),), "engine f holds it now (attempt 1)"),
        ((JobCancelled("film", None, 0),), "it is cancelled"),
    ],
    ids=["pending", "another engine's", "cancelled"],
)
def test_only_its_holder_splits_a_film(past: tuple[Event, ...], told: str) -> None:
    story = given(engine("e"), engine("f"), job("film"), *past).when(SPLIT)
    reply = story.outcome.reply
    assert isinstance(reply, Refused)
    assert reply.reason is Reason.NOT_THE_HOLDER
    assert told in reply.text


@pytest.mark.parametrize(
    ("past", "told"),
    [
        ((of_film("x"), assigned("x", "e")), "is itself a part of a film"),
        ((job("x"), assigned("x", "f"), JobSplit("x", "f", 1, ("y",)), of_film("y"),
          completed("y", None, 0), JobReleased("x"), assigned("x", "e", 2)), "was split before"),
        ((job("x"), assigned("x", "f"), JobSplit("x", "f", 1, ("y",)), of_film("y"),
          JobMadeWhole("x", "why"), assigned("x", "e", 2)), "can't be cut exactly"),
    ],
    ids=["a part", "split before", "whole"],
)  # fmt: skip
def test_what_can_not_be_split_is_refused(past: tuple[Event, ...], told: str) -> None:
    story = given(engine("e"), engine("f"), job("film"), *past)
    attempt = story.fleet.jobs["x"].attempt
    reply = story.when(SplitJob("x", PARTS, "e", attempt)).outcome.reply
    assert isinstance(reply, Refused)
    assert reply.reason is Reason.NOT_TO_BE_SPLIT
    assert told in reply.text


def test_one_failed_part_fails_the_film_and_ends_the_parts_that_nobody_has_begun() -> None:
    once = tuple(replace(it, max_retries=1) for it in PARTS)
    story = given(engine("e"), job("film"), assigned("film", "e"))
    story.when(replace(SPLIT, parts=once)).when(AssignJob("e"))
    story.when(FailJob(FIRST, "broke", "e", 1))
    assert story.fleet.jobs[FIRST].status == "failed_permanently"
    film = story.fleet.jobs["film"]
    assert film.error_message == f"job {FIRST}, a part of the film, failed: broke"
    assert (film.status, film.setbacks.cause) == ("failed_permanently", "prerequisite_failed")
    assert story.fleet.jobs[SECOND].status == "cancelled"


def test_a_part_that_is_under_way_is_kept_when_the_film_fails() -> None:
    story = a_film_in_parts().when(AssignJob("e")).when(AssignJob("f"))
    story.when(FailJob(FIRST, "bad", "e", 1, cause="source_bad"))
    assert story.fleet.jobs["film"].final
    story.when(CompleteJob(SECOND, OUTPUT, "f", 1)).then(completed(SECOND, "f", 1))


def test_a_retry_of_a_film_does_only_what_is_missing() -> None:
    story = a_film_in_parts().when(CompleteJob(SECOND, OUTPUT)).when(AssignJob("e"))
    story.when(FailJob(FIRST, "bad", "e", 1, cause="source_bad")).when(RetryJob("film"))
    story.then(JobRetried("film", (FIRST,)), JobRetried(FIRST, UNSET, "film"))
    story.when(CompleteJob(FIRST, OUTPUT)).then(completed(FIRST, None, 1), JobReleased("film"))


def test_a_retry_of_a_part_brings_its_film_back() -> None:
    story = a_film_in_parts().when(AssignJob("e"))
    story.when(FailJob(FIRST, "bad", "e", 1, cause="source_bad")).when(RetryJob(FIRST))
    assert {it.job_id for it in happened(story) if isinstance(it, JobRetried)} == {
        *("film", FIRST, SECOND)
    }
    assert story.fleet.jobs["film"].ties.waits_for == (FIRST, SECOND)


def test_a_cancelled_film_that_is_retried_begins_anew() -> None:
    story = a_film_in_parts().when(CancelJob("film")).when(RetryJob("film"))
    story.then(JobRetried("film"))
    assert story.fleet.jobs["film"].ties.parts == ()
    story.when(AssignJob("e")).when(replace(SPLIT, attempt=2))
    assert len(story.fleet.jobs["film"].ties.waits_for) == len(PARTS)


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (CancelJob("film"), "cancelled"),
        (CompleteJob("film", OUTPUT), "completed"),
        (FailJob(FIRST, "?", "e", 1, cause="inexact"), "done in one piece"),
    ],
    ids=["cancelled", "completed", "whole"],
)
def test_a_part_that_its_film_does_not_need_is_not_retried(end: Command, told: str) -> None:
    story = a_film_in_parts().when(AssignJob("e")).when(end)
    reply = story.when(RetryJob(FIRST)).outcome.reply
    assert isinstance(reply, Refused)
    assert reply.reason is Reason.JOB_NOT_RETRYABLE
    assert reply.text == (
        f"Bad Request: job {FIRST} is a part of the film of job film, which is {told}; retry that "
        "instead."
    )


def test_parts_are_cancelled_with_their_film_wherever_they_are() -> None:
    story = a_film_in_parts().when(AssignJob("f"))
    story.when(CancelJob("film")).then(
        JobCancelled("film", None, 1),
        JobCancelled(FIRST, "f", 1, "film"),
        JobCancelled(SECOND, None, 0, "film"),
    )


def test_a_film_is_cancelled_with_a_part_and_so_are_the_others() -> None:
    story = a_film_in_parts().when(CancelJob(SECOND))
    assert {it.status for it in story.fleet.jobs.values()} == {"cancelled"}


def test_a_film_that_can_not_be_cut_exactly_is_done_whole() -> None:
    story = a_film_in_parts().when(AssignJob("e")).when(AssignJob("f"))
    story.when(FailJob(FIRST, "3 of 300 frames", "e", 1, cause="inexact"))
    failure, whole, cancelled = happened(story)
    assert isinstance(failure, JobFailedPermanently)
    assert not failure.blames_engine
    assert (whole, cancelled) == (
        JobMadeWhole("film", "3 of 300 frames"),
        JobCancelled(SECOND, "f", 1, "film"),
    )
    story.when(AssignJob("e")).then(assigned("film", "e", 2))


def test_only_the_holder_of_a_part_can_find_that_out() -> None:
    story = a_film_in_parts().when(FailJob(FIRST, "?", cause="inexact"))
    assert story.fleet.jobs[FIRST].retries == 1
    assert story.fleet.jobs["film"].ties.waits_for
    alone = given(engine("e"), job("a"), assigned("a", "e"))
    alone.when(FailJob("a", "?", "e", 1, cause="inexact"))
    assert alone.fleet.jobs["a"].status == "pending"


def test_an_output_of_the_whole_film_ends_its_parts() -> None:
    story = a_film_in_parts().when(AssignJob("e"))
    story.when(CompleteJob("film", OUTPUT)).then(
        JobCompleted("film", None, 1, OUTPUT),
        JobCancelled(FIRST, "e", 1, "film"),
        JobCancelled(SECOND, None, 0, "film"),
    )


def test_the_parts_of_a_film_get_its_priority() -> None:
    story = a_film_in_parts().when(PrioritizeJob("film", 9), at_s=60.0)
    changed = [it.job_id for it in happened(story) if isinstance(it, JobReprioritized)]
    assert changed == ["film", FIRST, SECOND]
    places = {story.fleet.jobs[it].place.waits_since_us for it in changed}
    assert len(places) == 1


def test_an_engine_that_was_lost_with_a_part_costs_the_part_alone() -> None:
    story = a_film_in_parts().when(AssignJob("e"))
    story.when(FailJob(FIRST, "gone", "e", 1, cause="given_back"))
    assert story.fleet.jobs["film"].setbacks.losses == 0
    story.when(AssignJob("f"), at_s=timedelta(seconds=1).total_seconds())
    assert happened(story) == [JobAssigned(FIRST, "f", 2, "asked by name")]


def test_the_engine_of_a_film_that_it_split_is_not_told_to_stop_another_one() -> None:
    story = a_film_in_parts().when(AssignJob("e"))
    story.when(ReportHeartbeat("e", {}, FIRST, 1, 5.0))
    assert getattr(story.outcome.reply, "cancel", "?") is None
