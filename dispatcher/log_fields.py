"""What a record of the program's own log is about, beside its text.

Each is set where it becomes known, and is in all records that follow from there, in the same task
and those that it begins.
"""

from contextvars import ContextVar
from typing import Final

__all__ = ["engine_id", "fields", "job_id", "request_id"]

request_id: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""The `X-Request-ID`: of the request that is being answered, or of the newest answer heard."""
engine_id: Final[ContextVar[str | None]] = ContextVar("engine_id", default=None)
job_id: Final[ContextVar[str | None]] = ContextVar("job_id", default=None)


def fields() -> dict[str, str]:
    """Return what is known here."""
    known = {"request_id": request_id.get(), "engine": engine_id.get(), "job": job_id.get()}
    return {name: value for name, value in known.items() if value is not None}
