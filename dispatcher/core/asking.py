"""Engines that ask for other work while they hold a job.

Some engines never tell their job or instance. If one is killed in a job and starts again, or its
report is lost, it goes on beating, which renews its lease, and asks for work, which it can't have
while it holds a job. Neither would end.

Laws:
- An engine that asks by name throughout a whole lease while it holds a job no longer has it. It
  asks throughout if no gap between its requests is longer than a lease; a request that waits
  counts for as long as it may wait. After a quarter of a lease, the suspicion is recorded.
- An engine that has ever told an instance, or since the dispatcher started told in a heartbeat that
  it has the job that it holds, is never suspected. Neither is one that reports that it is busy.
- Times are seconds of a monotonic clock, and are passed in.
"""

from typing import NamedTuple

from dispatcher.core.commands import AssignJob, NoticeAsking, ReportHeartbeat, TakeBackJob
from dispatcher.core.engine import Engine
from dispatcher.core.fleet import Fleet
from dispatcher.core.policy import Policy

__all__ = ["Asking"]


class _Series(NamedTuple):
    """Requests of an engine, one after the other, during one attempt."""

    job_id: str
    attempt: int
    since_s: float
    until_s: float


class Asking:
    """The engines that ask for other work, and since when."""

    def __init__(self, policy: Policy) -> None:
        self._lease_s = policy.lease_s
        self._series: dict[str, _Series] = {}
        self._tells_job: set[str] = set()

    def heard(self, fleet: Fleet, command: ReportHeartbeat) -> None:
        """Note an engine that tells its job."""
        if command.current_job is None or command.engine_id in self._tells_job:
            return
        engine = fleet.engines.get(command.engine_id)
        if engine is not None and engine.holds == command.current_job:
            self._tells_job.add(command.engine_id)

    def forget(self, engine_id: str) -> None:
        """Forget an engine that is no longer on the list."""
        self._tells_job.discard(engine_id)
        self._series.pop(engine_id, None)

    def asked(
        self, fleet: Fleet, command: AssignJob, now_s: float, wait_s: float
    ) -> NoticeAsking | TakeBackJob | None:
        """Note a request for work, and return what follows from it."""
        engine_id = command.engine_id
        if engine_id is None or (engine := fleet.engines.get(engine_id)) is None:
            return None
        if (job_id := engine.holds) is None:
            return None  # most requests; an earlier series is of another attempt
        if command.resume or command.instance or self._tells(engine):
            self._series.pop(engine_id, None)
            return None
        attempt, until_s = fleet.jobs[job_id].attempt, now_s + wait_s
        last = self._series.get(engine_id)
        if (
            last is None
            or (last.job_id, last.attempt) != (job_id, attempt)
            or now_s - last.until_s > self._lease_s
        ):
            self._series[engine_id] = _Series(job_id, attempt, now_s, until_s)
            return None
        self._series[engine_id] = last._replace(until_s=max(last.until_s, until_s))
        asked_s = now_s - last.since_s
        if not engine.asks:
            suspicious = asked_s >= self._lease_s / 4
            return NoticeAsking(engine_id, job_id) if suspicious else None
        if asked_s >= self._lease_s:
            del self._series[engine_id]
            return TakeBackJob(engine_id, job_id, self._lease_s)
        return None

    def _tells(self, engine: Engine) -> bool:
        if engine.engine_id in self._tells_job or engine.tells_instance:
            return True
        return engine.report.get("status") == "busy"
