"""Engines that say little and ask for other work while they hold a job: the job is not stuck."""

from collections.abc import Sequence

import pytest

from dispatcher.core.commands import AssignJob, CompleteJob, ForgetEngine, ReportHeartbeat
from dispatcher.core.dispatcher import Effect, Settle
from dispatcher.core.events import EngineAsked, Event, JobRequeued
from dispatcher.core.explanations import explain
from dispatcher.core.replies import NO_WORK, JobIs
from tests.support.driven import Driven, replies
from tests.support.given import OUTPUT, assigned, engine, job

HELD = (job("a"), job("b"), engine("e", status="idle"), assigned("a", "e"))


def happened(effects: Sequence[Effect]) -> list[Event]:
    settled = (effect for effect in effects if isinstance(effect, Settle))
    return [recorded.event for settle in settled for recorded in settle.records]


def poll(driven: Driven, seconds: float, *, every_s: float = 5.0) -> list[Event]:
    """Let the engine beat and ask by name every few seconds; give what came of its asking."""
    found: list[Event] = []
    for _ in range(int(seconds / every_s)):
        driven.now_s += every_s
        driven.tick()
        driven.take(ReportHeartbeat("e", {"status": "idle"}))
        found += happened(driven.take(AssignJob("e"), "poll"))
    return found


def because(driven: Driven) -> str:
    explanation = explain(driven.core.fleet, "a")
    assert explanation is not None
    return explanation.because


def test_an_engine_that_asks_throughout_a_lease_does_not_have_its_job_any_more() -> None:
    driven = Driven(*HELD)
    assert poll(driven, 60.0) == [EngineAsked("e", "a")]
    driven.now_s += 5.0
    effects = driven.take(AssignJob("e"), "poll")
    (lost, *_) = happened(effects)
    assert isinstance(lost, JobRequeued)
    assert (lost.cause, lost.retries, lost.losses, lost.blames_engine) == (
        *("engine_asked", 0, 1),
        False,
    )
    assert lost.error_message == (
        "engine e asked for other work for 60 s while it held the job, so it no longer has it"
    )
    assert driven.core.fleet.jobs["a"].status == "assigned", "nobody else could take it"
    assert driven.core.fleet.jobs["a"].attempt == 2


def test_each_of_its_requests_before_is_told_that_there_is_no_work() -> None:
    driven = Driven(*HELD)
    for _ in range(12):
        driven.now_s += 5.0
        assert replies(driven.take(AssignJob("e"), "poll"))[-1] == ("poll", NO_WORK)


def test_why_tells_of_it_meanwhile() -> None:
    driven = Driven(*HELD)
    assert because(driven) == "engine e holds it, attempt 1"
    assert poll(driven, 15.0) == [], "a request may be sent twice"
    poll(driven, 10.0)
    assert because(driven) == (
        "engine e holds it, attempt 1; but the engine asked for other work, and if it does so for "
        "a whole lease, it no longer has the job, which is then re-queued"
    )


def test_an_engine_that_completes_its_job_meanwhile_is_as_any_other() -> None:
    driven = Driven(*HELD)
    poll(driven, 55.0)
    driven.take(CompleteJob("a", OUTPUT))
    assert replies(driven.take(AssignJob("e"), "poll")) == [("poll", JobIs("b", is_new=True))]
    assert not driven.core.fleet.engines["e"].asks
    assert poll(driven, 55.0) == [EngineAsked("e", "b")]


@pytest.mark.parametrize("gap_s", [60.5, 300.0])
def test_a_gap_of_more_than_a_lease_begins_anew(gap_s: float) -> None:
    driven = Driven(*HELD)
    poll(driven, 55.0)
    driven.now_s += gap_s - 5.0
    assert poll(driven, 60.0) == []
    assert driven.core.fleet.jobs["a"].attempt == 1


@pytest.mark.parametrize("every_s", [1.0, 31.0, 45.0, 60.0])
def test_polls_may_be_a_lease_apart(every_s: float) -> None:
    driven = Driven(*HELD)
    found = poll(driven, 300.0, every_s=every_s)
    assert [type(event) for event in found[:2]] == [EngineAsked, JobRequeued]


@pytest.mark.parametrize(
    "told",
    [
        ReportHeartbeat("e", {"instance": "1"}, "a"),
        ReportHeartbeat("e", {}, "a", 1),
        ReportHeartbeat("e", {"status": "busy"}),
    ],
    ids=str,
)
def test_an_engine_that_tells_what_it_does_is_believed(told: ReportHeartbeat) -> None:
    driven = Driven(*HELD)
    driven.take(told)
    for _ in range(100):
        driven.now_s += 5.0
        assert happened(driven.take(AssignJob("e"), "poll")) == []


@pytest.mark.parametrize("current_job", ["", "other"])
def test_an_engine_that_names_another_job_does_not_tell_that_it_has_its_own(
    current_job: str,
) -> None:
    driven = Driven(*HELD)
    driven.take(ReportHeartbeat("e", {}, current_job))
    found = poll(driven, 70.0)
    assert [type(event) for event in found[:2]] == [EngineAsked, JobRequeued]


def test_what_is_known_of_an_engine_is_forgotten_with_it() -> None:
    driven = Driven(*HELD)
    driven.take(ReportHeartbeat("e", {}, "a"))
    driven.take(AssignJob("e"), "poll")
    driven.take(ForgetEngine("e"))
    assert not driven.core._asking._tells_job
    assert not driven.core._asking._series


def test_an_engine_that_asks_for_the_job_that_it_holds_has_it() -> None:
    driven = Driven(*HELD)
    for _ in range(100):
        driven.now_s += 5.0
        effects = driven.take(AssignJob("e", resume=True), "poll")
        assert replies(effects) == [("poll", JobIs("a", is_new=False))]
    assert driven.core.fleet.jobs["a"].attempt == 1


def test_requests_that_wait_count_for_as_long_as_they_may() -> None:
    driven = Driven(*HELD)
    found: list[Event] = []
    for _ in range(3):
        found += happened(driven.take(AssignJob("e"), "poll", wait_s=50.0))
        driven.now_s += 50.0
        driven.core.end_wait("poll")
        driven.now_s += 1.0
    assert [type(event) for event in found[:2]] == [EngineAsked, JobRequeued]


def test_a_request_for_any_engine_is_no_sign() -> None:
    driven = Driven(*HELD)
    for _ in range(100):
        driven.now_s += 5.0
        assert happened(driven.take(AssignJob(), "poll")) == []


def test_after_a_restart_of_the_dispatcher_a_whole_lease_counts_again() -> None:
    driven = Driven(*HELD, EngineAsked("e", "a"))
    assert poll(driven, 60.0) == []
    driven.now_s += 5.0
    assert [type(it) for it in happened(driven.take(AssignJob("e"), "poll"))][:1] == [JobRequeued]
