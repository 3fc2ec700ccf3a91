"""The engines, as `GET /engines/` shows them (protocol.md 2.2)."""

from typing import Any, Self, assert_never

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

__all__ = ["EngineView", "Engines"]


class EngineView(msgspec.Struct, frozen=True):
    """An engine on the wire: the seven fields of protocol.md in its order, then this project's
    own `current_job`, then whatever else the engine reports.

    What an engine has never told is null; one that holds a job is busy, whatever it says.
    """  # noqa: D205

    engine_id: str
    engine_type: str | None = None
    supported_codecs: list[str] = []
    status: str = "idle"
    storage_capacity_gb: float | None = None
    streaming_support: bool = False
    benchmark_time: float | None = None
    current_job: str | None = None
    more: dict[str, Any] = {}

    def wire(self) -> dict[str, Any]:
        """Give the JSON object, with `more` spread out at its end."""
        own: dict[str, Any] = msgspec.structs.asdict(self)
        more = own.pop("more")
        return own | {name: value for name, value in more.items() if name not in own}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Self:
        """Give back what `wire` gave. `msgspec.ValidationError` if it is no such object."""
        own = {name: value for name, value in wire.items() if name in cls.__struct_fields__}
        more = {name: value for name, value in wire.items() if name not in own}
        return msgspec.convert(own | {"more": more}, cls)


class Engines:
    """Every engine, in order of first heartbeat."""

    def __init__(self) -> None:
        self._reports: dict[str, dict[str, Any]] = {}
        self._holds: dict[str, str] = {}  # engine → job
        self._holder: dict[str, str] = {}  # job → engine

    def get(self, engine_id: str) -> EngineView | None:
        """Give one engine, or `None` if it never sent a heartbeat."""
        if (report := self._reports.get(engine_id)) is None:
            return None
        job_id = self._holds.get(engine_id)
        own = {name: value for name, value in report.items() if name in _REPORTED}
        return EngineView(
            engine_id=engine_id,
            **own | ({"status": "busy"} if job_id is not None else {}),
            current_job=job_id,
            more={name: value for name, value in report.items() if name not in _REPORTED},
        )

    def all(self) -> list[EngineView]:
        """Give every engine as it is at this moment."""
        return [view for engine_id in self._reports if (view := self.get(engine_id)) is not None]

    def apply(self, recorded: Recorded) -> None:
        """Fold one event."""
        match recorded.event:
            case EngineReported(engine_id, report):
                self._reports[engine_id] = self._reports.get(engine_id, {}) | report
            case EngineBenchmarked(engine_id, benchmark_time):
                if (known := self._reports.get(engine_id)) is not None:
                    self._reports[engine_id] = known | {"benchmark_time": benchmark_time}
            case JobAssigned(job_id, engine_id):
                if engine_id in self._reports and engine_id not in self._holds:
                    self._release(job_id)
                    self._holds[engine_id], self._holder[job_id] = job_id, engine_id
            case JobCompleted(job_id) | JobRequeued(job_id) | JobFailedPermanently(job_id):
                self._release(job_id)
            case JobSubmitted() | EngineSeen():
                pass
            case _:
                assert_never(recorded.event)

    def _release(self, job_id: str) -> None:
        if (engine_id := self._holder.pop(job_id, None)) is not None:
            del self._holds[engine_id]
            self._reports[engine_id] = self._reports[engine_id] | {"status": "idle"}


_REPORTED = frozenset(EngineView.__struct_fields__) - {"engine_id", "current_job", "more"}
