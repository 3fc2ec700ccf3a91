"""The life cycles of jobs and engines, as tables.

A row says which event leads from which states to which. `fleet` looks up in `STATUS_AFTER` what an
event makes of a job. The diagrams in docs/architecture.md are drawn from the tables, and a test
checks that `legality` agrees with them.

An engine has two life cycles: whether it is present, and whether it may be given jobs. Whether it
is busy follows from the jobs: the holder of an assigned job is.
"""

from typing import Final, Literal, NamedTuple, cast

from dispatcher.core import events
from dispatcher.core.events import Event
from dispatcher.core.job import JobStatus

__all__ = [
    "JOB_LIFE",
    "MAY_HAPPEN_TO",
    "PRESENCE",
    "STANDING",
    "STATUS_AFTER",
    "EngineState",
    "JobState",
    "Step",
    "diagram",
]

JobState = JobStatus | Literal["paused", "blocked"]
"""A job's status, or more of one that is pending: `paused`, in its pause after a failure, or
`blocked`, since it waits for other jobs."""
EngineState = Literal["online", "offline", "trusted", "drained", "blocked", "drained and blocked"]


class Step(NamedTuple):
    """An event leads from one of the states `before` to one of `after`; `()` is non-existence."""

    event: type[Event]
    before: tuple[JobState | EngineState, ...]
    after: tuple[JobState | EngineState, ...]


_OPEN: Final = ("pending", "paused", "blocked", "assigned")

JOB_LIFE: Final = (
    Step(events.JobSubmitted, (), ("pending", "blocked")),
    Step(events.JobAssigned, ("pending",), ("assigned",)),
    Step(events.JobProgressed, ("assigned",), ("assigned",)),
    Step(events.JobCompleted, _OPEN, ("completed",)),
    Step(events.JobRequeued, ("blocked",), ("blocked",)),
    Step(events.JobRequeued, ("pending", "paused", "assigned"), ("pending", "paused")),
    Step(events.JobReleased, ("paused", "blocked"), ("pending",)),
    Step(events.JobSplit, ("assigned",), ("blocked",)),
    Step(events.JobMadeWhole, ("blocked",), ("pending",)),
    Step(events.JobFailedPermanently, _OPEN, ("failed_permanently",)),
    Step(events.JobCancelled, _OPEN, ("cancelled",)),
    Step(events.JobRetried, ("failed_permanently", "cancelled"), ("pending", "blocked")),
    Step(events.JobReprioritized, ("paused",), ("paused",)),
    Step(events.JobReprioritized, ("blocked",), ("blocked",)),
    Step(events.JobReprioritized, ("pending",), ("pending",)),
)

PRESENCE: Final = (
    Step(events.EngineReported, (), ("online",)),
    Step(events.EngineReported, ("online", "offline"), ("online",)),
    Step(events.EngineSeen, ("online", "offline"), ("online",)),
    Step(events.EngineBenchmarked, ("online", "offline"), ("online",)),
    Step(events.JobAssigned, ("online", "offline"), ("online",)),
    Step(events.JobProgressed, ("online",), ("online",)),
    Step(events.EngineLost, ("online",), ("offline",)),
    Step(events.EngineForgotten, ("online", "offline"), ()),
)

STANDING: Final = (
    Step(events.EngineReported, (), ("trusted",)),
    Step(events.EngineDrained, ("trusted",), ("drained",)),
    Step(events.EngineDrained, ("blocked",), ("drained and blocked",)),
    Step(events.EngineBlocked, ("trusted",), ("blocked",)),
    Step(events.EngineBlocked, ("drained",), ("drained and blocked",)),
    Step(events.EngineUnblocked, ("blocked",), ("trusted",)),
    Step(events.EngineUnblocked, ("drained and blocked",), ("drained",)),
    Step(events.EngineResumed, ("drained", "blocked", "drained and blocked"), ("trusted",)),
    Step(events.EngineForgotten, ("trusted", "drained", "blocked", "drained and blocked"), ()),
)

STATUS_AFTER: Final = {
    step.event: cast("JobStatus", {"blocked": "pending"}.get(step.after[0], step.after[0]))
    for step in JOB_LIFE
}
"""The status that each event gives its job: that of the first state of `after` in its last row."""

MAY_HAPPEN_TO: Final = {
    event: frozenset(state for step in JOB_LIFE if step.event is event for state in step.before)
    for event in STATUS_AFTER
}
"""The states of a job in which an event may happen."""


def diagram(life: tuple[Step, ...]) -> str:
    """Draw a life cycle as a Mermaid state diagram, one arrow for each pair of states."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for event, before, after in life:
        for start in before or ("[*]",):
            for end in after or ("[*]",):
                arrow = (_node(start), _node(end))
                arrows.setdefault(arrow, []).append(event.__name__)
    lines = (f"    {start} --> {end}: {', '.join(names)}" for (start, end), names in arrows.items())
    return "\n".join(["stateDiagram-v2", *lines])


def _node(state: str) -> str:
    return state.replace(" ", "_")
