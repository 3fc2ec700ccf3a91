"""Why a job is where it is."""

from typing import Any

import pytest

from dispatcher.core.commands import AssignJob, CompleteJob
from dispatcher.core.events import (
    EngineBlocked,
    EngineDrained,
    EngineLost,
    Event,
    JobCancelled,
    JobReleased,
)
from dispatcher.core.explanations import explain
from dispatcher.core.replies import EngineAnswer, Explanation
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


def explained(*events: Event, job_id: str = "a") -> Explanation:
    explanation = explain(given(*events).fleet, job_id)
    assert explanation is not None
    return explanation


def answer_of(explanation: Explanation, engine_id: str = "e") -> EngineAnswer:
    return next(it for it in explanation.engines if it.engine_id == engine_id)


def test_there_is_nothing_to_say_of_an_unknown_job() -> None:
    assert explain(given().fleet, "a") is None


# Pending


def test_a_pending_job_is_told_its_place_in_the_queue() -> None:
    past = (job("b"), job("c", codec="vp9"), job("a"), job("d"))
    explanation = explained(*past)
    assert (explanation.status, explanation.place, explanation.waiting) == ("pending", 3, 4)
    assert explained(*past, job_id="b").place == 1
    assert explained(*past, job_id="d").place == 4


def test_the_place_is_that_of_its_priority_and_counts_no_job_in_its_pause() -> None:
    past = (
        job("low", waits_since_s=0.0),
        job("paused", waits_since_s=-900.0),
        engine("e"),
        assigned("paused", "e"),
        requeued("paused", "e", not_before=START),
        job("a", waits_since_s=-600.0),
    )
    assert explained(*past).place == 1
    assert explained(*past, job_id="low").place == 2
    assert explained(*past, job_id="low").waiting == 3


STAND_IN_THE_WAY: list[Any] = [
    pytest.param((engine("e", supported_codecs=["av1"]),), "codec", "codec", id="codec"),
    pytest.param((engine("e", storage_capacity_gb=0.001),), "storage", "storage", id="storage"),
    pytest.param((engine("e"), EngineBlocked("e", "WHY")), "blocked", "WHY", id="blocked"),
    pytest.param((engine("e"), EngineDrained("e")), "drained", "drained", id="drained"),
    pytest.param((engine("e"), EngineLost("e", 60.0)), "offline", "offline", id="offline"),
    pytest.param((engine("e", status="busy"),), "busy", "busy", id="it says busy"),
    pytest.param((engine("e"), job("b"), assigned("b", "e")), "busy", "busy", id="it holds one"),
    pytest.param(
        (engine("e"), engine("f"), assigned("a", "e"), requeued("a", "e")),
        *("failed_it", "did not succeed on it before"),
        id="failed it",
    ),
    pytest.param(
        (engine("e"), requeued("a", None, not_before=START)), "backoff", "pause", id="backoff"
    ),
    pytest.param(
        (engine("e", status="busy"), EngineLost("e", 60.0)),
        *("offline", "offline"),
        id="it said busy and fell silent",
    ),
]


@pytest.mark.parametrize(("past", "obstacle", "words"), STAND_IN_THE_WAY)
def test_a_pending_job_is_told_what_stands_in_the_way_of_an_engine(
    past: tuple[Event, ...], obstacle: str, words: str
) -> None:
    answer = answer_of(explained(job("a"), *past))
    assert answer.obstacle == obstacle
    assert words in (answer.because or "")


def test_every_engine_answers_in_order_of_registration() -> None:
    explanation = explained(
        job("a"), engine("z"), engine("busy", status="busy"), engine("a", supported_codecs=["av1"])
    )
    assert [(it.engine_id, it.obstacle) for it in explanation.engines] == [
        ("z", None),
        ("busy", "busy"),
        ("a", "codec"),
    ]
    assert answer_of(explanation, "z").because is None


def test_the_obstacle_that_lasts_longest_is_told() -> None:
    hopeless = engine("e", supported_codecs=["av1"], status="busy", storage_capacity_gb=0)
    past = (hopeless, EngineDrained("e"), EngineBlocked("e", "WHY"), EngineLost("e", 60.0))
    assert answer_of(explained(job("a"), *past)).obstacle == "codec"


@pytest.mark.parametrize(
    ("past", "because"),
    [
        ((), "no engine is registered"),
        ((engine("e"),), "it is number 1 in the queue, and an engine that could take it is free"),
        (
            (engine("e", status="busy"), engine("f", supported_codecs=["av1"])),
            "it is number 1 in the queue, and the engines that could take it are busy",
        ),
        (
            (engine("e", supported_codecs=["av1"]), engine("f"), EngineLost("f", 60.0)),
            "no engine could take it now; see what stands in the way of each",
        ),
        (
            (engine("e"), requeued("a", None, not_before=START)),
            "it is in its pause after a failure",
        ),
    ],
)
def test_a_sentence_says_why_a_job_waits(past: tuple[Event, ...], because: str) -> None:
    assert explained(job("a"), *past).because == because


def test_a_job_in_its_pause_has_no_place_until_it_is_released() -> None:
    past = (job("a"), engine("e"), assigned("a", "e"), requeued("a", "e", not_before=START))
    assert explained(*past).place is None
    released = explained(*past, JobReleased("a"))
    assert (released.place, answer_of(released).obstacle) == (1, None)


def test_a_job_that_no_engine_is_left_for_waits_and_says_so() -> None:
    story = given(job("a", codec="av1"), engine("e", supported_codecs=["h264"]))
    story.when(AssignJob("e")).then_nothing()
    explanation = explain(story.fleet, "a")
    assert explanation is not None
    assert explanation.status == "pending"
    assert explanation.because.startswith("no engine could take it now")


# Assigned and after


def test_an_assigned_job_is_told_the_rule_that_chose_and_who_was_considered() -> None:
    story = given(
        job("a", size=75.0),
        engine("slow", benchmark_time=9.0),
        engine("fast", benchmark_time=1.0),
        engine("unknown"),
        engine("busy", benchmark_time=0.5, status="busy"),
    ).when(AssignJob())
    assert explain(story.fleet, "a") == Explanation(
        *("a", "assigned", "engine fast holds it, attempt 1"),
        engine_id="fast",
        attempt=1,
        rule="medium: fastest",
        considered=("slow", "fast"),
    )


def test_who_asked_by_name_was_considered_alone() -> None:
    explanation = explained(job("a"), engine("e"), assigned("a", "e"))
    assert (explanation.rule, explanation.considered) == ("asked by name", ())


def test_of_many_engines_some_are_named() -> None:
    story = given(job("a"), *(engine(f"e{n}", benchmark_time=1.0) for n in range(50)))
    story.when(AssignJob())
    explanation = explain(story.fleet, "a")
    assert explanation is not None
    assert explanation.considered == tuple(f"e{n}" for n in range(20))


@pytest.mark.parametrize(
    ("last", "because"),
    [
        (completed("a", "e"), f"its output is at {OUTPUT}"),
        (
            failed("a", "e", retries=3, error="no disk"),
            "its failures have used up its retries; the last was: no disk",
        ),
        (JobCancelled("a", "e", 1), "it was cancelled"),
    ],
)
def test_a_job_that_ended_is_told_how_and_who_had_it(last: Event, because: str) -> None:
    explanation = explained(job("a"), engine("e"), assigned("a", "e"), last)
    assert (explanation.because, explanation.engine_id) == (because, "e")
    assert explanation.engines == []


def test_a_job_that_was_never_assigned_tells_of_no_rule() -> None:
    story = given(job("a")).when(CompleteJob("a", OUTPUT))
    explanation = explain(story.fleet, "a")
    assert explanation is not None
    assert (explanation.engine_id, explanation.attempt, explanation.rule) == (None, None, None)
