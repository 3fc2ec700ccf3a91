"""Which job is next: priority, waiting time, pauses after failures, and fit."""

from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from dispatcher.core.commands import (
    AssignJob,
    FailJob,
    ForgetEngine,
    LoseEngine,
    PrioritizeJob,
    ReleaseJob,
    SubmitJob,
)
from dispatcher.core.events import JobReleased, JobRequeued, JobSubmitted
from dispatcher.core.policy import Policy
from dispatcher.core.scheduling import choose_for
from tests.support.given import START, assigned, engine, given, job, requeued

HOUR: Final = timedelta(hours=1)
BACKOFF: Final = Policy(retry_backoff_s=10.0)


def submitted(*jobs: tuple[str, int, float], policy: Policy | None = None) -> list[str]:
    """Submit jobs with a priority at a time, and give the order in which they go out."""
    story = given(*(engine(f"e{n}") for n in range(len(jobs))), policy=policy or Policy())
    for job_id, priority, at_s in jobs:
        story.when(SubmitJob(job_id, "u", "h264", priority=priority), at_s=at_s)
    for n in range(len(jobs)):
        story.when(AssignJob(f"e{n}"))
    return sorted(story.fleet.jobs, key=lambda job_id: story.fleet.jobs[job_id].holder or "")


# Priority


def test_of_jobs_submitted_together_the_one_of_higher_priority_goes_first() -> None:
    assert submitted(("low", 0, 0), ("high", 100, 0), ("middle", 50, 0)) == [
        *("high", "middle", "low")
    ]


@pytest.mark.parametrize(
    ("later_by_s", "order"), [(59.0, ["b", "a"]), (60.0, ["a", "b"]), (61.0, ["a", "b"])]
)
def test_one_point_of_priority_is_worth_a_minute_of_waiting(
    later_by_s: float, order: list[str]
) -> None:
    assert submitted(("a", 0, 0), ("b", 1, later_by_s)) == order


def test_the_worth_of_a_point_can_be_set() -> None:
    jobs = (("a", 0, 0.0), ("b", 1, 59.0))
    assert submitted(*jobs, policy=Policy(priority_point_s=10.0)) == ["a", "b"]
    assert submitted(*jobs, policy=Policy(priority_point_s=0.0)) == ["a", "b"]


def test_nothing_starves_behind_jobs_of_the_highest_priority() -> None:
    later = [(f"high {n}", 100, 6000.0 + n) for n in range(5)]
    assert submitted(("low", 0, 0), *later)[0] == "low"


def test_the_place_in_the_queue_is_fixed_at_submission() -> None:
    story = given().when(SubmitJob("a", "u", "h264", priority=2), at_s=30)
    (event,) = story.outcome.events
    assert isinstance(event, JobSubmitted)
    assert event.waits_since == START - timedelta(seconds=90)


# First in, first out


def test_equal_priority_goes_out_first_in_first_out() -> None:
    assert submitted(("c", 7, 0), ("a", 7, 1), ("b", 7, 1)) == ["c", "a", "b"]


def test_a_clock_that_is_set_back_lets_nobody_pass() -> None:
    assert submitted(("a", 0, 7200), ("b", 0, 0), ("c", 0, 60)) == ["a", "b", "c"]
    assert submitted(("a", 9, 7200), ("b", 9, 0), ("c", 9, 7201)) == ["a", "b", "c"]


@examples(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-10_000, 10_000)), min_size=1, max_size=8)
)
def test_whatever_the_clock_does_equal_priority_stays_in_order(
    jobs: list[tuple[int, int]],
) -> None:
    order = submitted(*((str(n), priority, at_s) for n, (priority, at_s) in enumerate(jobs)))
    for priority in range(3):
        ours = [job_id for job_id in order if jobs[int(job_id)][0] == priority]
        assert ours == sorted(ours)


def test_jobs_from_before_there_were_priorities_go_first_and_in_order() -> None:
    story = given(job("old b"), job("old a"), engine("e"), engine("f"), engine("g"))
    story.when(SubmitJob("new", "u", "h264", priority=100))
    story.when(AssignJob("e")).then(assigned("old b", "e"))
    story.when(AssignJob("f")).then(assigned("old a", "f"))
    story.when(AssignJob("g")).then(assigned("new", "g"))


@pytest.mark.parametrize(
    "end", [FailJob("a", "broke"), LoseEngine("e", 60.0), ForgetEngine("e")], ids=str
)
def test_a_job_that_is_requeued_keeps_its_place(end: Any) -> None:
    story = given(engine("e"), engine("f"), engine("g"))
    story.when(SubmitJob("a", "u", "h264"), at_s=0)
    story.when(AssignJob("e")).then(assigned("a", "e"))
    story.when(SubmitJob("b", "u", "h264"), at_s=1)
    story.when(end, at_s=2)
    story.when(AssignJob("f")).then(assigned("a", "f", attempt=2))
    story.when(AssignJob("g")).then(assigned("b", "g"))


# Pauses


def pauses_of(job_id: str, policy: Policy, failures: int) -> list[float]:
    """Fail a job again and again; give each pause in seconds."""
    story, pauses = given(job(job_id, max_retries=100), policy=policy), list[float]()
    for _ in range(failures):
        story.when(FailJob(job_id, "broke"))
        (event,) = story.outcome.events
        assert isinstance(event, JobRequeued)
        assert event.not_before is not None
        pauses.append((event.not_before - START).total_seconds())
    return pauses


def test_the_pause_doubles_with_each_failure_up_to_an_hour() -> None:
    expected = [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 3600.0, 3600.0]
    for pause_s, longest_s in zip(pauses_of("a", BACKOFF, 11), expected, strict=True):
        assert 0.75 * longest_s <= pause_s <= longest_s


def test_no_number_of_failures_makes_the_pause_longer_than_an_hour() -> None:
    assert max(pauses_of("a", Policy(retry_backoff_s=1e300), 99)) <= 3600.0


def test_the_pause_of_a_job_is_the_same_on_every_run_but_differs_from_other_jobs() -> None:
    assert pauses_of("a", BACKOFF, 3) == pauses_of("a", BACKOFF, 3)
    assert len({pauses_of(str(n), BACKOFF, 1)[0] for n in range(20)}) > 10


def test_without_backoff_there_is_no_pause() -> None:
    story = given(job("a"), engine("e"), assigned("a", "e")).when(FailJob("a", "broke"))
    story.then(requeued("a", "e"))
    story.when(AssignJob("e")).then(assigned("a", "e", attempt=2))


def test_a_paused_job_is_not_given_out_until_it_is_released() -> None:
    story = given(job("a"), job("b"), engine("e"), assigned("a", "e"), policy=BACKOFF)
    story.when(FailJob("a", "broke"))
    story.when(ReleaseJob("b")).then_nothing()
    story.when(ReleaseJob("ghost")).then_nothing()
    story.when(AssignJob("e")).then(assigned("b", "e"))
    story.when(ReleaseJob("a")).then(JobReleased("a"))
    story.when(ReleaseJob("a")).then_nothing()


def test_a_released_job_is_back_in_its_old_place() -> None:
    story = given(job("a"), job("b"), engine("e"), assigned("a", "e"), policy=BACKOFF)
    story.when(FailJob("a", "broke")).when(ReleaseJob("a"))
    story.when(AssignJob("e")).then(assigned("a", "e", attempt=2))


# Fit


@pytest.mark.parametrize(
    ("report", "size_mb", "fits"),
    [
        ({"storage_capacity_gb": 1.0}, 1000.0, True),
        ({"storage_capacity_gb": 1.0}, 1000.001, False),
        ({"storage_capacity_gb": 1.0, "streaming_support": False}, 1000.001, False),
        ({"storage_capacity_gb": 1.0, "streaming_support": True}, 1e9, True),
        ({"storage_capacity_gb": 0.0}, 0.0, True),
        ({"storage_capacity_gb": 0}, 0.001, False),
        ({"storage_capacity_gb": 0, "streaming_support": True}, 1e9, True),
        ({}, 1e9, True),
    ],
)
@pytest.mark.parametrize("engine_id", ["e", None])
def test_an_engine_is_given_what_its_storage_holds_or_what_it_can_stream(
    report: dict[str, Any], size_mb: float, fits: bool, engine_id: str | None
) -> None:
    story = given(job("a", size=size_mb), engine("e", benchmark_time=1.0, **report))
    story.when(AssignJob(engine_id))
    assert story.fleet.engines["e"].holds == ("a" if fits else None)


def test_a_source_of_just_the_size_of_the_storage_fits_whatever_the_size() -> None:
    too_small = [
        size_mb
        for size_mb in range(1, 2000)
        if given(job("a", size=float(size_mb)), engine("e", storage_capacity_gb=size_mb / 1000))
        .when(AssignJob("e"))
        .outcome.events
        == ()
    ]
    assert too_small == []


def test_a_job_that_does_not_fit_lets_those_behind_it_pass() -> None:
    story = given(job("big", size=2000.0), job("small"), engine("e", storage_capacity_gb=1.0))
    story.when(AssignJob("e")).then(assigned("small", "e"))


def test_after_a_clock_was_set_back_a_point_is_worth_what_it_was() -> None:
    story = given(engine("e"))
    for job_id, priority, at_s in (("ahead", 1, 1e6), ("plain", 0, 0.0), ("later", 1, 60.0)):
        story.when(SubmitJob(job_id, "u", "h264", priority=priority), at_s=at_s)
    places = {job_id: job.place for job_id, job in story.fleet.jobs.items()}
    assert places["ahead"] < places["later"] < places["plain"]
    assert places["plain"].waits_since_us - places["later"].waits_since_us == 60_000_000


# Another priority


def test_a_job_with_another_priority_goes_where_it_would_if_it_had_always_had_it() -> None:
    for new, order in ((0, "ba"), (1, "ba"), (5, "ab")):
        story = given(engine("e"))
        story.when(SubmitJob("b", "u", "h264", priority=3), at_s=0)
        story.when(SubmitJob("a", "u", "h264", priority=9), at_s=30)
        story.when(PrioritizeJob("a", new), at_s=5_000)
        choice = choose_for(story.fleet, story.fleet.engines["e"])
        assert choice is not None
        assert choice.job.job_id == order[0]


@examples(st.lists(st.sampled_from([0, 1, 7, 100]), min_size=1, max_size=5))
def test_priorities_given_one_after_the_other_leave_no_trace_but_the_last(
    priorities: list[int],
) -> None:
    once = given().when(SubmitJob("a", "u", "h264", priority=priorities[-1]))
    story = given().when(SubmitJob("a", "u", "h264", priority=4))
    for number, priority in enumerate(priorities):
        story.when(PrioritizeJob("a", priority), at_s=number * 100)
    assert story.fleet.jobs["a"] == once.fleet.jobs["a"]


def test_the_worth_of_a_point_is_that_of_the_day_when_the_priority_is_given() -> None:
    story = given().when(SubmitJob("a", "u", "h264", priority=4))
    story.policy = Policy(priority_point_s=10.0)
    story.when(PrioritizeJob("a", 5))
    expected = given(policy=story.policy).when(SubmitJob("a", "u", "h264", priority=5))
    assert story.fleet.jobs["a"].place == expected.fleet.jobs["a"].place


def test_a_job_keeps_its_pause_when_its_priority_changes() -> None:
    story = given(job("a"), requeued("a", None, attempt=0, not_before=START))
    story.when(PrioritizeJob("a", 5))
    assert story.fleet.queue.paused == {"a": START}
    story.when(ReleaseJob("a")).when(PrioritizeJob("a", 6))
    assert [*story.fleet.queue] == ["a"]
