"""The lives of jobs and engines, as tables.

A row says which event takes what from which states to which. `fleet` looks up here what an event
makes of a job, `legality` from where it may come, and the pictures in docs/architecture.md are
drawn from it.

An engine has a life in each of two respects: whether it is there, and whether it may have jobs.
Whether it is busy follows from the jobs: the holder of an assigned job is.
"""

from typing import Final, Literal, NamedTuple

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

JobState = JobStatus | Literal["paused"]
"""A job's status, or `paused`: pending, but in its pause after a failure."""
EngineState = Literal["online", "offline", "trusted", "drained", "blocked", "drained and blocked"]


class Step(NamedTuple):
    """An event takes what is in one of these states to one of those; `()` is not to be there."""

    event: type[Event]
    before: tuple[JobState | EngineState, ...]
    after: tuple[JobState | EngineState, ...]


_OPEN: Final = ("pending", "paused", "assigned")

JOB_LIFE: Final = (
    Step(events.JobSubmitted, (), ("pending",)),
    Step(events.JobAssigned, ("pending",), ("assigned",)),
    Step(events.JobProgressed, ("assigned",), ("assigned",)),
    Step(events.JobCompleted, _OPEN, ("completed",)),
    Step(events.JobRequeued, _OPEN, ("pending", "paused")),
    Step(events.JobReleased, ("paused",), ("pending",)),
    Step(events.JobFailedPermanently, _OPEN, ("failed_permanently",)),
    Step(events.JobCancelled, _OPEN, ("cancelled",)),
    Step(events.JobRetried, ("failed_permanently", "cancelled"), ("pending",)),
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
    Step(events.EngineResumed, ("drained", "blocked", "drained and blocked"), ("trusted",)),
    Step(events.EngineForgotten, ("trusted", "drained", "blocked", "drained and blocked"), ()),
)

STATUS_AFTER: Final[dict[type[Event], JobStatus]] = {
    events.JobAssigned: "assigned",
    events.JobCompleted: "completed",
    events.JobRequeued: "pending",
    events.JobFailedPermanently: "failed_permanently",
    events.JobCancelled: "cancelled",
    events.JobRetried: "pending",
}
"""What an event makes of the job that it is about, wherever it finds it."""

MAY_HAPPEN_TO: Final = {step.event: frozenset(step.before) for step in JOB_LIFE}
"""In which states of a job an event may find it."""


def diagram(life: tuple[Step, ...]) -> str:
    """Draw a life as a Mermaid state diagram, one arrow for each pair of states."""
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
