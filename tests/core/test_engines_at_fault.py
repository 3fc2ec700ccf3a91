"""Engines that are silent, drained, or fail what they get, and jobs that fail everywhere."""

from datetime import timedelta

import pytest

from dispatcher.core.commands import (
    AssignJob,
    Command,
    CompleteJob,
    DrainEngine,
    FailJob,
    ForgetLostEngine,
    LoseEngine,
    ReleaseJob,
    ReportHeartbeat,
    ResumeEngine,
    TimeOutJob,
    UnblockEngine,
)
from dispatcher.core.events import (
    EngineBlamed,
    EngineBlocked,
    EngineDrained,
    EngineForgotten,
    EngineReported,
    EngineResumed,
    EngineSeen,
    EngineUnblocked,
    Event,
    JobRequeued,
)
from dispatcher.core.policy import Policy
from dispatcher.core.replies import Ended, Reason, Requeued
from tests.support.given import (
    OUTPUT,
    START,
    assigned,
    blocked,
    completed,
    engine,
    failed,
    given,
    job,
    lost,
    requeued,
)

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
    given(job("a"), engine("e", **FAST), lost("e")).when(AssignJob()).then_nothing()


def test_an_engine_that_is_offline_may_ask_by_name_and_is_online_again() -> None:
    story = given(job("a"), engine("e", **FAST), lost("e"))
    story.when(AssignJob("e")).then(assigned("a", "e"))
    assert story.fleet.engines["e"].online


@pytest.mark.parametrize("report", [{}, {"gpu": "new"}])
def test_any_heartbeat_brings_an_engine_back(report: dict[str, str]) -> None:
    story = given(job("a"), engine("e", **FAST), lost("e"))
    story.when(ReportHeartbeat("e", report))
    story.then(EngineReported("e", report) if report else EngineSeen("e"))
    story.when(AssignJob()).then(assigned("a", "e", 1, "small: slowest", ["e"]))


def test_an_engine_that_comes_back_can_be_lost_again() -> None:
    story = given(engine("e"), lost("e"), EngineSeen("e"))
    story.when(LoseEngine("e", 60.0)).then(lost("e"))


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
        pytest.param((engine("f"), lost("f")), id="it is offline"),
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
    failing(story, "e", "a", "b", "c").then(requeued("c", "e"), blocked("e", "a", "b", "c"))
    story.when(AssignJob("e")).then_nothing()
    assert story.fleet.engines["e"].blocked == "failed 3 different jobs in a row: a, b, c"


def test_failures_that_only_the_dispatcher_saw_count_too() -> None:
    story = given(engine("e"), *map(job, "ab"), engine("f"), policy=Policy(block_after=2))
    failing(story, "e", "a").when(AssignJob("e")).when(TimeOutJob("b", 1, 60.0))
    late = "attempt 1 on engine e took longer than 60 s"
    story.then(requeued("b", "e", error=late, cause="timed_out"), blocked("e", "a", "b"))


def test_the_loss_of_an_engine_blames_nobody() -> None:
    story = given(engine("e"), *map(job, "abc"), policy=Policy(block_after=1))
    for job_id in "abc":
        story.when(AssignJob("e")).when(LoseEngine("e", 60.0)).when(ReportHeartbeat("e", {}))
        assert story.fleet.jobs[job_id].setbacks.losses == 1
        story.when(AssignJob("e")).when(CompleteJob(job_id, OUTPUT))
    assert story.fleet.engines["e"].blocked is None


def test_a_last_failure_of_a_job_counts_too() -> None:
    story = given(engine("e"), job("a", max_retries=1), policy=Policy(block_after=1))
    failing(story, "e", "a").then(failed("a", "e"), blocked("e", "a"))


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
    failing(story, "e", "f").then(requeued("f", "e"), blocked("e", "d", "e", "f"))


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


# Probation


def test_a_blocked_engine_may_try_again_and_the_next_failure_blocks_it_twice_as_long() -> None:
    story = given(engine("e"), *map(job, "abcdef"), engine("f"))
    failing(story, "e", "a", "b", "c")
    story.when(UnblockEngine("e"), at_s=600.0).then(EngineUnblocked("e"))
    story.when(AssignJob("e"), at_s=600.0).when(FailJob("d", "broke"), at_s=600.0)
    story.then(requeued("d", "e"), blocked("e", "a", "b", "c", "d", for_s=1200.0, at_s=600.0))
    story.when(UnblockEngine("e")).when(AssignJob("e")).when(FailJob("e", "broke"), at_s=2000.0)
    story.then(requeued("e", "e"), blocked("e", *"abcde", for_s=2400.0, at_s=2000.0))


def test_a_success_on_probation_clears_its_record() -> None:
    story = given(engine("e"), *map(job, "abcdefgh"), engine("f"))
    failing(story, "e", "a", "b", "c").when(UnblockEngine("e"))
    story.when(AssignJob("e")).when(CompleteJob("d", OUTPUT))
    failing(story, "e", "e", "f", "g").then(requeued("g", "e"), blocked("e", "e", "f", "g"))


def test_a_block_may_last_until_somebody_lifts_it() -> None:
    story = given(engine("e"), job("a"), engine("f"), policy=Policy(block_after=1, block_for_s=0.0))
    failing(story, "e", "a").then(requeued("a", "e"), EngineBlocked("e", "failed a job: a"))
    story.when(UnblockEngine("e")).then_nothing()


def test_a_block_never_lasts_longer_than_a_day() -> None:
    story = given(engine("e"), *map(job, map(str, range(20))), policy=Policy(block_after=1))
    story.fleet.engines["e"].blocks = 50
    failing(story, "e", "0").then(requeued("0", "e"), blocked("e", "0", for_s=86400.0))


# What an engine says is to blame


def test_an_engine_at_fault_is_blamed_even_for_a_job_that_failed_elsewhere() -> None:
    story = given(*FAILED_ON_E, engine("f"), assigned("a", "f", 2))
    story.when(FailJob("a", "no space left", cause="engine_at_fault")).then(
        requeued(*("a", "f"), attempt=2, retries=2, error="no space left", cause="engine_at_fault")
    )
    assert story.fleet.engines["f"].failures == ["a"]


def test_a_bad_source_fails_its_job_at_once_and_blames_nobody() -> None:
    story = given(engine("e"), *map(job, "abc"), policy=Policy(block_after=1))
    for job_id in "abc":
        story.when(AssignJob("e")).when(FailJob(job_id, "404", "e", 1, cause="source_bad"))
        story.then(failed(job_id, "e", error="404", cause="source_bad", blames=False))
        story.then_reply(Ended())
    assert story.fleet.engines["e"].blocked is None


def away(story: given, job_id: str, engine_id: str, at_s: float = 0.0) -> JobRequeued:
    """Let an engine have a job and not its source; give what follows for the job."""
    story.when(AssignJob(engine_id), at_s=at_s)
    assert story.fleet.engines[engine_id].holds == job_id
    story.when(FailJob(job_id, "no connection", cause="source_away"), at_s=at_s)
    first = story.outcome.events[0]
    assert isinstance(first, JobRequeued), first
    return first


def test_a_source_that_is_away_pauses_its_job_longer_each_time_and_uses_up_no_retries() -> None:
    story = given(engine("e"), job("a", max_retries=1), policy=Policy(block_after=1))
    waited_s, at_s = 0.0, 0.0
    for longest_s in (5, 10, 20, 40, 80, 160, 320):
        event = away(story, "a", "e", at_s)
        pause_s = event.source_waited_s - waited_s
        assert longest_s * 0.75 <= pause_s <= longest_s
        assert event.not_before == START + timedelta(seconds=at_s + pause_s)
        assert (event.retries, event.blames_engine) == (0, False)
        waited_s, at_s = event.source_waited_s, at_s + 1000
        story.when(ReleaseJob("a"))
    story.when(AssignJob("e")).when(CompleteJob("a", OUTPUT)).then(
        completed("a", "e", story.fleet.jobs["a"].attempt)
    )
    assert story.fleet.engines["e"].blocked is None


def test_patience_with_a_source_ends_after_its_pauses_have_taken_so_long() -> None:
    story = given(engine("e"), job("a"), policy=Policy(source_patience_s=3600.0))
    pauses = 0
    while story.fleet.jobs["a"].status != "failed_permanently":
        story.when(ReleaseJob("a")).when(AssignJob("e"))
        story.when(FailJob("a", "no connection", cause="source_away"))
        pauses += 1
    assert 9 <= pauses <= 12
    assert story.fleet.jobs["a"].retries == 0


def test_without_patience_a_source_that_is_away_fails_its_job() -> None:
    story = given(engine("e"), job("a"), policy=Policy(source_patience_s=0.0))
    story.when(AssignJob("e")).when(FailJob("a", "no connection", cause="source_away")).then(
        failed("a", "e", retries=0, error="no connection", cause="source_away", blames=False)
    )


def test_a_source_that_one_engine_does_not_see_is_tried_on_another_first() -> None:
    story = given(engine("e"), engine("f"), job("a"), job("b"))
    assert away(story, "a", "e").not_before is None
    story.when(AssignJob("e")).then(assigned("b", "e"))
    assert away(story, "a", "f").not_before is not None


def test_a_dead_store_costs_no_job_and_no_engine() -> None:
    names = [f"job {n}" for n in range(9)]
    story = given(*map(engine, "efg"), *(job(name) for name in names))
    for _ in range(30):
        for engine_id in "efg":
            story.when(AssignJob(engine_id))
            if (held := story.fleet.engines[engine_id].holds) is not None:
                story.when(FailJob(held, "no connection", cause="source_away"))
    assert {it.status for it in story.fleet.jobs.values()} == {"pending"}
    assert {it.blocked for it in story.fleet.engines.values()} == {None}
    assert all(it.attempt == 2 for it in story.fleet.jobs.values())


def test_an_engine_that_alone_can_not_reach_sources_is_found_out() -> None:
    story = given(engine("cut off"), engine("f"), *map(job, "abc"))
    for number, job_id in enumerate("abc", 1):
        away(story, job_id, "cut off")
        story.when(AssignJob("f")).when(CompleteJob(job_id, OUTPUT))
        expected: list[Event] = [completed(job_id, "f", 2), EngineBlamed("cut off", job_id)]
        if number == 3:
            expected.append(blocked("cut off", "a", "b", "c"))
        story.then(*expected)
    assert story.fleet.engines["cut off"].blocked is not None


def test_an_engine_that_succeeds_meanwhile_is_not_blamed_for_a_short_outage() -> None:
    story = given(
        engine("e"), engine("f"), *map(job, "abc"), assigned("b", "f"), policy=Policy(block_after=1)
    )
    assert away(story, "a", "e").not_before is not None, "no other engine is free"
    story.when(AssignJob("e")).then(assigned("c", "e"))
    story.when(CompleteJob("c", OUTPUT)).when(CompleteJob("b", OUTPUT))
    story.when(ReleaseJob("a")).when(AssignJob("f")).when(CompleteJob("a", OUTPUT)).then(
        completed("a", "f", 2)
    )


def test_after_its_pause_the_engine_that_lacked_the_source_may_try_again() -> None:
    story = given(engine("e"), engine("f"), *map(job, "ab"), assigned("b", "f"))
    away(story, "a", "e")
    story.when(ReleaseJob("a")).when(AssignJob("e")).then(assigned("a", "e", 2))


def test_an_engine_that_was_lost_with_a_job_is_not_blamed_for_its_source() -> None:
    story = given(engine("e"), engine("f"), job("a"), policy=Policy(block_after=1))
    story.when(AssignJob("e")).when(LoseEngine("e", 60.0))
    story.when(FailJob("a", "no connection", cause="source_away")).when(ReleaseJob("a"))
    story.when(AssignJob("f")).when(CompleteJob("a", OUTPUT)).then(completed("a", "f", 2))


def test_engines_that_could_not_reach_a_source_together_are_not_blamed() -> None:
    story = given(engine("e"), engine("f"), engine("g"), job("a"), policy=Policy(block_after=1))
    away(story, "a", "e")
    away(story, "a", "f")
    story.when(ReleaseJob("a")).when(AssignJob("g")).when(CompleteJob("a", OUTPUT))
    story.then(completed("a", "g", 3))


def test_a_source_that_is_there_again_for_the_same_engine_blames_it_not() -> None:
    story = given(engine("e"), job("a"), policy=Policy(block_after=1))
    away(story, "a", "e")
    story.when(ReleaseJob("a")).when(AssignJob("e")).when(CompleteJob("a", OUTPUT))
    story.then(completed("a", "e", 2))


def test_an_engine_that_is_stopped_gives_its_job_back_at_no_cost() -> None:
    story = given(
        *(engine("e"), job("a", max_retries=1)), policy=Policy(retry_backoff_s=30, max_losses=1)
    )
    for attempt in (1, 2, 3):
        story.when(AssignJob("e")).when(FailJob("a", "stopped", "e", attempt, cause="given_back"))
        story.then(
            requeued(
                *("a", "e"),
                attempt=attempt,
                retries=0,
                error="stopped",
                cause="given_back",
                blames=False,
            )
        ).then_reply(Requeued())


def test_nobody_but_the_holder_can_give_a_job_back() -> None:
    given(job("a"), engine("e"), assigned("a", "e")).when(
        FailJob("a", "stopped", cause="given_back")
    ).then(requeued("a", "e", error="stopped"))


# Forgetting


@pytest.mark.parametrize("decided", [EngineDrained("e"), EngineBlocked("e", "why")], ids=str)
def test_what_was_decided_of_an_engine_is_not_forgotten_with_it(decided: Event) -> None:
    given(engine("e"), decided, lost("e")).when(ForgetLostEngine("e")).then_nothing()
    given(engine("e"), lost("e")).when(ForgetLostEngine("e")).then(EngineForgotten("e"))
