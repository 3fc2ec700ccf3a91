"""Of two machines with one engine id, the newest works, and the other is told why it does not."""

from typing import Final

import pytest

from dispatcher.core.commands import (
    AssignJob,
    Command,
    CompleteJob,
    FailJob,
    LoseEngine,
    ReportHeartbeat,
    ResumeEngine,
)
from dispatcher.core.events import (
    MOST_REPLACED,
    EngineFenced,
    EngineReplaced,
    EngineReported,
    EngineResumed,
    EngineSeen,
)
from dispatcher.core.replies import Reason, Refused
from tests.support.given import OUTPUT, START, assigned, completed, engine, given, job, requeued

TAKEN_OVER: Final = (
    *(job("a"), engine("e", instance="old"), assigned("a", "e")),
    EngineReported("e", {"instance": "new"}),
    EngineReplaced("e", "new", "old", START),
)
TEXT: Final = (
    "Conflict: instance new took over engine e from instance old at 2024-01-01T00:00:00Z. Only one "
    "machine can use an engine id: give this one another, or stop it."
)


@pytest.mark.parametrize(
    "command",
    [
        ReportHeartbeat("e", {"instance": "old"}, "a", 1, 50.0),
        AssignJob("e", instance="old"),
        AssignJob("e", resume=True, instance="old"),
        CompleteJob("a", OUTPUT, "e", 1, "old"),
        CompleteJob("a", OUTPUT, instance="old"),
        FailJob("a", "broke", "e", 1, "old"),
        FailJob("a", "broke", instance="old"),
    ],
    ids=str,
)
def test_the_instance_that_was_replaced_is_refused_whatever_it_asks(command: Command) -> None:
    story = given(*TAKEN_OVER).when(command)
    assert story.outcome.reply == Refused(Reason.INSTANCE_REPLACED, TEXT)
    assert list(story.outcome.events) == [EngineFenced("e", "old")]
    assert story.fleet.jobs["a"].holder == "e"
    story.when(command)
    assert story.outcome == ((), Refused(Reason.INSTANCE_REPLACED, TEXT)), "it is recorded once"


def test_the_newest_instance_goes_on() -> None:
    story = given(*TAKEN_OVER)
    story.when(ReportHeartbeat("e", {"instance": "new"})).then(EngineSeen("e"))
    story.when(CompleteJob("a", OUTPUT, "e", 1, "new")).then(completed("a", "e"))


def test_two_that_alternate_are_found_out_and_the_job_pays_no_retry() -> None:
    story = given(job("a", max_retries=1), engine("e", instance="1"), assigned("a", "e"))
    story.when(ReportHeartbeat("e", {"instance": "2"})).then(
        EngineReported("e", {"instance": "2"}),
        EngineReplaced("e", "2", "1", START),
        requeued(
            *("a", "e"),
            retries=0,
            losses=1,
            error="engine e was restarted and no longer has the job",
            cause="engine_restarted",
            blames=False,
        ),
    )
    story.when(AssignJob("e", instance="2")).then(assigned("a", "e", 2))
    for _ in range(5):
        story.when(ReportHeartbeat("e", {"instance": "1"}, "a", 1))
        assert isinstance(story.outcome.reply, Refused)
        story.when(ReportHeartbeat("e", {"instance": "2"}, "a", 2)).then(EngineSeen("e"))
    assert story.fleet.jobs["a"].attempt == 2


def test_two_that_are_started_again_and_again_by_their_supervisors_do_not_kill_the_job() -> None:
    story = given(job("a", max_retries=1), engine("e", instance="A0"), assigned("a", "e"))
    for number in range(1, 30):
        for mine, other in (("B", "A"), ("A", "B")):
            last = number if other == "B" else number - 1
            story.when(ReportHeartbeat("e", {"instance": f"{mine}{number}"}))
            story.when(AssignJob("e", instance=f"{mine}{number}"))
            story.when(ReportHeartbeat("e", {"instance": f"{other}{last}"}))
            assert isinstance(story.outcome.reply, Refused)
            assert story.fleet.jobs["a"].status == "assigned"
            assert story.fleet.jobs["a"].setbacks.losses == 0


def test_a_refused_instance_is_no_sign_of_life() -> None:
    story = given(*TAKEN_OVER).when(LoseEngine("e", 60.0))
    story.when(ReportHeartbeat("e", {"instance": "old"}))
    assert not story.fleet.engines["e"].online


def test_who_tells_no_instance_is_never_refused() -> None:
    story = given(*TAKEN_OVER).when(ReportHeartbeat("e", {})).then(EngineSeen("e"))
    story.when(CompleteJob("a", OUTPUT, "e", 1)).then(completed("a", "e"))


def test_a_first_instance_replaces_nobody() -> None:
    given(engine("e")).when(ReportHeartbeat("e", {"instance": "1"})).then(
        EngineReported("e", {"instance": "1"})
    )


def test_only_the_id_of_the_engine_is_taken_over() -> None:
    story = given(*TAKEN_OVER, engine("f"))
    story.when(ReportHeartbeat("f", {"instance": "old"})).then(
        EngineReported("f", {"instance": "old"})
    )


def test_resuming_an_engine_clears_what_is_told_of_other_machines_and_lets_none_in() -> None:
    story = given(*TAKEN_OVER).when(ReportHeartbeat("e", {"instance": "old"}))
    story.when(ResumeEngine("e")).then(EngineResumed("e"))
    story.when(ReportHeartbeat("e", {"instance": "old"}))
    assert story.outcome == (
        (EngineFenced("e", "old"),),
        Refused(Reason.INSTANCE_REPLACED, TEXT),
    )


def test_the_instances_that_are_remembered_are_bounded() -> None:
    story = given(engine("e", instance="0"))
    for number in range(1, 3 * MOST_REPLACED):
        story.when(ReportHeartbeat("e", {"instance": str(number)}))
    former = story.fleet.engines["e"].replaced
    assert list(former) == [str(n) for n in range(2 * MOST_REPLACED - 1, 3 * MOST_REPLACED - 1)]
