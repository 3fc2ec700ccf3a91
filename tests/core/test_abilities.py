"""Jobs that need abilities go only to engines that have told them."""

from typing import Any, Final

import pytest

from dispatcher.core.commands import AssignJob, CompleteJob, ReportHeartbeat, RetryJob, SubmitJob
from dispatcher.core.events import Event, JobCancelled, JobCompleted, JobSubmitted
from dispatcher.core.explanations import explain
from dispatcher.core.replies import NO_WORK, EngineAnswer, JobIs, Reason
from dispatcher.core.scheduling import Obstacle, obstacle
from tests.support.given import assigned, engine, given, job, requeued

RECIPE: Final[dict[str, Any]] = {"quality": 60.0}
VMAF: Final = ("recipes", "vmaf")


def asked(job_id: str = "a", needs: tuple[str, ...] = ("recipes",)) -> JobSubmitted:
    return JobSubmitted(job_id, "u", "h264", 1.0, 3, recipe=RECIPE, needs=needs)


@pytest.mark.parametrize("abilities", [[], ["vmaf"], ["recipe"], None, {"recipes": 1}, "recipes"])
def test_an_engine_that_has_not_told_an_ability_is_given_no_job_that_needs_it(
    abilities: object,
) -> None:
    told = {} if abilities is None else {"abilities": abilities}
    given(engine("e", **told), asked()).when(AssignJob("e")).then_reply(NO_WORK)


@pytest.mark.parametrize("abilities", [["recipes"], ["x", "recipes", "vmaf"]])
def test_an_engine_that_has_told_it_is_given_the_job(abilities: list[str]) -> None:
    story = given(engine("e", abilities=abilities), asked()).when(AssignJob("e"))
    story.then_reply(JobIs("a", is_new=True))


def test_all_abilities_are_needed() -> None:
    past = engine("e", abilities=["recipes"]), asked(needs=VMAF)
    given(*past).when(AssignJob("e")).then_reply(NO_WORK)


def test_a_job_that_needs_nothing_passes_one_that_does() -> None:
    given(engine("e"), asked("a"), job("b")).when(AssignJob("e")).then_reply(
        JobIs("b", is_new=True)
    )


def test_whoever_asks_for_any_engine_gets_an_able_one() -> None:
    story = given(
        engine("slow", benchmark_time=9.0),
        engine("able", benchmark_time=1.0, abilities=["recipes"]),
        asked(),
    ).when(AssignJob())
    assert story.fleet.jobs["a"].holder == "able"
    assert story.fleet.jobs["a"].considered == ("able",)


def test_an_engine_that_no_longer_tells_an_ability_gets_no_more() -> None:
    story = given(engine("e", abilities=["recipes"]), asked())
    story.when(ReportHeartbeat("e", {"abilities": []}))
    story.when(AssignJob("e")).then_reply(NO_WORK)


def test_a_job_is_not_kept_for_an_engine_that_lacks_an_ability() -> None:
    past: tuple[Event, ...] = (
        engine("e", abilities=["recipes"]),
        engine("other"),
        asked(),
        assigned("a", "e"),
        requeued("a", "e"),
    )
    given(*past).when(AssignJob("e")).then_reply(JobIs("a", is_new=True))
    able = engine("third", abilities=["recipes"])
    given(*past, able).when(AssignJob("e")).then_reply(NO_WORK)


def test_why_names_what_is_lacking_and_by_whom() -> None:
    past = engine("e", abilities=["recipes"]), engine("f"), asked(needs=VMAF)
    explanation = explain(given(*past).fleet, "a")
    assert explanation is not None
    assert explanation.because == "no engine has told that it can do what the job needs: vmaf"
    assert explanation.engines == [
        EngineAnswer("e", "ability", "it lacks what the job needs: vmaf"),
        EngineAnswer("f", "ability", "it lacks what the job needs: recipes, vmaf"),
    ]


def test_what_one_engine_has_is_not_said_to_be_lacking_everywhere() -> None:
    past = engine("e", abilities=["recipes"]), engine("f", abilities=["vmaf"]), asked(needs=VMAF)
    explanation = explain(given(*past).fleet, "a")
    assert explanation is not None
    assert explanation.because == (
        "no engine could take it now; see what stands in the way of each"
    )


def test_a_codec_is_the_greater_obstacle() -> None:
    fleet = given(engine("e", supported_codecs=["vp9"]), asked()).fleet
    assert obstacle(fleet, fleet.engines["e"], fleet.jobs["a"]) is Obstacle.CODEC


def test_a_retry_keeps_recipe_and_needs() -> None:
    story = given(engine("e"), asked(), JobCancelled("a", None, 0)).when(RetryJob("a"))
    assert story.fleet.jobs["a"].needs == ("recipes",)
    story.when(AssignJob("e")).then_reply(NO_WORK)


# Submissions


def test_a_submission_is_recorded_with_its_recipe() -> None:
    story = given().when(
        SubmitJob("a", "u", "h264", recipe=RECIPE, output_name="{stem}", needs=("recipes",))
    )
    (event,) = story.outcome.events
    assert isinstance(event, JobSubmitted)
    assert (event.recipe, event.output_name, event.needs) == (RECIPE, "{stem}", ("recipes",))


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"recipe": {"quality": 61.0}},
        {"recipe": {"name": "web", "quality": 60.0}},
        {"recipe": RECIPE, "output_name": "{stem}"},
    ],
)
def test_a_key_stands_for_one_recipe_and_output_name(other: dict[str, Any]) -> None:
    first = SubmitJob(None, "u", "h264", idempotency_key="k", recipe=RECIPE)
    story = given().when(first).when(first)
    story.then_reply(JobIs(next(iter(story.fleet.jobs)), is_new=False))
    story.when(SubmitJob(None, "u", "h264", idempotency_key="k", **other))
    story.then_rejected(Reason.KEY_REUSED)


def test_a_repeated_submission_that_names_a_recipe_may_find_that_the_name_stands_for_another() -> (
    None
):
    story = given()
    for quality in (60.0, 70.0):
        recipe = {"name": "web", "quality": quality}
        story.when(SubmitJob(None, "u", "h264", idempotency_key="k", recipe=recipe))
    story.then_reply(JobIs(next(iter(story.fleet.jobs)), is_new=False))


# Results


def test_a_result_is_recorded_with_the_completion_and_a_repeat_changes_nothing() -> None:
    story = given(engine("e"), job("a"), assigned("a", "e"))
    answer = CompleteJob("a", "out", result={"encoder": "libx264", "crf": 23.0})
    story.when(answer).then(JobCompleted("a", "e", 1, "out", {"encoder": "libx264", "crf": 23.0}))
    story.when(answer).then_nothing()
    story.when(CompleteJob("a", "out", result={"encoder": "other"})).then_nothing()


# Tags: abilities of the form tag:NAME, of which people read the name


def test_why_speaks_of_tags() -> None:
    past = engine("e", abilities=["tag:gpu"]), engine("f", abilities=["recipes"])
    fleet = given(*past, asked(needs=("recipes", "tag:4k", "tag:gpu"))).fleet
    explanation = explain(fleet, "a")
    assert explanation is not None
    assert explanation.because == "no engine has the tag 4k"
    assert [answer.because for answer in explanation.engines] == [
        "it does not have the tag 4k, and it lacks what the job needs: recipes",
        "it does not have the tags 4k, gpu",
    ]


def test_a_key_stands_for_one_set_of_tags() -> None:
    first = SubmitJob(None, "u", "h264", idempotency_key="k", needs=("recipes", "tag:gpu"))
    story = given().when(first).when(first)
    story.then_reply(JobIs(next(iter(story.fleet.jobs)), is_new=False))
    story.when(SubmitJob(None, "u", "h264", idempotency_key="k", needs=("recipes",)))
    story.then_rejected(Reason.KEY_REUSED)


def test_an_engine_that_rests_is_busy_and_why_says_so() -> None:
    past = engine("e", status="busy", resting="outside its hours"), asked(needs=())
    story = given(*past).when(AssignJob("e")).then_reply(NO_WORK)
    explanation = explain(story.fleet, "a")
    assert explanation is not None
    assert explanation.because == (
        "it is number 1 in the queue, and the engines that could take it take no new jobs now"
    )
    assert explanation.engines == [
        EngineAnswer("e", "busy", "it takes no new jobs now: outside its hours")
    ]
