"""The state that decisions need, and no more.

Laws:
- Only `evolve` changes a `Fleet`. It changes it in place, because a farm can hold a million jobs.
  So a fleet has one owner and is never shared.
- `evolve` is total: it rejects no event. An event about a job or an engine that does not exist
  changes nothing.
- A job is held by at most one engine, an engine holds at most one job, and the two agree.
- Every pending job is in the queue exactly once, and no other job is.
- A finished job may be evicted, and must be recalled before an event concerns it. Nothing else
  depends on whether it is here.
"""

import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, assert_never

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from dispatcher.core import events
from dispatcher.core.engine import Engine, Takeover
from dispatcher.core.events import MOST_REPLACED, Event
from dispatcher.core.job import (
    NO_ENGINES,
    NO_SETBACKS,
    NO_TIES,
    Job,
    MadeId,
    Place,
    Setbacks,
    Ties,
)
from dispatcher.core.lifecycles import STATUS_AFTER
from dispatcher.core.queue import Queue

__all__ = ["EPOCH", "MICROSECOND", "Fleet", "evolve", "micros_of"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


class Fleet(msgspec.Struct):
    """The jobs and engines, and the queue. Finished jobs may be elsewhere (`dispatcher.index`).

    `newest` is the latest arrival time of a job, and `submitted` counts the jobs that were ever
    submitted. `idempotent` maps the idempotency key of a job that is here to the submission that
    carried it. `last_id` is the greatest job id of the form `{microseconds}_{counter}`.
    """

    jobs: dict[str, Job] = {}
    engines: dict[str, Engine] = {}
    queue: Queue = msgspec.field(default_factory=Queue)
    newest: datetime = EPOCH
    idempotent: dict[str, events.JobSubmitted] = {}
    submitted: int = 0
    last_id: MadeId = MadeId(0, 0)

    def here(self, job_ids: Iterable[str]) -> Iterator[Job]:
        """Yield those of these jobs that have not been evicted."""
        found = map(self.jobs.get, job_ids)
        return (job for job in found if job is not None)

    def evict(self, job_id: str) -> None:
        """Let a finished job go, with its idempotency key."""
        job = self.jobs.pop(job_id)
        if job.idempotency_key is not None:
            first = self.idempotent.get(job.idempotency_key)
            if first is not None and first.job_id == job_id:
                del self.idempotent[job.idempotency_key]

    def recall(self, job: Job, submitted: events.JobSubmitted | None) -> None:
        """Take a finished job back; with its submission, if that carried an idempotency key."""
        self.jobs.setdefault(job.job_id, job)
        if submitted is not None and submitted.idempotency_key is not None:
            self.idempotent.setdefault(submitted.idempotency_key, submitted)


def evolve(fleet: Fleet, event: Event) -> None:
    """Fold one event into the fleet."""
    match event:  # the most frequent first: patterns are tried in order
        case events.JobSubmitted():
            _submitted(fleet, event)
        case events.JobAssigned():
            _assigned(fleet, event)
        case events.JobCompleted():
            _completed(fleet, event)
        case events.EngineSeen():
            _heard(fleet, event.engine_id)
        case events.JobProgressed(job_id, engine_id, _, progress):
            if job := fleet.jobs.get(job_id):
                job.progress = progress
            _heard(fleet, engine_id)
        case events.JobRequeued() | events.JobFailedPermanently():
            _attempt_failed(fleet, event)
        case events.JobReleased(job_id):
            if job_id in fleet.queue.paused or job_id in fleet.queue.blocked:
                _queue_anew(fleet, fleet.jobs[job_id])
        case events.JobCancelled(job_id, because_of=because_of):
            if job := _released(fleet, job_id):
                job.status = STATUS_AFTER[events.JobCancelled]
                _waits_no_more(job, with_other=because_of is not UNSET)
        case events.JobRetried():
            _retried(fleet, event)
        case events.JobReprioritized():
            _reprioritized(fleet, event)
        case events.JobSplit(job_id, _, _, parts):
            if job := _released(fleet, job_id):
                job.status = STATUS_AFTER[events.JobSplit]
                job.ties = replace(job.ties, parts=parts, waits_for=parts)
                fleet.queue.add(job)
        case events.JobMadeWhole(job_id):
            if (job := fleet.jobs.get(job_id)) is not None and job.status == "pending":
                _queue_anew(fleet, job, replace(job.ties, parts=(), is_whole=True))
        case events.AnswerRefused():
            pass
        case (
            events.EngineReported()
            | events.EngineReplaced()
            | events.EngineFenced()
            | events.EngineAsked()
            | events.EngineBenchmarked()
            | events.EngineLost()
            | events.EngineBlamed()
            | events.EngineBlocked()
            | events.EngineUnblocked()
            | events.EngineDrained()
            | events.EngineResumed()
            | events.EngineForgotten()
        ):
            _engine_changed(fleet, event)
        case _:
            assert_never(event)


def _heard(fleet: Fleet, engine_id: str) -> None:
    if (engine := fleet.engines.get(engine_id)) is not None:
        engine.online = True


def _engine_changed(
    fleet: Fleet,
    event: events.EngineReported
    | events.EngineReplaced
    | events.EngineFenced
    | events.EngineAsked
    | events.EngineBenchmarked
    | events.EngineLost
    | events.EngineBlamed
    | events.EngineBlocked
    | events.EngineUnblocked
    | events.EngineDrained
    | events.EngineResumed
    | events.EngineForgotten,
) -> None:
    if isinstance(event, events.EngineReported):
        fleet.engines.setdefault(event.engine_id, Engine(event.engine_id))
    if (engine := fleet.engines.get(event.engine_id)) is None:
        return
    match event:
        case events.EngineReported(_, report):
            engine.report, engine.online = engine.report | report, True
        case events.EngineReplaced():
            _replaced(fleet, engine, event)
        case events.EngineFenced(_, instance):
            _fenced(fleet, engine, instance)
        case events.EngineAsked(_, job_id):
            engine.asks = engine.holds == job_id
        case events.EngineBenchmarked(_, benchmark_time):
            engine.report = engine.report | {"benchmark_time": benchmark_time}
            engine.online = True
        case events.EngineLost(_, _, since):
            engine.online, engine.lost_since = False, since
        case events.EngineBlamed(_, job_id):
            _count_failure(engine, job_id)
        case events.EngineBlocked(_, reason, until):
            engine.blocked, engine.blocked_until = reason, until
            engine.blocks += 1
        case events.EngineUnblocked():
            engine.blocked = engine.blocked_until = None
        case events.EngineDrained():
            engine.drained = True
        case events.EngineResumed():
            engine.drained, engine.blocked, engine.blocked_until = False, None, None
            engine.failures, engine.blocks = [], 0
            engine.replaced = {
                instance: replace(takeover, heard_again=False)
                for instance, takeover in engine.replaced.items()
            }
        case events.EngineForgotten(engine_id):
            if engine.holds is not None and (job := _released(fleet, engine.holds)):
                job.status = "pending"
                fleet.queue.add(job)
            del fleet.engines[engine_id]
        case _:
            assert_never(event)


def _replaced(fleet: Fleet, engine: Engine, event: events.EngineReplaced) -> None:
    """Remember the replaced instance, but not one that has come back as the present one."""
    names = {event.replaced, event.instance}
    former = {name: known for name, known in engine.replaced.items() if name not in names}
    former[event.replaced] = Takeover(event.instance, event.since, engine.holds)
    engine.replaced = dict([*former.items()][-MOST_REPLACED:])
    if event.kept_job is not None and (job := fleet.jobs.get(event.kept_job)) is not None:
        job.setbacks = replace(job.setbacks, losses=job.setbacks.losses + 1)


def _fenced(fleet: Fleet, engine: Engine, instance: str) -> None:
    """Note that a replaced instance is alive, and take back the loss that it cost."""
    takeover = engine.replaced.get(instance)
    if takeover is None or takeover.heard_again:
        return
    engine.replaced = engine.replaced | {instance: replace(takeover, heard_again=True)}
    job = None if takeover.cost_job is None else fleet.jobs.get(takeover.cost_job)
    if job is not None and not job.final and job.setbacks.losses > 0:
        job.setbacks = replace(job.setbacks, losses=job.setbacks.losses - 1)


def _count_failure(engine: Engine, job_id: str) -> None:
    if job_id not in engine.failures:
        engine.failures = [*engine.failures, job_id]


@lru_cache(maxsize=16)
def micros_of(at: datetime) -> int:
    """Return the microseconds since the epoch; the jobs of a batch have the same time."""
    return (at - EPOCH) // MICROSECOND


def _submitted(fleet: Fleet, event: events.JobSubmitted) -> None:
    if event.job_id in fleet.jobs:
        return
    place = Place(micros_of(event.waits_since or EPOCH), fleet.submitted)
    codec, key = sys.intern(event.target_codec), event.idempotency_key  # few codecs, many jobs
    job = Job(event.job_id, codec, event.job_size, event.max_retries, place, key)
    if event.needs is not UNSET:
        job.needs = event.needs
    if event.priority:
        job.priority = event.priority
        if event.arrived_at is not None and event.waits_since is not None:
            job.early_us = (event.arrived_at - event.waits_since) // MICROSECOND
    if event.after is not UNSET or event.parent is not UNSET:
        _tie(fleet, job, event)
    fleet.jobs[job.job_id] = job
    fleet.submitted += 1
    if (made := MadeId.of(event.job_id)) is not None and made > fleet.last_id:
        fleet.last_id = made
    fleet.queue.add(job)
    if event.arrived_at is not None and event.arrived_at > fleet.newest:
        fleet.newest = event.arrived_at
    if key is not None:
        fleet.idempotent.setdefault(key, event)


def _tie(fleet: Fleet, job: Job, event: events.JobSubmitted) -> None:
    """Tie a job to those that it waits for, and to the film that it is a part of."""
    if event.parent is not UNSET:
        job.ties = Ties(parent=event.parent, followers=(event.parent,))
        if (film := fleet.jobs.get(event.parent)) is not None:
            job.early_us = film.early_us
        return
    waits_for = event.waits_for or ()
    job.ties = Ties(after=event.after or (), waits_for=waits_for)
    for other in fleet.here(waits_for):
        other.ties = replace(other.ties, followers=(*other.ties.followers, job.job_id))


def _queue_anew(fleet: Fleet, job: Job, ties: Ties | None = None) -> None:
    """Put a pending job that was kept from its line into it, with no more to wait for."""
    fleet.queue.remove(job)
    if ties is not None or job.ties.waits_for:
        job.ties = replace(ties or job.ties, waits_for=())
    fleet.queue.add(job)


def _waits_no_more(job: Job, *, with_other: bool) -> None:
    """Note that a job waits for no others, and whether it ended since one of them did."""
    if job.ties is not NO_TIES and (job.ties.waits_for or with_other):
        job.ties = replace(job.ties, waits_for=(), ended_with_other=with_other)


def _retried(fleet: Fleet, event: events.JobRetried) -> None:
    if (job := _released(fleet, event.job_id)) is None:
        return
    was_cancelled = job.status == "cancelled"
    job.status = STATUS_AFTER[events.JobRetried]
    job.retries, job.failed_by, job.setbacks = 0, NO_ENGINES, NO_SETBACKS
    job.output_url = None
    if job.ties is not NO_TIES or event.waits_for:
        parts = () if was_cancelled else job.ties.parts
        waits_for = event.waits_for or ()
        job.ties = replace(job.ties, parts=parts, waits_for=waits_for, ended_with_other=False)
    fleet.queue.add(job)


def _reprioritized(fleet: Fleet, event: events.JobReprioritized) -> None:
    if (job := fleet.jobs.get(event.job_id)) is None:
        return
    is_pending, not_before = job.status == "pending", fleet.queue.paused.get(job.job_id)
    if is_pending:
        fleet.queue.remove(job)
    arrived_us = job.place.waits_since_us + job.early_us
    waits_since_us = (event.waits_since - EPOCH) // MICROSECOND
    job.priority, job.early_us = event.priority, arrived_us - waits_since_us
    job.place = Place(waits_since_us, job.place.number)
    if is_pending:
        fleet.queue.add(job, not_before)


def _assigned(fleet: Fleet, event: events.JobAssigned) -> None:
    job, engine = fleet.jobs.get(event.job_id), fleet.engines.get(event.engine_id)
    if job is None or engine is None or engine.holds is not None:
        return
    _released(fleet, job.job_id)
    if job.ties.waits_for:
        _waits_no_more(job, with_other=False)
    job.status = STATUS_AFTER[events.JobAssigned]
    job.holder, job.attempt = engine.engine_id, event.attempt
    job.last_holder, job.rule, job.considered = engine.engine_id, event.rule, event.considered
    engine.holds, engine.online = job.job_id, True


def _completed(fleet: Fleet, event: events.JobCompleted) -> None:
    if (job := _released(fleet, event.job_id)) is None:
        return
    job.status, job.output_url = STATUS_AFTER[events.JobCompleted], event.output_url
    _waits_no_more(job, with_other=False)
    if event.engine_id is not None and (engine := fleet.engines.get(event.engine_id)) is not None:
        engine.failures, engine.blocks = [], 0
        engine.successes += 1


def _attempt_failed(fleet: Fleet, event: events.JobRequeued | events.JobFailedPermanently) -> None:
    if (job := _released(fleet, event.job_id)) is None:
        return
    engine = None if event.engine_id is None else fleet.engines.get(event.engine_id)
    if engine is not None and event.blames_engine:
        _count_failure(engine, job.job_id)
    setbacks = _setbacks_after(job.setbacks, event, engine)
    if event.cause == "source_away" and isinstance(event, events.JobRequeued) and event.not_before:
        job.failed_by -= {job.setbacks.lacked_by or ""}  # after the pause, anybody may try again
    elif event.engine_id is not None and (
        event.retries > job.retries
        or setbacks.losses > job.setbacks.losses
        or setbacks.source_tries > job.setbacks.source_tries
    ):
        job.failed_by |= {event.engine_id}
    job.retries, job.error_message, job.setbacks = event.retries, event.error_message, setbacks
    job.status = STATUS_AFTER[type(event)]
    if isinstance(event, events.JobRequeued):
        fleet.queue.add(job, event.not_before)
    else:
        _waits_no_more(job, with_other=event.cause == "prerequisite_failed")


def _setbacks_after(
    before: Setbacks, event: events.JobRequeued | events.JobFailedPermanently, engine: Engine | None
) -> Setbacks:
    if isinstance(event, events.JobFailedPermanently) or event.source_tries == 0:
        return Setbacks(event.losses, cause=event.cause)
    lacked_by, lacked_after = before.lacked_by, before.lacked_after
    if event.source_tries > before.source_tries and engine is not None:
        if before.source_tries == 0 or engine.engine_id == lacked_by:
            lacked_by, lacked_after = engine.engine_id, engine.successes
        else:
            lacked_by = None  # several lacked it
    return Setbacks(
        event.losses,
        event.source_tries,
        event.source_waited_s,
        lacked_by,
        lacked_after,
        event.cause,
    )


def _released(fleet: Fleet, job_id: str) -> Job | None:
    """Take a job from its holder, which becomes idle at once, and out of the queue."""
    if (job := fleet.jobs.get(job_id)) is None:
        return None
    if job.holder is not None:
        engine = fleet.engines[job.holder]
        engine.holds, engine.asks = None, False
        if engine.report.get("status") != "idle":
            engine.report = engine.report | {"status": "idle"}
        job.holder = None
    job.progress = None
    if job.status == "pending":
        fleet.queue.remove(job)
    return job
