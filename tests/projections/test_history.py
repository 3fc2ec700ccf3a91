"""The history knows which events concern a job or an engine, whatever becomes of either."""

from hypothesis import given as examples
from hypothesis import strategies as st

from dispatcher.core.commands import Command
from dispatcher.core.events import (
    EngineForgotten,
    EngineSeen,
    Event,
    JobCancelled,
    JobRetried,
    Recorded,
)
from dispatcher.core.policy import Policy
from projections.history import History
from tests.state.test_replay import histories, live
from tests.support.given import START, assigned, completed, engine, job, requeued
from tests.support.strategies import any_events, policies


def history_of(*events: Event) -> History:
    history = History()
    for seq, event in enumerate(events, 1):
        history.apply(Recorded(seq, START, "tester", event))
    return history


def seqs_naming(field: str, name: str, events: list[Event]) -> list[int]:
    return [seq for seq, it in enumerate(events, 1) if getattr(it, field, None) == name]


def check_history(history: History, events: list[Event]) -> None:
    for name in {getattr(event, "job_id", "") for event in events}:
        assert history.of_job(name) == seqs_naming("job_id", name, events)
    for name in {getattr(event, "engine_id", None) or "" for event in events}:
        assert history.of_engine(name) == seqs_naming("engine_id", name, events)


def test_an_event_concerns_its_job_and_its_engine() -> None:
    history = history_of(
        *(job("a"), engine("e"), assigned("a", "e"), job("b"), EngineSeen("e")),
        *(requeued("a", "e"), assigned("b", "e"), completed("b", "e")),
    )
    assert history.of_job("a") == [1, 3, 6]
    assert history.of_job("b") == [4, 7, 8]
    assert history.of_engine("e") == [2, 3, 5, 6, 7, 8]


def test_of_what_was_never_heard_of_there_are_no_events() -> None:
    history = history_of(job("a"), engine("e"))
    assert (history.of_job("e"), history.of_engine("a")) == ([], [])
    assert (History().of_job(""), History().of_engine("")) == ([], [])


def test_what_is_over_or_forgotten_keeps_its_events() -> None:
    history = history_of(
        *(job("a"), engine("e"), assigned("a", "e"), completed("a", "e")),
        *(EngineForgotten("e"), engine("e")),
    )
    assert history.of_job("a") == [1, 3, 4]
    assert history.of_engine("e") == [2, 3, 4, 5, 6]


def test_an_event_of_no_engine_concerns_none() -> None:
    history = history_of(job("a"), JobCancelled("a", None, 0), JobRetried("a"))
    assert history.of_job("a") == [1, 2, 3]
    assert history.of_engine("") == []


@examples(st.lists(any_events, max_size=40))
def test_it_finds_what_a_look_at_every_event_finds(events: list[Event]) -> None:
    check_history(history_of(*events), events)


@examples(histories, policies)
def test_it_does_so_in_every_log_that_the_core_writes(
    commands: list[Command], policy: Policy
) -> None:
    events = [recorded.event for recorded in live(commands, policy)[2]]
    check_history(history_of(*events), events)


@examples(st.lists(any_events, max_size=40), st.integers(0, 40), st.integers(0, 40))
def test_what_is_cut_off_is_gone_and_the_rest_as_it_was(
    events: list[Event], at: int, upto: int
) -> None:
    history, whole = history_of(*events[:at]), history_of(*events)
    upto = min(upto, at, len(events))
    before, part = history.shared(), history.part()
    history.cut(upto)
    for seq, event in enumerate(events[at:], len(events[:at]) + 1):
        history.apply(Recorded(seq, START, "tester", event))
    assert history.since == upto
    for name in {*whole.jobs(), *whole.engines()}:
        assert history.of_job(name) == [seq for seq in whole.of_job(name) if seq > upto]
        assert history.of_engine(name) == [seq for seq in whole.of_engine(name) if seq > upto]
    check_history(History.of_part(part), events[:at])
    for name in whole.jobs():
        assert before.of_job(name)[: len(history_of(*events[:at]).of_job(name))] == (
            history_of(*events[:at]).of_job(name)
        )
    assert History.of_part(history.part()).part() == history.part()
