"""The jobs, as `GET /jobs/` shows them (protocol.md 1.2 and 1.3)."""

from datetime import datetime
from typing import assert_never

import msgspec

from dispatcher.events import (
    EngineBenchmarked,
    EngineReported,
    EngineSeen,
    JobAssigned,
    JobCompleted,
    JobFailedPermanently,
    JobRequeued,
    JobSubmitted,
    Recorded,
)

__all__ = ["JobView", "Jobs"]


class JobView(msgspec.Struct, frozen=True):
    """A job on the wire: the nine fields of protocol.md in its order, then this project's own.

    `job_size` is in MB. `error_message` is that of the newest failure. `submitted_at` and
    `finished_at` are event times (UTC); a job from another dispatcher may lack them.
    """

    job_id: str
    source_url: str
    target_codec: str
    job_size: float
    status: str
    assigned_engine: str | None
    output_url: str | None
    retries: int
    max_retries: int
    attempt: int = 0
    error_message: str | None = None
    submitted_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def final(self) -> bool:
        """Whether nothing can happen to the job any more."""
        return self.status in {"completed", "failed_permanently"}


class Jobs:
    """Every job, in order of submission."""

    def __init__(self) -> None:
        self._views: dict[str, JobView] = {}

    def get(self, job_id: str) -> JobView | None:
        """Give one job, or `None` if it does not exist."""
        return self._views.get(job_id)

    def all(self) -> list[JobView]:
        """Give every job as it is at this moment."""
        return list(self._views.values())

    def apply(self, recorded: Recorded) -> None:
        """Fold one event."""
        match recorded.event:
            case JobSubmitted() as event:
                self._submitted(event, recorded.at)
            case JobAssigned(job_id, engine_id, attempt):
                self._change(job_id, status="assigned", assigned_engine=engine_id, attempt=attempt)
            case JobCompleted(job_id, output_url=output_url):
                self._change(
                    job_id, status="completed", output_url=output_url, finished_at=recorded.at
                )
            case JobRequeued(job_id, retries=retries, error_message=error_message):
                self._change(
                    job_id,
                    status="pending",
                    assigned_engine=None,
                    retries=retries,
                    error_message=error_message,
                )
            case JobFailedPermanently(job_id, retries=retries, error_message=error_message):
                self._change(
                    job_id,
                    status="failed_permanently",
                    retries=retries,
                    error_message=error_message,
                    finished_at=recorded.at,
                )
            case EngineReported() | EngineSeen() | EngineBenchmarked():
                pass
            case _:
                assert_never(recorded.event)

    def _submitted(self, event: JobSubmitted, at: datetime) -> None:
        self._views.setdefault(
            event.job_id,
            JobView(
                job_id=event.job_id,
                source_url=event.source_url,
                target_codec=event.target_codec,
                job_size=event.job_size,
                status="pending",
                assigned_engine=None,
                output_url=None,
                retries=0,
                max_retries=event.max_retries,
                submitted_at=at,
            ),
        )

    def _change(self, job_id: str, **fields: object) -> None:
        if (view := self._views.get(job_id)) is not None:
            self._views[job_id] = msgspec.structs.replace(view, **fields)
