"""Replaying the log gives what was live, at every seq, and the laws of the fleet hold there."""

import asyncio
import operator
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import msgspec
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from dispatcher.core.commands import (
    AssignJob,
    CancelJob,
    Command,
    CompleteJob,
    FailJob,
    NoticeAsking,
    ReleaseJob,
    ReportHeartbeat,
    RetryJob,
    SplitJob,
    SubmitJob,
    UnblockEngine,
)
from dispatcher.core.decider import decide
from dispatcher.core.events import Event, JobRetried, Recorded
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.core.invariants import check_choices, check_fleet, check_jobs
from dispatcher.core.policy import Policy
from dispatcher.log import serialization
from dispatcher.log.sqlite import SqliteLog
from dispatcher.state.agreement import check_shown
from dispatcher.state.replay import State, replay
from projections import Projections
from tests.support.fleet_contents import inside
from tests.support.given import START
from tests.support.log_contents import encoded, recorded_in
from tests.support.strategies import any_commands, any_events, policies

T = TypeVar("T")
UNDER_WAY: Final[list[Command]] = [
    ReportHeartbeat("a", {}),
    SubmitJob("a", "u", "h264"),
    AssignJob("a"),
]
IN_PARTS: Final[list[Command]] = [
    *UNDER_WAY,
    SplitJob("a", (SubmitJob(None, "u", "h264"), SubmitJob(None, "u", "vp9")), "a", 1),
]
PART: Final = f"{int(START.timestamp() + len(UNDER_WAY)) * 1_000_000}_0"
"""The first part, which is split off so many seconds after the start."""
beginnings = st.sampled_from(
    [
        UNDER_WAY,
        IN_PARTS,
        [*IN_PARTS, AssignJob("a"), FailJob(PART, "", "a", 1, cause="inexact")],
        [*IN_PARTS, AssignJob("a"), FailJob(PART, "", "a", 1, cause="source_bad"), RetryJob("a")],
        [*UNDER_WAY, FailJob("a", "")],
        [*UNDER_WAY, CancelJob("a")],
        [*UNDER_WAY, NoticeAsking("a", "a")],
        [*UNDER_WAY, ReportHeartbeat("a", {}, "a", 1, 50.0)],
        [*UNDER_WAY, FailJob("a", "", cause="engine_at_fault"), UnblockEngine("a")],
        [*UNDER_WAY, FailJob("a", "", cause="source_away"), ReleaseJob("a")],
        [ReportHeartbeat("a", {"instance": instance}) for instance in "121"],
        [
            *(*UNDER_WAY, FailJob("a", "", cause="source_away"), ReportHeartbeat("", {})),
            *(ReleaseJob("a"), AssignJob(""), CompleteJob("a", "u")),
        ],
    ]
)

histories = (
    st.lists(any_commands, max_size=8)
    | st.lists(any_commands, min_size=30, max_size=60)
    | st.builds(operator.add, beginnings, st.lists(any_commands, max_size=30))
)


def live(history: list[Command], policy: Policy) -> tuple[Fleet, Projections, list[Recorded]]:
    """Let a history happen, and give the state and the events that it leaves."""
    fleet, projections, log = Fleet(), Projections(), list[Recorded]()
    for n, command in enumerate(history):
        at = START + timedelta(seconds=n)
        outcome = decide(fleet, command, at, policy)
        for event in outcome.events:
            recorded = Recorded(len(log) + 1, at, "tester", event, f"request {n}")
            evolve(fleet, event)
            projections.apply(recorded)
            log.append(recorded)
    return fleet, projections, log


def through_the_codec(recorded: Recorded) -> Recorded:
    return serialization.decode(
        serialization.parse_line(serialization.line(serialization.encode(recorded)))
    )


def shown(projections: Projections) -> bytes:
    return msgspec.json.encode(projections.state())


@given(histories, policies)
def test_a_replay_gives_the_live_state_at_every_seq(history: list[Command], policy: Policy) -> None:
    live_fleet, live_projections = Fleet(), Projections()
    fleet, projections = Fleet(), Projections()
    for recorded in live(history, policy)[2]:
        evolve(live_fleet, recorded.event)
        live_projections.apply(recorded)
        replayed = through_the_codec(recorded)
        assert replayed == recorded
        evolve(fleet, replayed.event)
        projections.apply(replayed)
        assert shown(projections) == shown(live_projections)
        assert inside(fleet) == inside(live_fleet)


@given(histories, policies)
def test_a_decision_changes_nothing_by_itself(history: list[Command], policy: Policy) -> None:
    fleet, _, _ = live(history, policy)
    before = inside(fleet)
    for command in history:
        decide(fleet, command, START, policy)
        assert inside(fleet) == before


@settings(max_examples=15)
@given(histories, policies)
def test_a_replay_through_a_real_file_gives_the_live_state(
    history: list[Command], policy: Policy
) -> None:
    fleet, projections, log = live(history, policy)
    with tempfile.TemporaryDirectory() as directory:
        replayed = asyncio.run(written_and_replayed(Path(directory) / "events.db", log))
    assert replayed.seq == len(log)
    assert shown(replayed.projections) == shown(projections)
    assert inside(replayed.fleet) == inside(fleet)


async def written_and_replayed(path: Path, log: list[Recorded]) -> State:
    async with await SqliteLog.open(path) as written:
        for recorded in log:
            await written.append(encoded(recorded), recorded.seq - 1)
    async with await SqliteLog.open_for_reading(path) as reopened:
        assert await recorded_in(reopened) == log
        return await replay(reopened)


@given(histories, policies)
def test_the_laws_of_the_fleet_hold_after_every_event(
    history: list[Command], policy: Policy
) -> None:
    fleet, finished = Fleet(), dict[str, str]()
    for recorded in live(history, policy)[2]:
        evolve(fleet, recorded.event)
        check_fleet(fleet)
        check_jobs(fleet)
        if isinstance(recorded.event, JobRetried):
            finished.pop(recorded.event.job_id)
        for job_id, told in finished.items():
            assert repr(fleet.jobs[job_id]) == told, "a final job changed"
        finished |= {job.job_id: repr(job) for job in fleet.jobs.values() if job.final}


@given(histories, policies)
def test_readers_see_of_each_job_and_engine_what_the_rules_see(
    history: list[Command], policy: Policy
) -> None:
    fleet, projections, _ = live(history, policy)
    check_shown(fleet, projections)


@given(histories, policies)
def test_an_engine_gets_the_first_job_that_nothing_keeps_it_from(
    history: list[Command], policy: Policy
) -> None:
    fleet = Fleet()
    for recorded in live(history, policy)[2]:
        evolve(fleet, recorded.event)
        check_choices(fleet)


@given(st.lists(any_events, max_size=40))
def test_no_order_of_events_is_refused(events: list[Event]) -> None:
    fleet, projections = Fleet(), Projections()
    for seq, event in enumerate(events, 1):
        evolve(fleet, event)
        projections.apply(Recorded(seq, START, "tester", event))
        held = {job.job_id: job.holder for job in fleet.jobs.values() if job.holder is not None}
        holds = {e.holds: e.engine_id for e in fleet.engines.values() if e.holds is not None}
        assert held == holds
    assert projections.seq == len(events)
    shown(projections)


@given(histories, policies)
def test_what_was_shown_does_not_change_afterwards(history: list[Command], policy: Policy) -> None:
    projections, kept = Projections(), list[tuple[object, str]]()
    for recorded in live(history, policy)[2]:
        projections.apply(recorded)
        for view in [*projections.jobs.all(), *projections.engines.all()]:
            kept.append((view, repr(view)))
    for shown_once, told in kept:
        assert repr(shown_once) == told


@pytest.mark.parametrize(
    ("strategy", "union"),
    [(any_commands, Command), (any_events, Event)],
    ids=["commands", "events"],
)
def test_what_is_made_up_is_of_every_kind(
    strategy: st.SearchStrategy[Command | Event], union: Any
) -> None:
    wanted = set(get_args(union))
    assert reached(wanted, strategy, lambda made_up: [made_up], tries=1_000) == wanted


def test_the_histories_reach_every_kind_of_event() -> None:
    """What is checked of made-up histories is worth something only if they reach every rule."""
    wanted = set(serialization.NAMES)

    def events_of(lived: tuple[list[Command], Policy]) -> list[Event]:
        return [recorded.event for recorded in live(*lived)[2]]

    assert reached(wanted, st.tuples(histories, policies), events_of, tries=4_000) == wanted


def reached(
    wanted: set[Any], strategy: st.SearchStrategy[T], kinds_in: Callable[[T], list[Any]], tries: int
) -> set[Any]:
    """Make things up until every kind has been seen that is wanted; gives those seen."""
    seen = set[Any]()

    def all_are_seen(made_up: T) -> bool:
        seen.update(map(type, kinds_in(made_up)))
        return seen >= wanted

    with suppress(NoSuchExample):
        find(strategy, all_are_seen, settings=settings(max_examples=tries, phases=[Phase.generate]))
    return seen
