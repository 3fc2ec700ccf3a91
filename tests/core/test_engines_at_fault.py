"""Engines that are silent, drained, or fail what they get, and jobs that fail everywhere."""

import pytest

from dispatcher.core.commands import (
    AssignJob,
    Command,
    CompleteJob,
    DrainEngine,
    FailJob,
    LoseEngine,
    ReportHeartbeat,
    ResumeEngine,
)
from dispatcher.core.events import (
    EngineBlocked,
    EngineDrained,
    EngineLost,
    EngineReported,
    EngineResumed,
    EngineSeen,
    Event,
)
from dispatcher.core.policy import Policy
from dispatcher.core.replies import Reason
from tests.support.given import OUTPUT, assigned, completed, engine, failed, given, job, requeued

FAST = {"benchmark_time": 1.0}
FAILED_ON_E = (job("a"), engine("e", **FAST), assigned("a", "e"), requeued("a", "e"))


def failing(story: given, engine_id: str, *job_ids: str) -> given:
    """Let an engine take these jobs, which must be next for it, and fail each."""
    for job_id in job_ids:
        story.when(AssignJob(engine_id))
        assert story.fleet.engines[engine_id].holds == job_id
        story.when(FailJob(job_id, "broke"))
    return story


# Silent engines


def test_an_engine_that_is_offline_is_not_picked() -> None:
    given(job("a"), engine("e", **FAST), EngineLost("e", 60.0)).when(AssignJob()).then_nothing()


def test_an_engine_that_is_offline_may_ask_by_name_and_is_online_again() -> None:
    story = given(job("a"), engine("e", **FAST), EngineLost("e", 60.0))
    story.when(AssignJob("e")).then(assigned("a", "e"))
    assert story.fleet.engines["e"].online


@pytest.mark.parametrize("report", [{}, {"gpu": "new"}])
def test_any_heartbeat_brings_an_engine_back(report: dict[str, str]) -> None:
    story = given(job("a"), engine("e", **FAST), EngineLost("e", 60.0))
    story.when(ReportHeartbeat("e", report))
    story.then(EngineReported("e", report) if report else EngineSeen("e"))
    story.when(AssignJob()).then(assigned("a", "e", 1, "small: slowest", ["e"]))


def test_an_engine_that_comes_back_can_be_lost_again() -> None:
    story = given(engine("e"), EngineLost("e", 60.0), EngineSeen("e"))
    story.when(LoseEngine("e", 60.0)).then(EngineLost("e", 60.0))


# Draining


@pytest.mark.parametrize("engine_id", ["e", None])
def test_a_drained_engine_gets_no_jobs_until_it_is_resumed(engine_id: str | None) -> None:
    story = given(job("a"), engine("e", **FAST))
    story.when(DrainEngine("e")).then(EngineDrained("e"))
    story.when(AssignJob(engine_id)).then_nothing()
    story.when(ResumeEngine("e")).then(EngineResumed("e"))
    story.when(AssignJob(engine_id))
    assert story.fleet.engines["e"].holds == "a"


def test_a_drained_engine_finishes_its_job() -> None:
    story = given(job("a"), job("b"), engine("e"), assigned("a", "e")).when(DrainEngine("e"))
    assert story.fleet.engines["e"].holds == "a"
    story.when(CompleteJob("a", OUTPUT, "e", 1)).then(completed("a", "e"))
    story.when(AssignJob("e")).then_nothing()


def test_a_heartbeat_does_not_lift_a_drain() -> None:
    story = given(job("a"), engine("e"), EngineDrained("e"))
    story.when(ReportHeartbeat("e", {"instance": "2"})).when(AssignJob("e")).then_nothing()


def test_draining_and_resuming_again_changes_nothing() -> None:
    given(engine("e")).when(ResumeEngine("e")).then_nothing()
    given(engine("e"), EngineDrained("e")).when(DrainEngine("e")).then_nothing()


@pytest.mark.parametrize("command", [DrainEngine("ghost"), ResumeEngine("ghost")], ids=str)
def test_an_unknown_engine_can_not_be_drained_or_resumed(command: Command) -> None:
    given().when(command).then_rejected(Reason.ENGINE_NOT_FOUND)


# Failed before


@pytest.mark.parametrize("engine_id", ["e", None])
def test_a_job_is_not_given_again_to_an_engine_that_failed_it(engine_id: str | None) -> None:
    story = given(*FAILED_ON_E, engine("f"), job("b"))
    story.when(AssignJob(engine_id))
    assert story.fleet.engines["e"].holds == "b"
    story.when(AssignJob("f")).then(assigned("a", "f", attempt=2))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param((), id="there is none"),
        pytest.param((engine("f"), EngineLost("f", 60.0)), id="it is offline"),
        pytest.param((engine("f"), EngineDrained("f")), id="it is drained"),
        pytest.param((engine("f"), EngineBlocked("f", "")), id="it is blocked"),
        pytest.param((engine("f", supported_codecs=["av1"]),), id="it lacks the codec"),
        pytest.param((engine("f", storage_capacity_gb=0.001),), id="it lacks the storage"),
        pytest.param(
            (engine("f"), assigned("a", "f", 2), requeued("a", "f", attempt=2, retries=2)),
            id="it failed the job too",
        ),
    ],
)
def test_it_is_given_again_when_no_other_engine_could_take_it(other: tuple[Event, ...]) -> None:
    story = given(*FAILED_ON_E, *other)
    story.when(AssignJob("e"))
    assert story.fleet.engines["e"].holds == "a"


def test_it_waits_for_another_engine_that_is_only_busy() -> None:
    story = given(*FAILED_ON_E, engine("f", status="busy"), engine("g"), job("b"))
    story.when(AssignJob("e")).then(assigned("b", "e"))


@pytest.mark.parametrize(("size", "engine_of_it"), [(1000.0, "f"), (1000.5, "e")])
def test_whether_another_could_take_it_is_a_question_of_its_size(
    size: float, engine_of_it: str
) -> None:
    story = given(
        *(job("a", size=size), engine("e"), engine("f", storage_capacity_gb=1.0)),
        *(assigned("a", "e"), requeued("a", "e")),
    )
    story.when(AssignJob("e")).when(AssignJob("f"))
    assert story.fleet.jobs["a"].holder == engine_of_it


def test_an_engine_that_was_silent_with_a_job_has_failed_it_too() -> None:
    story = given(job("a"), engine("e"), engine("f"), assigned("a", "e"))
    story.when(LoseEngine("e", 60.0)).when(ReportHeartbeat("e", {}))
    story.when(AssignJob("e")).then_nothing()
    story.when(AssignJob("f")).then(assigned("a", "f", attempt=2))


# Blocking


def test_an_engine_that_fails_three_different_jobs_in_a_row_is_blocked() -> None:
    story = given(engine("e"), *map(job, "abcd"), engine("f"))
    failing(story, "e", "a", "b", "c").then(
        requeued("c", "e"), EngineBlocked("e", "failed 3 different jobs in a row: a, b, c")
    )
    story.when(AssignJob("e")).then_nothing()
    assert story.fleet.engines["e"].blocked == "failed 3 different jobs in a row: a, b, c"


def test_failures_that_only_the_dispatcher_saw_count_too() -> None:
    story = given(engine("e"), *map(job, "ab"), engine("f"), policy=Policy(block_after=2))
    failing(story, "e", "a").when(AssignJob("e")).when(LoseEngine("e", 60.0))
    story.then(
        EngineLost("e", 60.0),
        requeued("b", "e", error="engine e has been silent for 60 s", cause="engine_silent"),
        EngineBlocked("e", "failed 2 different jobs in a row: a, b"),
    )


def test_a_last_failure_of_a_job_counts_too() -> None:
    story = given(engine("e"), job("a", max_retries=1), policy=Policy(block_after=1))
    failing(story, "e", "a").then(
        failed("a", "e"), EngineBlocked("e", "failed 1 different jobs in a row: a")
    )


@pytest.mark.parametrize(("block_after", "blocked"), [(2, True), (4, False), (0, False)])
def test_the_threshold_can_be_set_and_zero_is_none(block_after: int, *, blocked: bool) -> None:
    story = given(
        engine("e"), *map(job, "abc"), engine("f"), policy=Policy(block_after=block_after)
    )
    for job_id in "abc":
        if story.fleet.engines["e"].blocked is None:
            failing(story, "e", job_id)
    assert (story.fleet.engines["e"].blocked is not None) == blocked


def test_the_same_job_again_and_again_blocks_nobody() -> None:
    story = given(engine("e"), job("a", max_retries=10))
    failing(story, "e", *"aaaaaaaa")
    assert story.fleet.engines["e"].blocked is None


def test_a_success_clears_the_count() -> None:
    story = given(engine("e"), *map(job, "abcdef"), engine("f"))
    failing(story, "e", "a", "b").when(AssignJob("e")).when(CompleteJob("c", OUTPUT))
    failing(story, "e", "d", "e").then(requeued("e", "e"))
    failing(story, "e", "f").then(
        requeued("f", "e"), EngineBlocked("e", "failed 3 different jobs in a row: d, e, f")
    )


def test_resuming_lifts_the_block_and_clears_the_count() -> None:
    story = given(engine("e"), *map(job, "abcdef"), engine("f"))
    failing(story, "e", "a", "b", "c").when(ResumeEngine("e")).then(EngineResumed("e"))
    failing(story, "e", "d", "e").then(requeued("e", "e"))
    assert story.fleet.engines["e"].blocked is None


def test_a_job_that_failed_elsewhere_before_blames_nobody() -> None:
    bad_jobs = [job(f"bad {n}", max_retries=9) for n in range(4)]
    story = given(*bad_jobs, *map(engine, ["first", "good", "other"]), policy=Policy(block_after=0))
    failing(story, "first", *(it.job_id for it in bad_jobs))
    story.policy = Policy(block_after=1)
    for it in bad_jobs:
        failing(story, "good", it.job_id).then(
            requeued(it.job_id, "good", attempt=2, retries=2, blames=False)
        )
    assert story.fleet.engines["good"].blocked is None


def test_a_failure_that_no_engine_had_a_part_in_blames_nobody() -> None:
    given(job("a"), policy=Policy(block_after=1)).when(FailJob("a", "broke")).then(
        requeued("a", None, attempt=0)
    )


def test_a_blocked_engine_that_finishes_a_job_stays_blocked() -> None:
    story = given(job("a"), job("b"), engine("e"), assigned("a", "e"), EngineBlocked("e", "why"))
    story.when(CompleteJob("a", OUTPUT)).when(AssignJob("e")).then_nothing()
