"""Checks after every step, independent of the code that is checked.

Laws:
- No event breaks a rule (`core.legality.breach`), and jobs and engines agree on who holds what.
- A second reading of the events agrees too: attempts only grow, no job is completed twice, no final
  job is assigned, no engine has two jobs, and retries stay within their bounds.
- No job is given away before all that it waits for are completed, and a film that was split is
  joined once, of parts that are all completed. No part outlives its film.
- An answer that names its engine and attempt ends that attempt and no other.
- No engine is lost that was heard within its lease.
"""

from dispatcher.core import events
from dispatcher.core.commands import AssignJob, Command, CompleteJob, FailJob, ReportHeartbeat
from dispatcher.core.dispatcher import Settle
from dispatcher.core.events import Event, engine_of, job_of
from dispatcher.core.fleet import Fleet
from dispatcher.core.invariants import ViolationError
from dispatcher.core.legality import breach
from dispatcher.core.replies import Refused

__all__ = ["Ledger"]

_End = events.JobCompleted | events.JobCancelled | events.JobFailedPermanently | events.JobRequeued
_TOLD_BY_ENGINES = (
    events.JobProgressed | events.JobCompleted | events.JobRequeued | events.JobFailedPermanently
)


class Ledger:
    """Who holds which job, according to the events alone, and when each engine was last heard."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._attempts: dict[str, int] = {}
        self._max_failures: dict[str, int] = {}
        self._holders: dict[str, str] = {}
        self._held: dict[str, str] = {}
        self._final: dict[str, str] = {}
        self._heard_s: dict[str, float] = {}
        self._waits_for: dict[str, tuple[str, ...]] = {}
        self._parts: dict[str, tuple[str, ...]] = {}
        self._whole: set[str] = set()

    def before(self, fleet: Fleet, event: Event) -> None:
        """Check that the rules allow the event next."""
        if (why := breach(fleet, event)) is not None:
            raise ViolationError(why, job_of(event), engine_of(event))

    def after(self, fleet: Fleet, event: Event, now_s: float) -> None:
        """Enter an event that the fleet has folded, and compare the fleet with this ledger."""
        match event:
            case events.EngineSeen(engine_id) | events.EngineReported(engine_id):
                self._heard_s[engine_id] = now_s
            case events.JobProgressed(_, engine_id):
                self._heard_s[engine_id] = now_s
                self._check_holder(event)
            case events.JobSubmitted(job_id, max_retries=max_retries, waits_for=waits_for):
                self._attempts[job_id], self._max_failures[job_id] = 0, max(max_retries, 1)
                self._waits_for[job_id] = waits_for or ()
            case events.JobSplit():
                self._split(event)
            case events.JobMadeWhole(job_id):
                self._made_whole(job_id)
            case events.JobReleased(job_id):
                self._check_may_begin(f"job {job_id} is released", job_id)
            case events.JobAssigned():
                self._assigned(event, now_s)
            case events.JobCompleted(job_id):
                self._ended(event, "completed")
            case events.JobCancelled(job_id):
                self._ended(event, "cancelled")
            case events.JobFailedPermanently(job_id):
                self._ended(event, "failed_permanently")
            case events.JobRequeued(job_id):
                self._ended(event, None)
            case events.JobRetried(job_id, waits_for):
                self._waits_for[job_id] = waits_for or ()
                if self._final.pop(job_id, "completed") == "completed":
                    raise ViolationError(f"job {job_id} is retried, but is completed", job_id)
            case events.JobReprioritized(job_id):
                if job_id in self._final or job_id in self._holders:
                    raise ViolationError(f"job {job_id} gets a priority, but waits not", job_id)
            case events.EngineLost(engine_id):
                self._lost(engine_id, now_s)
            case events.EngineForgotten(engine_id):
                self._heard_s.pop(engine_id, None)
            case _:
                pass
        if not isinstance(event, events.EngineSeen | events.JobProgressed):
            self._compare_holders(fleet, job_of(event), engine_of(event))

    def answered(self, settle: Settle) -> None:
        """Compare the command of an engine with the events that followed from it."""
        command, records, reply, _ = settle
        for recorded in records:
            event = recorded.event
            is_refusal = isinstance(event, events.AnswerRefused | events.EngineFenced)
            if isinstance(reply, Refused) and not is_refusal:
                raise ViolationError(f"a refusal changed something: {event}", *_names(command))
            if isinstance(command, CompleteJob | FailJob | ReportHeartbeat):
                _check_attempt(command, event)
        if isinstance(command, AssignJob) and len(records) > 1:
            raise ViolationError(f"one ask gave {len(records)} jobs", *_names(command))

    def leases_begin(self, now_s: float) -> None:
        """Record that every lease begins anew."""
        self._heard_s = dict.fromkeys(self._heard_s, now_s)

    def overdue(self, fleet: Fleet, now_s: float, slack_s: float) -> None:
        """Check that no engine counts as online long after its lease."""
        for engine in fleet.engines.values():
            silent_s = now_s - self._heard_s.get(engine.engine_id, now_s)
            if engine.online and silent_s > self._lease_s + slack_s:
                raise ViolationError(
                    f"engine {engine.engine_id} has been silent for {silent_s:.0f} s, but counts "
                    f"as online with a lease of {self._lease_s:g} s",
                    engine.engine_id,
                    engine.holds,
                )

    def _assigned(self, event: events.JobAssigned, now_s: float) -> None:
        job_id, engine_id = event.job_id, event.engine_id
        what = f"job {job_id} is given to engine {engine_id}"
        if (status := self._final.get(job_id)) is not None:
            raise ViolationError(f"{what}, but is {status}", job_id, engine_id)
        if (holder := self._holders.get(job_id)) is not None:
            raise ViolationError(f"{what}, but engine {holder} has it", job_id, engine_id, holder)
        if (held := self._held.get(engine_id)) is not None:
            raise ViolationError(f"{what}, which has job {held}", job_id, engine_id, held)
        self._check_may_begin(what, job_id)
        if event.attempt <= self._attempts[job_id]:
            raise ViolationError(f"{what} in attempt {event.attempt} again", job_id, engine_id)
        self._attempts[job_id] = event.attempt
        self._holders[job_id], self._held[engine_id] = engine_id, job_id
        self._heard_s[engine_id] = now_s

    def check_films(self) -> None:
        """Check that no part is done of a film that was completed, cancelled or made whole."""
        for film, parts in self._parts.items():
            if (ended := self._final.get(film)) in {"completed", "cancelled"} or (
                film in self._whole
            ):
                for part in parts:
                    if part not in self._final:
                        what = f"part {part} goes on, but film {film} is {ended or 'made whole'}"
                        raise ViolationError(what, part, film)

    def _split(self, event: events.JobSplit) -> None:
        film, engine_id = event.job_id, event.engine_id
        self._check_holder(event)
        if film in self._parts or film in self._whole:
            raise ViolationError(f"film {film} is split again", film, engine_id)
        del self._holders[film], self._held[engine_id]
        self._parts[film] = self._waits_for[film] = event.parts

    def _made_whole(self, film: str) -> None:
        if film not in self._parts or film in self._whole:
            raise ViolationError(f"film {film} is made whole, but is not in parts", film)
        self._whole.add(film)
        self._waits_for[film] = ()

    def _check_may_begin(self, what: str, job_id: str) -> None:
        needed = self._waits_for[job_id]
        if job_id in self._parts and job_id not in self._whole:
            needed = (*needed, *self._parts[job_id])
        for other in needed:
            if self._final.get(other) != "completed":
                raise ViolationError(f"{what}, but job {other} is not completed", job_id, other)

    def _ended(
        self,
        event: _End,
        status: str | None,
    ) -> None:
        job_id, engine_id = event.job_id, event.engine_id
        if (before := self._final.get(job_id)) is not None:
            what = f"job {job_id} is {status or 're-queued'} after it was {before}"
            raise ViolationError(what, job_id, engine_id)
        self._check_holder(event)
        if isinstance(event, events.JobRequeued | events.JobFailedPermanently):
            most = self._max_failures[job_id] - (status is None)
            if event.retries > most:
                what = f"job {job_id} has {event.retries} retries, and may have {most}"
                raise ViolationError(what, job_id, engine_id)
        if (holder := self._holders.pop(job_id, None)) is not None:
            del self._held[holder]
        if status is not None:
            self._final[job_id] = status

    def _check_holder(
        self,
        event: events.JobProgressed | events.JobSplit | _End,
    ) -> None:
        job_id = event.job_id
        has = self._holders.get(job_id), self._attempts[job_id]
        if (event.engine_id, event.attempt) != has:
            raise ViolationError(
                f"{type(event).__name__} of job {job_id} names engine {event.engine_id} in attempt "
                f"{event.attempt}, but it is with {has[0]} in attempt {has[1]}",
                job_id,
                event.engine_id,
                has[0],
            )

    def _lost(self, engine_id: str, now_s: float) -> None:
        silent_s = now_s - self._heard_s.get(engine_id, now_s)
        if silent_s < self._lease_s - 0.001:
            raise ViolationError(
                f"engine {engine_id} is lost, but was heard {silent_s:.3f} s ago, within its lease "
                f"of {self._lease_s:g} s",
                engine_id,
                self._held.get(engine_id),
            )

    def _compare_holders(self, fleet: Fleet, job_id: str | None, engine_id: str | None) -> None:
        """Compare the job and the engine with each other and with this ledger."""
        if job_id is not None:
            job = fleet.jobs[job_id]
            holder = self._holders.get(job_id)
            holds = None if holder is None else fleet.engines[holder].holds
            is_right = job.holder == holder and (holder is None or holds == job_id)
            if not is_right or (job.status == "assigned") != (holder is not None):
                raise ViolationError(
                    f"job {job_id} is {job.status} with {job.holder}, which has {holds}; by the "
                    f"events it is with {holder}",
                    job_id,
                    holder,
                    job.holder,
                )
        if engine_id is not None and (engine := fleet.engines.get(engine_id)) is not None:
            held = self._held.get(engine_id)
            if engine.holds != held:
                raise ViolationError(
                    f"engine {engine_id} holds {engine.holds}; by the events it has {held}",
                    engine_id,
                    held,
                    engine.holds,
                )


def _check_attempt(command: CompleteJob | FailJob | ReportHeartbeat, event: Event) -> None:
    """Check that the attempt that ended or went on is the one that the engine named."""
    if isinstance(command, ReportHeartbeat) and not isinstance(event, events.JobProgressed):
        return  # a heartbeat of a new process ends the attempt of the one before
    if isinstance(event, events.JobFailedPermanently) and event.cause == "prerequisite_failed":
        return  # it ends with the job that failed
    if isinstance(event, _TOLD_BY_ENGINES) and (
        (event.engine_id, event.attempt) != (command.engine_id, command.attempt)
    ):
        raise ViolationError(
            f"what engine {command.engine_id} said of attempt {command.attempt} of job "
            f"{event.job_id} was taken for attempt {event.attempt} on engine {event.engine_id}",
            event.job_id,
            command.engine_id,
            event.engine_id,
        )


def _names(command: Command | None) -> tuple[str | None, str | None]:
    return getattr(command, "job_id", None), getattr(command, "engine_id", None)
