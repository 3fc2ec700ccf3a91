"""A job's history for people: what happened, and how long it took.

Laws:
- It is made from events only. No clock is read, so a stage that has not ended has no length.
- An event that this version can't decode is shown by the name of its type, not left out.
- Of an engine's error only the last line is shown. All other texts of engines and clients are kept
  as they are, with any control characters: the caller must escape them before display.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple, assert_never, get_args

import msgspec
from msgspec import UNSET

from dispatcher.core import events
from dispatcher.core.commands import ReportedCause
from dispatcher.core.events import ASKED_BY_NAME, Cause, Event, engine_of, job_of
from dispatcher.log import serialization
from dispatcher.log.serialization import LogEntry

__all__ = ["Happening", "Stage", "StoryLine", "Timeline", "duration", "happening_of", "told"]

_CAUSES: Final[dict[Cause, str]] = {
    "reported": "failed",
    "engine_at_fault": "failed through the engine",
    "source_bad": "failed, its source is bad",
    "source_away": "could not have its source",
    "given_back": "given back, the engine was stopped",
    "timed_out": "lost, it took too long or showed no progress",
    "engine_silent": "lost, the engine fell silent",
    "engine_restarted": "lost, the engine restarted or was taken over",
    "engine_asked": "lost, the engine asked for other work",
    "engine_forgotten": "lost, the engine was forgotten",
}
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600


class StoryLine(NamedTuple):
    """An event, or several reports of progress, of which it has the last one's seq and time.

    `since_s` is the time since the line before, negative if the clock was set back.
    """

    seq: int
    time: str
    since_s: float
    actor: str
    what: str
    is_refusal: bool


class Happening(NamedTuple):
    """An event in words: the job or engine that it is about, and what happened.

    `event` is `None` if this version can't decode it.
    """

    who: str
    what: str
    event: Event | None


class Stage(NamedTuple):
    """A period in which the job waited, paused or was with an engine. It may not have ended."""

    name: str
    engine: str | None
    took_s: float | None
    end: str


class Timeline(NamedTuple):
    """The history of a job. `total_s` is the time from its first event to its last."""

    lines: list[StoryLine]
    stages: list[Stage]
    total_s: float


class _Story:
    """Builds the stages. At most one of them is under way."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self._name: str | None = None
        self._engine: str | None = None
        self._began: datetime | None = None
        self._progress = ""

    def begin(self, at: datetime, name: str, engine: str | None = None) -> None:
        self._name, self._engine, self._began, self._progress = name, engine, at, ""

    def end(self, at: datetime, how: str) -> None:
        if self._name is not None and self._began is not None:
            took_s = (at - self._began).total_seconds()
            self.stages.append(Stage(self._name, self._engine, took_s, how))
            self._name = None

    def whole(self) -> list[Stage]:
        """Return all stages, including the one under way."""
        if self._name is None:
            return self.stages
        under_way = Stage(self._name, self._engine, None, f"still under way{self._progress}")
        return [*self.stages, under_way]

    def tell(self, at: datetime, event: Event) -> None:
        match event:
            case events.JobSubmitted() | events.JobRetried():
                self.begin(at, "waiting")
            case events.JobAssigned(_, engine_id, attempt):
                self.end(at, f"assigned to {engine_id}")
                self.begin(at, f"attempt {attempt}", engine_id)
            case events.JobProgressed(progress=progress):
                self._progress = f", {progress:.0f} %"
            case events.JobCompleted(output_url=url):
                self.end(at, f"completed: {url}")
            case events.JobRequeued(cause=cause, error_message=error, not_before=not_before):
                self.end(at, _failure(cause, error))
                self.begin(at, "waiting" if not_before is None else "pausing")
            case events.JobReleased():
                self.end(at, "over")
                self.begin(at, "waiting")
            case events.JobFailedPermanently(cause=cause, error_message=error):
                self.end(at, f"{_failure(cause, error)} (for good)")
            case events.JobCancelled():
                self.end(at, "cancelled")
            case _:
                pass  # no other event begins or ends a stage


def told(entries: Iterable[LogEntry]) -> Timeline:
    """Make the timeline of a job from all its events, oldest first."""
    lines: list[StoryLine] = []
    story = _Story()
    first = before = None
    began: events.JobProgressed | None = None  # the first of the reports that the last line tells
    for entry in entries:
        at = serialization.decode_time(entry.time)
        _, what, event = happening_of(entry)
        if event is not None:
            story.tell(at, event)
        since_s = 0.0 if before is None else (at - before).total_seconds()
        is_refusal = isinstance(event, events.AnswerRefused)
        if not isinstance(event, events.JobProgressed):
            began = None
        elif began is not None and began.attempt == event.attempt:
            what = _progress(began, event)
            since_s += lines.pop().since_s
        else:
            began = event
        lines.append(StoryLine(entry.seq, entry.time, since_s, entry.actor, what, is_refusal))
        first, before = first or at, at
    total_s = 0.0 if first is None or before is None else (before - first).total_seconds()
    return Timeline(lines, story.whole(), total_s)


def happening_of(entry: LogEntry) -> Happening:
    """Describe an event, and name the job or engine that it is about."""
    event = _event_of(entry)
    if event is None:
        return Happening("?", entry.type, None)
    if (job_id := job_of(event)) is not None:
        return Happening(f"job {job_id}", _description(event), event)
    return Happening(f"engine {engine_of(event)}", _description(event), event)


def duration(seconds: float) -> str:
    """Format a duration to about three digits."""
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 10:  # noqa: PLR2004 - milliseconds only below this
        return f"{seconds:.3f} s"
    if round(seconds, 1) < _MINUTE_S:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), _MINUTE_S)
    if minutes < _MINUTE_S:
        return f"{minutes} min {rest_s:02} s"
    return f"{minutes // _MINUTE_S} h {minutes % _MINUTE_S:02} min"


def _event_of(entry: LogEntry) -> Event | None:
    try:
        return serialization.decode(entry).event
    except serialization.UndecodableError:
        return None


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


def _failure(cause: Cause, error_message: str) -> str:
    if cause not in get_args(ReportedCause):
        return _CAUSES[cause]
    return f"{_CAUSES[cause]}: {_last_line(error_message)}"


def _progress(first: events.JobProgressed, last: events.JobProgressed) -> str:
    """Tell of an attempt's reports of progress without any other event between them."""
    where = _on(last.engine_id)
    return f"attempt {last.attempt}{where} went from {first.progress:g} % to {last.progress:g} %"


def _on(engine_id: str | None) -> str:
    return "" if engine_id is None else f" on {engine_id}"


def _jobs(job_ids: tuple[str, ...]) -> str:
    return f"job {job_ids[0]}" if len(job_ids) == 1 else f"{len(job_ids)} jobs"


def _description(event: Event) -> str:
    match event:
        case events.JobSubmitted():
            more = f", priority {event.priority}" if event.priority else ""
            if event.waits_for:
                more += f"; it waits for {_jobs(event.waits_for)}"
            if event.parent is not UNSET:
                more += f"; a part of job {event.parent}"
            what = f"{event.source_url} to {event.target_codec}, {event.job_size:g} MB"
            return f"submitted: {what}{more}"
        case events.JobAssigned(_, engine_id, attempt, rule):
            how = "it asked for work" if rule == ASKED_BY_NAME else f"by the rule '{rule}'"
            return f"assigned to {engine_id}, attempt {attempt}: {how}"
        case events.JobCompleted(_, engine_id, attempt, output_url):
            return f"attempt {attempt}{_on(engine_id)} completed: {output_url}"
        case events.JobRequeued(_, engine_id, attempt, retries, error, cause):
            how = _failure(cause, error)
            return f"attempt {attempt}{_on(engine_id)} {how}; re-queued, failures: {retries}"
        case events.JobFailedPermanently(_, engine_id, attempt, retries, error, cause):
            how = _failure(cause, error)
            return f"attempt {attempt}{_on(engine_id)} {how}; failed for good, failures: {retries}"
        case events.JobReleased():
            return "may be assigned: its pause is over, or what it waited for is completed"
        case events.JobProgressed(_, engine_id, attempt, progress):
            return f"attempt {attempt}{_on(engine_id)} is at {progress:g} %"
        case events.JobCancelled(_, engine_id, because_of=because_of):
            with_other = "" if because_of is UNSET else f" with job {because_of}"
            return f"cancelled{with_other}" + (f", while{_on(engine_id)}" if engine_id else "")
        case events.JobRetried(_, waits_for, because_of):
            with_other = "" if because_of is UNSET else f", with job {because_of}"
            until = f"; it waits for {_jobs(waits_for)}" if waits_for else ""
            return f"put back with all its retries{with_other}{until}"
        case events.JobSplit(_, engine_id, _, parts):
            return f"split by {engine_id} into {_jobs(parts)}"
        case events.JobMadeWhole(_, reason):
            return f"to be done whole, since it can't be cut exactly: {reason}"
        case events.JobReprioritized(priority=priority):
            return f"given priority {priority}"
        case events.AnswerRefused(_, engine_id, attempt, answer, reason):
            sender = "an engine" if engine_id is None else engine_id
            numbered = "" if attempt is None else f" of attempt {attempt}"
            return f"refused the late '{answer}'{numbered} by {sender}: {reason}"
        case events.EngineReported(_, report):
            news = msgspec.json.encode(report).decode(errors="replace")
            return f"reported {news}" if report else "reported for the first time"
        case events.EngineReplaced(_, instance, replaced):
            return f"instance {instance} took over from instance {replaced}"
        case events.EngineFenced(_, instance):
            return f"instance {instance}, which was replaced, was heard again and refused"
        case events.EngineAsked(engine_id, job_id):
            return f"engine {engine_id} asked for other work while it held job {job_id}"
        case events.EngineSeen():
            return "seen"
        case events.EngineBenchmarked(_, benchmark_time):
            return f"benchmarked: {benchmark_time:g} s"
        case events.EngineLost(_, silent_s):
            return f"lost, after {duration(silent_s)} of silence"
        case events.EngineBlamed(engine_id, job_id):
            return (
                f"engine {engine_id} alone could not have the source of job {job_id}, which "
                "another engine completed"
            )
        case events.EngineBlocked(_, reason):
            return f"blocked: {reason}"
        case events.EngineUnblocked():
            return "no longer blocked, and on probation"
        case events.EngineDrained():
            return "drained"
        case events.EngineResumed():
            return "resumed"
        case events.EngineForgotten():
            return "forgotten"
    assert_never(event)
