"""The tables of lives: each arrow can be taken, no other is legal, and the docs draw these."""

from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import pytest

from dispatcher.core import events
from dispatcher.core.events import Event
from dispatcher.core.fleet import EPOCH, Fleet, evolve
from dispatcher.core.job import JobStatus
from dispatcher.core.legality import breach
from dispatcher.core.lifecycles import JOB_LIFE, PRESENCE, STANDING, STATUS_AFTER, Step, diagram
from tests.support.given import START, assigned, completed, engine, failed, job, requeued
from tests.support.life_steps import standing_in, steps_between

PAGE: Final = Path(__file__).parents[2] / "docs" / "architecture.md"
LATER: Final = START + timedelta(hours=1)
DRAINED: Final = events.EngineDrained("e")
BLOCKED: Final = (job("z", max_retries=1), assigned("z", "e"), failed("z", "e"))

JOB_STATES: Final[dict[str | None, tuple[Event, ...]]] = {
    None: (),
    "pending": (job("a"),),
    "paused": (job("a"), requeued("a", None, attempt=0, not_before=LATER)),
    "blocked": (
        *(job("a"), assigned("a", "e"), events.JobSplit("a", "e", 1, ("p",))),
        msgspec.structs.replace(job("p"), parent="a"),
    ),
    "assigned": (job("a"), assigned("a", "e")),
    "completed": (job("a"), completed("a", None, 0)),
    "failed_permanently": (job("a", max_retries=1), failed("a", None, attempt=0)),
    "cancelled": (job("a"), events.JobCancelled("a", None, 0)),
}
ENGINE_STATES: Final[dict[str | None, tuple[Event, ...]]] = {
    None: (),
    "online": (engine("e"),),
    "offline": (engine("e"), events.EngineLost("e", 60.0)),
    "trusted": (engine("e"),),
    "drained": (engine("e"), DRAINED),
    "blocked": (engine("e"), *BLOCKED, events.EngineBlocked("e", "why", LATER)),
    "drained and blocked": (
        engine("e"),
        *BLOCKED,
        DRAINED,
        events.EngineBlocked("e", "why", LATER),
    ),
}
ENGINE_EVENTS: Final[dict[type[Event], Event]] = {
    events.EngineReported: engine("e", gpu="hot"),
    events.EngineSeen: events.EngineSeen("e"),
    events.EngineBenchmarked: events.EngineBenchmarked("e", 1.0),
    events.EngineLost: events.EngineLost("e", 60.0),
    events.EngineForgotten: events.EngineForgotten("e"),
    events.EngineDrained: DRAINED,
    events.EngineBlocked: events.EngineBlocked("e", "why"),
    events.EngineResumed: events.EngineResumed("e"),
}


def folded(*past: Event) -> Fleet:
    fleet = Fleet()
    for event in past:
        evolve(fleet, event)
    return fleet


def of_job(kind: type[Event], state: str | None, after: str | None) -> tuple[Fleet, Event]:
    """Give a job in a state, and an event that would be right if the job may be there."""
    past = (*JOB_STATES[state], job("q"))
    is_held, failures = state == "assigned", 2 if state == "paused" else 1
    attempt = int(is_held or state == "blocked")
    if kind is events.JobFailedPermanently and state is not None:
        past = (job("a", max_retries=failures), *past[1:])
    if kind is events.JobReleased and state == "blocked":
        past = (*past, completed("p", None, 0))
    if kind is events.JobRetried and after == "blocked":
        waits = msgspec.structs.replace(job("a", max_retries=1), after=("q",), waits_for=("q",))
        past = (job("q"), waits, *past[1:-1])
    fields: dict[str, Any] = {"job_id": "a"}
    if kind not in {events.JobReleased, events.JobRetried}:
        fields |= {"engine_id": "e" if is_held else None, "attempt": attempt}
    match kind:
        case events.JobSubmitted:
            fields = {"after": ("q",), "waits_for": ("q",)} if after == "blocked" else {}
            return folded(engine("e"), *past), msgspec.structs.replace(job("a"), **fields)
        case events.JobSplit:
            fields |= {"parts": ("b",), "engine_id": "e"}
        case events.JobMadeWhole:
            fields = {"job_id": "a", "reason": "why"}
        case events.JobRetried if after == "blocked":
            fields |= {"waits_for": ("q",)}
        case events.JobAssigned:
            return folded(engine("e"), *past), assigned("a", "e", 2 if is_held else 1)
        case events.JobCompleted:
            fields |= {"output_url": "out"}
        case events.JobReprioritized:
            fields = {"job_id": "a", "priority": 5, "waits_since": EPOCH}
        case events.JobProgressed:
            fields |= {"progress": 5.0, "engine_id": "e"}
        case events.JobRequeued | events.JobFailedPermanently:
            fields |= {"retries": failures, "error_message": "broke", "blames_engine": is_held}
            if after == "paused":
                fields |= {"not_before": LATER}
        case _:
            pass
    return folded(engine("e"), *past), kind(**fields)


@pytest.mark.parametrize(
    ("step", "before"), [(it, s) for it in JOB_LIFE for s in it.before or [None]]
)
def test_a_job_can_go_the_way_of_every_arrow(step: Step, before: str | None) -> None:
    for after in step.after:
        fleet, event = of_job(step.event, before, after)
        assert breach(fleet, event) is None
        standing = standing_in(fleet)
        assert standing.get(("job", "a")) == before
        evolve(fleet, event)
        assert standing_in(fleet)["job", "a"] == after


@pytest.mark.parametrize(
    ("kind", "state"), [*product((step.event for step in JOB_LIFE), JOB_STATES)], ids=str
)
def test_a_job_can_go_no_other_way(kind: type[Event], state: str | None) -> None:
    fleet, event = of_job(kind, state, None)
    is_arrow = any(it.event is kind and state in (it.before or (None,)) for it in JOB_LIFE)
    assert (breach(fleet, event) is None) == is_arrow


@pytest.mark.parametrize("life", [PRESENCE, STANDING], ids=["presence", "standing"])
def test_an_engine_can_go_the_way_of_every_arrow_of_its_own(life: tuple[Step, ...]) -> None:
    name = "presence" if life is PRESENCE else "standing"
    for step in life:
        if step.event not in ENGINE_EVENTS:  # those of jobs are in the state machine
            continue
        for before in step.before or (None,):
            past = ENGINE_STATES[before]
            if step.event is events.EngineBlocked:
                past = (engine("e"), *BLOCKED, *past[1:])
            fleet, event = folded(*past), ENGINE_EVENTS[step.event]
            assert breach(fleet, event) is None
            standing = standing_in(fleet)
            assert standing.get((name, "e")) == before
            evolve(fleet, event)
            taken = list(steps_between(standing, event, standing_in(fleet)))
            assert (before, step.after[0] if step.after else None) in {
                (it.before, it.after) for it in taken if it.life == name
            }


def test_what_an_event_makes_of_a_job_is_a_status() -> None:
    assert set(STATUS_AFTER.values()) == set(get_args(JobStatus))


@pytest.mark.parametrize(
    "life", [JOB_LIFE, PRESENCE, STANDING], ids=["job", "presence", "standing"]
)
def test_the_picture_in_the_docs_is_drawn_from_the_table(life: tuple[Step, ...]) -> None:
    assert f"```mermaid\n{diagram(life)}\n```" in PAGE.read_text()
