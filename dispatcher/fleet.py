"""The state that decisions need, and no more.

Laws:
- `evolve` is the only thing that changes a `Fleet`. It changes it in place (a farm can hold a
  million jobs), so a fleet has one owner and is never shared.
- `evolve` is total: it refuses no fact. An event about a job or an engine that was never heard
  of changes nothing.
- A job is held by at most one engine, an engine holds at most one job, and both sides say so.
- Every pending job is in the queue exactly once, and no other job is.
"""

from typing import Any, Literal, assert_never

import msgspec

from dispatcher.events import (
    EngineBenchmarked,
    EngineReported,
    EngineSeen,
    Event,
    JobAssigned,
    JobCompleted,
    JobFailedPermanently,
    JobRequeued,
    JobSubmitted,
)
from dispatcher.queue import Queue

__all__ = ["Engine", "Fleet", "Job", "JobStatus", "evolve"]

JobStatus = Literal["pending", "assigned", "completed", "failed_permanently"]


class Job(msgspec.Struct):
    """A job as the rules see it. `place` is its key in the queue, `attempt` the newest one."""

    job_id: str
    target_codec: str
    job_size: float
    max_retries: int
    place: int
    status: JobStatus = "pending"
    holder: str | None = None
    attempt: int = 0
    retries: int = 0
    output_url: str | None = None

    @property
    def final(self) -> bool:
        """Whether nothing can happen to the job any more (protocol.md part 3)."""
        return self.status in {"completed", "failed_permanently"}


class Engine(msgspec.Struct):
    """An engine as the rules see it: all that it reported, and the job that it holds."""

    engine_id: str
    report: dict[str, Any] = {}
    holds: str | None = None

    @property
    def idle(self) -> bool:
        """Whether it may be given a job: it holds none and does not say that it is busy."""
        return self.holds is None and self.report.get("status") != "busy"

    @property
    def codecs(self) -> list[str] | None:
        """The codecs that it declares; `None` if it declares none and so takes any."""
        return self.report.get("supported_codecs") or None

    @property
    def benchmark_time(self) -> float | None:
        """Seconds that its benchmark took, if it has told; less is faster."""
        return self.report.get("benchmark_time")

    @property
    def streams(self) -> bool:
        """Whether it can work from a URL without fetching the file first."""
        return self.report.get("streaming_support") is True

    def takes(self, codec: str) -> bool:
        """Whether it may be given a job for `codec`."""
        codecs = self.codecs
        return codecs is None or codec in codecs


class Fleet(msgspec.Struct):
    """All jobs and engines, in the order in which they came, and the queue."""

    jobs: dict[str, Job] = {}
    engines: dict[str, Engine] = {}
    queue: Queue = msgspec.field(default_factory=Queue)


def evolve(fleet: Fleet, event: Event) -> None:
    """Fold one event into the fleet."""
    match event:
        case JobSubmitted():
            _submitted(fleet, event)
        case JobAssigned(job_id, engine_id, attempt):
            _assigned(fleet, job_id, engine_id, attempt)
        case JobCompleted(job_id):
            if job := _released(fleet, job_id):
                job.status, job.output_url = "completed", event.output_url
        case JobFailedPermanently(job_id):
            if job := _released(fleet, job_id):
                job.status, job.retries = "failed_permanently", event.retries
        case JobRequeued(job_id):
            if job := _released(fleet, job_id):
                job.status, job.retries = "pending", event.retries
                fleet.queue.add(job.target_codec, job.place, job_id)
        case EngineReported(engine_id, report):
            engine = fleet.engines.setdefault(engine_id, Engine(engine_id))
            engine.report = engine.report | report
        case EngineBenchmarked(engine_id, benchmark_time):
            if engine_id in fleet.engines:
                engine = fleet.engines[engine_id]
                engine.report = engine.report | {"benchmark_time": benchmark_time}
        case EngineSeen():
            pass
        case _:
            assert_never(event)


def _submitted(fleet: Fleet, event: JobSubmitted) -> None:
    if event.job_id in fleet.jobs:
        return
    job = Job(
        job_id=event.job_id,
        target_codec=event.target_codec,
        job_size=event.job_size,
        max_retries=event.max_retries,
        place=len(fleet.jobs),
    )
    fleet.jobs[job.job_id] = job
    fleet.queue.add(job.target_codec, job.place, job.job_id)


def _assigned(fleet: Fleet, job_id: str, engine_id: str, attempt: int) -> None:
    job, engine = fleet.jobs.get(job_id), fleet.engines.get(engine_id)
    if job is None or engine is None or engine.holds is not None:
        return
    _released(fleet, job_id)
    job.status, job.holder, job.attempt = "assigned", engine_id, attempt
    engine.holds = job_id


def _released(fleet: Fleet, job_id: str) -> Job | None:
    """Take a job from its holder, who is idle at once, and out of the queue, wherever it is."""
    if (job := fleet.jobs.get(job_id)) is None:
        return None
    if job.holder is not None:
        engine = fleet.engines[job.holder]
        engine.holds, engine.report = None, engine.report | {"status": "idle"}
        job.holder = None
    fleet.queue.remove(job.target_codec, job.place)
    return job
