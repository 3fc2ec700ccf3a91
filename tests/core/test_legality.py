"""A log that the core wrote holds no breach, and one that it did not write says where."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from shutil import copy
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from dispatcher.core import commands
from dispatcher.core.commands import Command
from dispatcher.core.decider import decide
from dispatcher.core.events import (
    ASKED_BY_NAME,
    AnswerRefused,
    EngineAsked,
    EngineBenchmarked,
    EngineBlamed,
    EngineBlocked,
    EngineDrained,
    EngineFenced,
    EngineForgotten,
    EngineLost,
    EngineReplaced,
    EngineReported,
    EngineResumed,
    EngineSeen,
    EngineUnblocked,
    Event,
    JobAssigned,
    JobCancelled,
    JobCompleted,
    JobFailedPermanently,
    JobMadeWhole,
    JobProgressed,
    JobReleased,
    JobReprioritized,
    JobRequeued,
    JobRetried,
    JobSplit,
    JobSubmitted,
)
from dispatcher.core.fleet import Fleet, evolve, micros_of
from dispatcher.core.job import MadeId
from dispatcher.core.legality import breach
from dispatcher.core.policy import Policy
from dispatcher.core.scheduling import Obstacle
from dispatcher.log import decoded, serialization
from dispatcher.log.sqlite import SqliteLog
from tests.support.fleet_contents import inside
from tests.support.given import START, assigned, completed, engine, failed, job, requeued
from tests.support.strategies import any_commands, any_events, policies

GOLDEN: Final = Path(__file__).parents[1] / "log" / "golden" / "schema-1.db"

Wish = tuple[Command, Policy, float]
"""A command, the settings of the dispatcher that was given it, and the seconds since the last."""

ids = st.sampled_from(["a", ""])
likely_commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(
        commands.SubmitJob,
        *(ids | st.sampled_from("bcdef"), st.just("u"), st.just("h264")),
        job_size=st.sampled_from([1.0, 50.0, 100.0]),
        max_retries=st.integers(1, 3),
        priority=st.sampled_from([0, 9]),
    ),
    st.builds(commands.ReportHeartbeat, ids, st.sampled_from([{}, {"benchmark_time": 1.0}])),
    st.builds(
        commands.ReportHeartbeat, ids, st.builds(dict, instance=st.sampled_from("12")), st.none()
    ),
    st.builds(
        commands.ReportHeartbeat, ids, st.just({}), ids, progress=st.sampled_from([1.0, 2.0])
    ),
    st.builds(commands.AssignJob, ids | st.none()),
    st.builds(commands.AssignJob, ids),
    st.builds(commands.FailJob, ids, st.just("broke")),
    st.builds(commands.FailJob, ids, st.just("away"), cause=st.just("source_away")),
    st.builds(commands.UnblockEngine, ids),
    st.builds(commands.NoticeAsking, ids, ids),
    st.builds(commands.CompleteJob, ids, st.just("u")),
    st.builds(commands.TimeOutJob, ids, st.integers(1, 3), st.just(60.0)),
    st.builds(commands.ReleaseJob, ids),
    st.builds(commands.RetryJob, ids),
    st.builds(commands.PrioritizeJob, ids, st.sampled_from([0, 9])),
    st.builds(
        commands.SubmitJob,
        *(st.sampled_from("mno"), st.just("u"), st.just("h264")),
        after=st.lists(st.sampled_from(["a", "", "m", "n"]), max_size=2, unique=True).map(tuple),
    ),
)
wishes = st.tuples(
    likely_commands | any_commands, policies, st.sampled_from([0.0, 1.0, 3600.0, -1.0, -3600.0])
)
a_block = [
    (commands.SubmitJob("g", "u", "h264"), Policy(), 0.0),
    (commands.ReportHeartbeat("a", {}), Policy(), 0.0),
    (commands.AssignJob("a"), Policy(), 0.0),
    (commands.FailJob("g", "broke", cause="engine_at_fault"), Policy(block_after=1), 0.0),
    (commands.UnblockEngine("a"), Policy(), 600.0),
]
a_source_that_one_alone_lacks = [
    (commands.SubmitJob("h", "u", "h264", priority=100), Policy(), 0.0),
    (commands.ReportHeartbeat("a", {}), Policy(), 0.0),
    (commands.ReportHeartbeat("", {}), Policy(), 0.0),
    (commands.AssignJob("a"), Policy(), 0.0),
    (commands.FailJob("h", "away", cause="source_away"), Policy(), 0.0),
    (commands.AssignJob(""), Policy(), 0.0),
    (commands.CompleteJob("h", "u"), Policy(block_after=1), 0.0),
]
a_fence = [
    (commands.ReportHeartbeat("f", {"instance": instance}), Policy(), 0.0) for instance in "121"
]
a_pause = [
    (commands.ReportHeartbeat("p", {"status": "idle"}), Policy(), 0.0),
    (commands.SubmitJob("i", "u", "h264", priority=100), Policy(), 0.0),
    (commands.AssignJob("p"), Policy(), 0.0),
    (commands.ReportHeartbeat("p", {}, "i", 1, 50.0), Policy(), 0.0),
    (commands.NoticeAsking("p", "i"), Policy(), 0.0),
    (commands.FailJob("i", "broke"), Policy(retry_backoff_s=9.0), 0.0),
    (commands.ReleaseJob("i"), Policy(), 9.0),
]
PARTS: Final = (commands.SubmitJob(None, "u", "h264"), commands.SubmitJob(None, "u", "vp9"))
"""Of a film; the first of them is given to an engine first."""
a_split = [
    (commands.ReportHeartbeat("s", {"status": "idle"}), Policy(), 0.0),
    (commands.SubmitJob("j", "u", "h264", priority=100), Policy(), 0.0),
    (commands.AssignJob("s"), Policy(), 0.0),
    (commands.SplitJob("j", PARTS, "s", 1), Policy(), 0.0),
]
FIRST_PART: Final = str(MadeId(micros_of(START), 0))
an_inexact_cut = [
    *a_split,
    (commands.AssignJob("s"), Policy(), 0.0),
    (commands.FailJob(FIRST_PART, "?", "s", 1, cause="inexact"), Policy(), 0.0),
]
"""It has to be the beginning: the id of a part is made of the time."""
histories = st.builds(
    lambda before, story, after: (
        [*story, *before, *after] if story is an_inexact_cut else [*before, *story, *after]
    ),
    st.lists(wishes, max_size=20),
    st.sampled_from(
        [
            *([], [], [], a_block, a_source_that_one_alone_lacks, a_fence, a_pause),
            *(a_split, an_inexact_cut),
        ]
    ),
    st.lists(wishes, min_size=30, max_size=40),
)


def outcomes(history: list[Wish]) -> Iterator[tuple[Fleet, list[Event]]]:
    """Let a history happen: give what follows from each wish, before it is folded."""
    fleet, at = Fleet(), START
    for command, policy, by_s in history:
        at += timedelta(seconds=by_s)
        outcome = decide(fleet, command, at, policy)
        events = list(outcome.events)
        yield fleet, events
        for event in events:
            evolve(fleet, event)


def genuine(history: list[Wish]) -> list[Event]:
    return [event for _, events in outcomes(history) for event in events]


def first_breach(events: list[Event]) -> str | None:
    fleet = Fleet()
    for event in events:
        if (found := breach(fleet, event)) is not None:
            return found
        evolve(fleet, event)
    return None


# What the core decides is no breach


def test_nothing_that_the_core_decides_is_a_breach() -> None:
    reached: set[type[Event]] = set()

    @settings(max_examples=400)
    @examples(histories)
    def explore(history: list[Wish]) -> None:
        events = genuine(history)
        assert first_breach(events) is None
        reached.update(map(type, events))

    explore()
    assert reached == set(serialization.NAMES), "a kind of event was never reached"


@pytest.mark.anyio
async def test_a_log_of_old_holds_no_breach(tmp_path: Path) -> None:
    async with await SqliteLog.open_for_reading(Path(copy(GOLDEN, tmp_path))) as log:
        recorded = [it async for page in log.entries() for it in decoded(page)]
    assert len(recorded) == log.head > 0
    assert first_breach([it.event for it in recorded]) is None


@examples(st.lists(any_events, max_size=40))
def test_any_event_may_be_asked_about_anywhere_and_nothing_changes(events: list[Event]) -> None:
    fleet = Fleet()
    for event in events:
        before = inside(fleet)
        breach(fleet, event)
        assert inside(fleet) == before
        evolve(fleet, event)


# What the core would not decide is one

SAME_FIELDS: Final[dict[type[Event], Callable[..., Command]]] = {
    JobReleased: commands.ReleaseJob,
    EngineReported: commands.ReportHeartbeat,
    EngineBenchmarked: commands.ReportBenchmark,
    EngineAsked: commands.NoticeAsking,
    EngineUnblocked: commands.UnblockEngine,
    EngineDrained: commands.DrainEngine,
    EngineResumed: commands.ResumeEngine,
    EngineForgotten: commands.ForgetEngine,
}


def command_for(event: Event) -> Command | None:
    """Give the command that an event is the first outcome of; `None` if there is none."""
    match event:
        case JobSubmitted(parent=str()) | JobCancelled(because_of=str()):
            return None
        case JobRetried(because_of=str()) | JobSplit() | JobMadeWhole():
            return None
        case JobFailedPermanently(cause="inexact" | "prerequisite_failed"):
            return None
        case JobSubmitted(job_id, url, for_codec, size, max_retries, priority, _, key):
            return commands.SubmitJob(
                *(job_id, url, for_codec, size, max_retries, priority, key),
                *(event.recipe or None, event.output_name or None, event.needs or ()),
                event.after or (),
            )
        case JobRetried(job_id):
            return commands.RetryJob(job_id)
        case JobAssigned(_, engine_id, _, rule):
            return commands.AssignJob(engine_id if rule == ASKED_BY_NAME else None)
        case JobCompleted(job_id, _, _, output_url, result):
            return commands.CompleteJob(job_id, output_url, result=result or None)
        case (
            JobRequeued(cause="reported" | "engine_at_fault" | "source_bad" as cause)
            | JobFailedPermanently(cause="reported" | "engine_at_fault" | "source_bad" as cause)
        ):
            return commands.FailJob(event.job_id, "", cause=cause)
        case JobRequeued(job_id, engine_id, cause="given_back"):
            return commands.FailJob(job_id, "", engine_id, cause="given_back")
        case JobRequeued(cause="timed_out") | JobFailedPermanently(cause="timed_out"):
            return commands.TimeOutJob(event.job_id, event.attempt, 60.0)
        case JobProgressed(job_id, engine_id, attempt, progress):
            return commands.ReportHeartbeat(engine_id, {}, job_id, attempt, progress)
        case JobCancelled(job_id):
            return commands.CancelJob(job_id)
        case JobReprioritized(job_id, priority):
            return commands.PrioritizeJob(job_id, priority)
        case AnswerRefused(job_id, engine_id, attempt):
            return commands.FailJob(job_id, "", engine_id, attempt)
        case EngineSeen(engine_id):
            return commands.ReportHeartbeat(engine_id, {})
        case EngineFenced(engine_id, instance):
            return commands.ReportHeartbeat(engine_id, {"instance": instance})
        case EngineLost(engine_id, silent_s):
            return commands.LoseEngine(engine_id, silent_s)
        case (
            JobRequeued()
            | JobFailedPermanently()
            | EngineBlocked()
            | EngineBlamed()
            | EngineReplaced()
        ):
            return None
        case _:
            return SAME_FIELDS[type(event)](*msgspec.structs.astuple(event))


def bare(event: Event) -> dict[str, Any]:
    """Leave out what the settings say, and the words."""
    unsaid = {"waits_since", "not_before", "error_message", "answer", "reason"}
    unsaid |= {"source_waited_s", "since", "until"}
    fields = msgspec.structs.asdict(event)
    return {"": type(event), **{k: v for k, v in fields.items() if k not in unsaid}}


@settings(max_examples=60)
@examples(histories)
def test_an_event_is_no_breach_where_its_command_would_bring_it_about_and_nowhere_else(
    history: list[Wish],
) -> None:
    asked = [(event, it) for event in genuine(history) if (it := command_for(event)) is not None]
    for fleet, _ in outcomes(history):
        for event, command in asked:
            at = getattr(event, "arrived_at", None) or START
            outcome = decide(fleet, command, at, Policy())
            events = outcome.events
            could_be = [bare(first) for first in events[:1]] == [bare(event)]
            assert (breach(fleet, event) is None) == could_be, event


@settings(max_examples=60)
@examples(histories)
def test_nothing_that_changes_anything_happens_twice_in_a_row(history: list[Wish]) -> None:
    fleet = Fleet()
    for event in genuine(history):
        evolve(fleet, event)
        if not isinstance(event, AnswerRefused | EngineSeen | EngineBenchmarked):
            assert breach(fleet, event) is not None


def lives(events: list[Event]) -> dict[str, list[int]]:
    """Give, for each job, where in a log its state changes."""
    found: dict[str, list[int]] = {}
    for place, event in enumerate(events):
        leaves_it = isinstance(
            event, JobProgressed | JobReprioritized | AnswerRefused | EngineAsked | EngineBlamed
        )
        if not leaves_it and hasattr(event, "job_id"):
            found.setdefault(event.job_id, []).append(place)
    return found


def can_be_missed(event: Event, after: Event) -> bool:
    """Whether the next event in a job's life could not have come without this one.

    A pause does not keep a client from failing the job again, nor does a failure of nobody's
    leave a trace but its count.
    """
    if isinstance(event, JobReleased):
        return isinstance(after, JobAssigned)
    return not isinstance(event, JobRequeued) or event.engine_id is not None


@settings(max_examples=60)
@examples(histories)
def test_what_is_cut_out_of_a_jobs_life_is_missed_before_the_next_of_it_is_over(
    history: list[Wish],
) -> None:
    events = genuine(history)
    for places in lives(events).values():
        for place, after in pairwise(places):
            if can_be_missed(events[place], events[after]):
                rest = [*events[:place], *events[place + 1 : after + 1]]
                assert first_breach(rest) is not None, (events[place], events[after])


@settings(max_examples=60)
@examples(histories)
def test_two_neighbours_of_a_jobs_life_can_not_change_places(history: list[Wish]) -> None:
    events = genuine(history)
    for places in lives(events).values():
        for place, after in pairwise(places):
            first, second = events[place], events[after]
            if after == place + 1 and not (
                isinstance(first, JobReleased) and isinstance(second, JobRequeued)
            ):
                assert first_breach([*events[:place], second, first]) is not None


# What is said of it

WAITS: Final = (job("a", key="k"), engine("e"), engine("f"))
HELD: Final = (*WAITS, assigned("a", "e"))
FAILED: Final = (*HELD, requeued("a", "e"))
DONE: Final = (*HELD, completed("a", "e"))
LOST: Final = (*WAITS, EngineLost("e", 60.0))
TORN: Final = (*HELD, EngineLost("e", 60.0))
LAST_TRY: Final = (job("a", max_retries=1), engine("e"), assigned("a", "e"))
SIZED: Final = (*WAITS, EngineBenchmarked("e", 1.0), EngineBenchmarked("f", 9.0))
FORGOTTEN: Final[dict[str, Any]] = {"cause": "engine_forgotten", "blames": False}
SMALL: Final = "small: slowest"


def arrival(job_id: str, arrived_s: float, since_s: float, priority: int = 0) -> JobSubmitted:
    submitted = job(job_id, waits_since_s=since_s, priority=priority)
    return msgspec.structs.replace(submitted, arrived_at=START + timedelta(seconds=arrived_s))


Story = tuple[tuple[Event, ...], Event, str]
"""The past, the event that does not follow from it, and what is said of that."""

SUBMISSIONS: Final[list[Story]] = [
    (WAITS, job("a"), "job a is submitted, but there is a job of that id already"),
    (WAITS, job("b", key="k"), "job b is submitted with Idempotency-Key 'k', but job a has it"),
    (
        (arrival("a", 1, 1),),
        arrival("b", 0, 0),
        f"job b arrives at {START}, before an earlier one, of {START + timedelta(seconds=1)}",
    ),
    (
        (),
        arrival("a", 1, 0),
        f"job a waits since {START}, but arrived at {START + timedelta(seconds=1)} with priority 0",
    ),
    (
        (),
        arrival("a", 0, 1, priority=1),
        f"job a waits since {START + timedelta(seconds=1)}, but arrived at {START} with priority 1",
    ),
]
ASSIGNMENTS: Final[list[Story]] = [
    (WAITS, assigned("ghost", "e"), "job ghost was never submitted"),
    (WAITS, assigned("a", "ghost"), "engine ghost is not on the list"),
    (HELD, assigned("a", "f", 2), "job a is given to engine f while engine e holds it"),
    (DONE, assigned("a", "f", 2), "job a is given to engine f, but it is completed already"),
    (FAILED, assigned("a", "f", 3), "attempt 3 of job a follows attempt 1"),
    (WAITS, assigned("a", "f", 0), "attempt 0 of job a follows attempt 0"),
    (
        (*HELD, job("b")),
        assigned("b", "e"),
        "job b is given to engine e while that holds job a",
    ),
    (
        LOST,
        assigned("a", "e", rule=SMALL, considered=["e"]),
        "job a is given to engine e, which may not have it: it is offline",
    ),
    (
        WAITS,
        assigned("a", "e", rule=SMALL, considered=["e"]),
        "job a is given to engine e (small: slowest, of e), but no engine can be chosen",
    ),
    (
        (*WAITS, job("b")),
        assigned("b", "e"),
        "job b is given to engine e (asked by name), but next is job a to engine e (asked by name)",
    ),
    (
        SIZED,
        assigned("a", "e", rule=SMALL),
        f"job a is given to engine e ({SMALL}), but next is job a to engine f ({SMALL}, of e, f)",
    ),
]
JOBS: Final[list[Story]] = [
    (HELD, completed("ghost", "e"), "job ghost was never submitted"),
    (DONE, completed("a", None), "job a is completed, but it is completed already"),
    (HELD, completed("a", "f"), "job a is completed on engine f, but engine e holds it"),
    (FAILED, completed("a", "e"), "job a is completed on engine e, but no engine holds it"),
    (HELD, completed("a", None), "job a is completed on no engine, but engine e holds it"),
    (HELD, completed("a", "e", 2), "job a is completed in attempt 2, but is at 1"),
    (TORN, completed("a", "e"), "engine e was lost, but job a was not taken from it"),
    (HELD, JobCancelled("a", None, 1), "job a is cancelled on no engine, but engine e holds it"),
    (WAITS, JobCancelled("a", None, 1), "job a is cancelled in attempt 1, but is at 0"),
    (
        HELD,
        JobProgressed("a", "f", 1, 9.0),
        "job a progresses on engine f, but engine e holds it",
    ),
    (
        (*HELD, JobProgressed("a", "e", 1, 9.0)),
        JobProgressed("a", "e", 1, 9.0),
        "job a is at 9.0 % already",
    ),
    (WAITS, JobReleased("a"), "job a is released, but is in no pause"),
    (WAITS, JobReleased("ghost"), "job ghost was never submitted"),
    (HELD, JobRetried("a"), "job a is retried, but is assigned"),
    (HELD, JobReprioritized("a", 5, START), "job a is given priority 5, but is assigned"),
    (DONE, JobReprioritized("a", 5, START), "job a is given priority 5, but is completed"),
    (WAITS, JobReprioritized("a", 0, START), "job a is given priority 0, which it has already"),
    (WAITS, JobReprioritized("ghost", 5, START), "job ghost was never submitted"),
    (
        (arrival("a", 1, 1),),
        JobReprioritized("a", 5, START + timedelta(seconds=2)),
        (
            f"job a is given priority 5 and waits since {START + timedelta(seconds=2)}, "
            f"but arrived at {START + timedelta(seconds=1)}"
        ),
    ),
    (DONE, JobRetried("a"), "job a is retried, but is completed"),
    (
        HELD,
        AnswerRefused("a", "e", 1, "fail", ""),
        "an answer to job a is refused as late, but is not",
    ),
]
ENDS: Final[list[Story]] = [
    (HELD, requeued("a", "f"), "job a is re-queued on engine f, but engine e holds it"),
    (HELD, failed("a", "e", attempt=2), "job a fails for good in attempt 2, but is at 1"),
    (DONE, failed("a", None), "job a fails for good, but it is completed already"),
    (
        WAITS,
        requeued("a", None, attempt=0, cause="timed_out"),
        "job a is re-queued for timed_out, but no engine holds it",
    ),
    (
        HELD,
        requeued("a", "e", cause="engine_silent"),
        "job a is re-queued for engine_silent, but engine e is not lost",
    ),
    (
        HELD,
        requeued("a", "e", cause="engine_restarted"),
        "job a is re-queued for engine_restarted, but engine e never told its instance",
    ),
    (
        HELD,
        requeued("a", "e", cause="engine_asked"),
        "job a is re-queued for engine_asked, but engine e did not ask for other work",
    ),
    (
        (*HELD, EngineAsked("e", "a")),
        requeued("a", "e", retries=0, losses=2, cause="engine_asked", blames=False),
        "job a is re-queued with losses 2, but by engine_asked they are 1",
    ),
    (
        HELD,
        requeued("a", "e", retries=0, source_tries=2, cause="source_away", blames=False),
        "job a is re-queued with 2 tries for its source, but by source_away they are 1",
    ),
    (
        HELD,
        requeued("a", "e", cause="source_bad", blames=False),
        "job a is re-queued, but its source is bad",
    ),
    (
        TORN,
        requeued("a", "e", cause="timed_out"),
        "engine e was lost, but job a was not taken from it",
    ),
    (
        HELD,
        requeued("a", "e", retries=2),
        "job a is re-queued with retries 2, but by reported they are 1",
    ),
    (
        HELD,
        requeued("a", "e", retries=1, **FORGOTTEN),
        "job a is re-queued with retries 1, but by engine_forgotten they are 0",
    ),
    (HELD, failed("a", "e"), "job a fails for good, but its retries, 1 of 3, are not used up"),
    (LAST_TRY, requeued("a", "e"), "job a is re-queued, but its retries, 1 of 1, are used up"),
    (
        LAST_TRY,
        failed("a", "e", retries=0, **FORGOTTEN),
        "job a fails for good, but its retries, 0 of 1, are not used up",
    ),
    (
        HELD,
        requeued("a", "e", blames=False),
        "job a is re-queued, but engine e is to blame for that",
    ),
    (
        (*FAILED, assigned("a", "f", 2)),
        requeued("a", "f", attempt=2, retries=2),
        "job a is re-queued, but no engine is to blame for that",
    ),
    (
        HELD,
        requeued("a", "e", retries=0, not_before=START, **FORGOTTEN),
        "job a is re-queued with a pause, but there is none by engine_forgotten",
    ),
]
ENGINES: Final[list[Story]] = [
    (WAITS, EngineSeen("ghost"), "engine ghost is not on the list"),
    (WAITS, EngineForgotten("ghost"), "engine ghost is not on the list"),
    (WAITS, engine("e"), "engine e reports nothing, which is no news"),
    (
        (engine("e", gpu="hot", fan=1),),
        engine("e", gpu="hot", fan=1.0),
        "engine e reports gpu, which is no news",
    ),
    (LOST, EngineLost("e", 60.0), "engine e is lost, but is offline already"),
    (TORN, EngineSeen("e"), "engine e was lost, but job a was not taken from it"),
    (WAITS, EngineBlocked("e", ""), "engine e is blocked, but has not just failed a job"),
    (HELD, EngineBlocked("e", ""), "engine e is blocked, but has not just failed a job"),
    (
        (*FAILED, EngineBlocked("e", "")),
        EngineBlocked("e", ""),
        "engine e is blocked, but is so already",
    ),
    (
        (*WAITS, EngineDrained("e")),
        EngineDrained("e"),
        "engine e is drained, but is so already",
    ),
    (WAITS, EngineResumed("e"), "engine e is resumed, but is neither drained nor blocked"),
    (HELD, EngineForgotten("e"), "engine e is forgotten while it holds job a"),
    (
        WAITS,
        EngineReplaced("e", "2", "1", START),
        "engine e is taken over by instance 2, but another one speaks for it",
    ),
    (
        (engine("e", instance="2"), EngineReplaced("e", "2", "1", START)),
        EngineReplaced("e", "2", "1", START),
        "engine e is taken over from instance 1, which did not speak for it",
    ),
    (
        (engine("e", instance="2"), EngineReplaced("e", "2", "1", START)),
        EngineFenced("e", "2"),
        "engine e refuses instance 2, but that was not replaced, or is known already",
    ),
    (WAITS, EngineAsked("e", "a"), "engine e asks for other work, but does not hold job a"),
    (
        (*HELD, EngineAsked("e", "a")),
        EngineAsked("e", "a"),
        "engine e asks for other work, which is no news or no sign",
    ),
    (
        DONE,
        EngineBlamed("e", "a"),
        "engine e is blamed for job a, but did not alone lack its source",
    ),
    (
        (*FAILED, EngineBlocked("e", "")),
        EngineUnblocked("e"),
        "engine e is unblocked, but there is no end of a block to come",
    ),
]


@pytest.mark.parametrize(
    ("past", "event", "sentence"), [*SUBMISSIONS, *ASSIGNMENTS, *JOBS, *ENDS, *ENGINES]
)
def test_a_breach_is_told_in_a_sentence(
    past: tuple[Event, ...], event: Event, sentence: str
) -> None:
    assert first_breach(list(past)) is None, "the past itself is at fault"
    assert first_breach([*past, event]) == sentence


@pytest.mark.parametrize(
    ("more", "attempt", "obstacle"),
    [
        ([engine("e", supported_codecs=["av1"])], 1, Obstacle.CODEC),
        ([engine("e", storage_capacity_gb=0.001)], 1, Obstacle.STORAGE),
        ([engine("e", status="busy")], 1, Obstacle.BUSY),
        ([EngineDrained("e")], 1, Obstacle.DRAINED),
        ([assigned("a", "e"), requeued("a", "e"), EngineBlocked("e", "")], 2, Obstacle.BLOCKED),
        ([assigned("a", "e"), requeued("a", "e")], 2, Obstacle.FAILED_IT),
        ([assigned("a", "f"), requeued("a", "f", not_before=START)], 2, Obstacle.BACKOFF),
    ],
)
def test_an_obstacle_to_an_assignment_is_named(
    more: list[Event], attempt: int, obstacle: Obstacle
) -> None:
    assert first_breach([*WAITS, *more]) is None, "the past itself is at fault"
    assert first_breach([*WAITS, *more, assigned("a", "e", attempt)]) == (
        f"job a is given to engine e, which may not have it: {obstacle.value}"
    )
