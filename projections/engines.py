"""The engines, as `GET /engines/` shows them (protocol.md 2.2)."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, Self, assert_never

import msgspec

from dispatcher.core import events
from dispatcher.core.events import ASKED_BY_NAME, MOST_REPLACED, Recorded

__all__ = ["EngineFields", "EngineView", "Engines", "EnginesSnapshot"]


class EngineFields(msgspec.Struct, frozen=True):
    """An engine on the wire: the seven fields of protocol.md in its order, then this project's own.

    A field that the engine has never reported is null or has its default. An engine that holds a
    job is busy, whatever it reports. `online` is true until it has been silent for a lease.
    `last_seen` is the time (UTC) of the last event that it caused. `blocked` is the reason why it
    gets no jobs; it may try one after `blocked_until` (UTC), or when it is resumed if that is null.
    `fenced_instances` are instances that were replaced and heard again: other machines that use its
    id. `failed_jobs` are the different jobs that it failed since it last succeeded or was resumed,
    the newest `MOST_FAILED` of them, in their order.
    """

    engine_id: str
    engine_type: str | None = None
    supported_codecs: list[str] = []
    status: str = "idle"
    storage_capacity_gb: float | None = None
    streaming_support: bool = False
    benchmark_time: float | None = None
    current_job: str | None = None
    online: bool = True
    last_seen: datetime | None = None
    drained: bool = False
    blocked: str | None = None
    blocked_until: datetime | None = None
    fenced_instances: list[str] = []
    failed_jobs: list[str] = []


class EngineView(EngineFields, frozen=True):
    """An engine. `more` holds the other fields that it reports, which the wire adds to these."""

    more: dict[str, Any] = {}

    def wire(self) -> dict[str, Any]:
        """Return the JSON object, with the fields of `more` at its end."""
        own: dict[str, Any] = msgspec.to_builtins(self)
        more = own.pop("more")
        return own | {name: value for name, value in more.items() if name not in own}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Self:
        """Parse what `wire` returned. Raises `msgspec.ValidationError` if it is no such object."""
        named = set(cls.__struct_fields__) - {"more"}
        own = {name: value for name, value in wire.items() if name in named}
        more = {name: value for name, value in wire.items() if name not in named}
        return msgspec.convert(own | {"more": more}, cls)


class _Engine(msgspec.Struct):
    report: dict[str, Any]
    last_seen: datetime
    online: bool = True
    drained: bool = False
    blocked: str | None = None
    blocked_until: datetime | None = None
    replaced: dict[str, bool] = {}  # former instances, and whether they were heard again
    holds: str | None = None
    failed: list[str] = []


EnginesSnapshot = dict[str, _Engine]
"""The part of a snapshot that holds the engines."""


class Engines:
    """Every engine, in order of first heartbeat. So many of them are `online`."""

    def __init__(self) -> None:
        self.online = 0
        self._engines: dict[str, _Engine] = {}
        self._holder: dict[str, str] = {}  # job → engine
        self._offered: dict[tuple[str, ...], frozenset[str] | None] = {}
        """For abilities that were asked about: the codecs that engines with all of them encode,
        `None` for any. It follows from the reports, and is made anew when they change."""

    def get(self, engine_id: str) -> EngineView | None:
        """Return one engine, or `None` if it is not on the list."""
        if (engine := self._engines.get(engine_id)) is None:
            return None
        reported = {name: value for name, value in engine.report.items() if name in _REPORTED}
        return EngineView(
            engine_id=engine_id,
            **reported | ({"status": "busy"} if engine.holds is not None else {}),
            current_job=engine.holds,
            online=engine.online,
            last_seen=engine.last_seen,
            drained=engine.drained,
            blocked=engine.blocked,
            blocked_until=engine.blocked_until,
            fenced_instances=[name for name, again in engine.replaced.items() if again],
            failed_jobs=engine.failed,
            more={name: value for name, value in engine.report.items() if name not in _REPORTED},
        )

    def all(self) -> list[EngineView]:
        """Return every engine as it is at this moment."""
        return [view for engine_id in self._engines if (view := self.get(engine_id)) is not None]

    @property
    def working(self) -> int:
        """How many engines hold a job."""
        return len(self._holder)

    def states(self) -> dict[str, int]:
        """Count the engines by their state; see `STATES`."""
        counts = dict.fromkeys(STATES, 0)
        for engine in self._engines.values():
            counts[_state_of(engine)] += 1
        return counts

    def is_offered(self, codec: str, needs: tuple[str, ...] = ()) -> bool:
        """Whether an engine has told that it encodes a codec and has these abilities."""
        if needs not in self._offered:
            self._offered[needs] = _codecs_of(self._engines.values(), needs)
        codecs = self._offered[needs]
        return codecs is None or codec in codecs

    def snapshot(self) -> EnginesSnapshot:
        """Return what `restore` takes."""
        return self._engines

    @classmethod
    def restore(cls, snapshot: EnginesSnapshot) -> Self:
        """Restore the engines from a snapshot."""
        engines = cls()
        engines._engines = snapshot
        engines._holder = {it.holds: name for name, it in snapshot.items() if it.holds is not None}
        engines.online = sum(it.online for it in snapshot.values())
        return engines

    def apply(self, recorded: Recorded) -> None:
        """Fold one event."""
        match recorded.event:  # the most frequent first: patterns are tried in order
            case events.JobSubmitted():
                pass
            case events.EngineSeen() | events.JobProgressed():
                self._seen(recorded.event.engine_id, recorded.at)
            case events.JobAssigned():
                self._assigned(recorded.event, recorded.at)
            case events.JobCompleted(job_id, engine_id):
                self._release(job_id)
                if engine_id is not None and (known := self._engines.get(engine_id)) is not None:
                    known.failed = []
            case events.JobRequeued() | events.JobFailedPermanently():
                self._release(recorded.event.job_id)
                if recorded.event.blames_engine:
                    self._failed(recorded.event.engine_id, recorded.event.job_id)
            case events.JobCancelled() | events.JobRetried() | events.JobSplit():
                self._release(recorded.event.job_id)
            case events.EngineBlamed(engine_id, job_id):
                self._failed(engine_id, job_id)
            case events.EngineReported(engine_id, report):
                if engine_id not in self._engines or not _OFFERS.isdisjoint(report):
                    self._offered.clear()
                if (engine := self._engines.get(engine_id)) is None:
                    engine = self._engines[engine_id] = _Engine({}, recorded.at)
                    self.online += 1
                engine.report = engine.report | report
                self._seen(engine_id, recorded.at)
            case events.EngineBenchmarked(engine_id, benchmark_time):
                if (known := self._engines.get(engine_id)) is not None:
                    known.report = known.report | {"benchmark_time": benchmark_time}
                self._seen(engine_id, recorded.at)
            case (
                events.EngineReplaced()
                | events.EngineFenced()
                | events.EngineLost()
                | events.EngineBlocked()
                | events.EngineUnblocked()
                | events.EngineDrained()
                | events.EngineResumed()
                | events.EngineForgotten()
            ):
                self._changed(recorded.event)
            case (
                events.JobReleased()
                | events.JobReprioritized()
                | events.JobMadeWhole()
                | events.AnswerRefused()
                | events.EngineAsked()
            ):
                pass
            case _:
                assert_never(recorded.event)

    def _changed(
        self,
        event: events.EngineReplaced
        | events.EngineFenced
        | events.EngineLost
        | events.EngineBlocked
        | events.EngineUnblocked
        | events.EngineDrained
        | events.EngineResumed
        | events.EngineForgotten,
    ) -> None:
        if (engine := self._engines.get(event.engine_id)) is None:
            return
        match event:
            case events.EngineReplaced(_, instance, replaced):
                former = {k: v for k, v in engine.replaced.items() if k not in {instance, replaced}}
                engine.replaced = dict([*former.items(), (replaced, False)][-MOST_REPLACED:])
            case events.EngineFenced(_, instance):
                if instance in engine.replaced:
                    engine.replaced = engine.replaced | {instance: True}
            case events.EngineLost():
                self.online -= engine.online
                engine.online = False
            case events.EngineBlocked(_, reason, until):
                engine.blocked, engine.blocked_until = reason, until
            case events.EngineUnblocked():
                engine.blocked = engine.blocked_until = None
            case events.EngineDrained():
                engine.drained = True
            case events.EngineResumed():
                engine.drained, engine.blocked, engine.blocked_until = False, None, None
                engine.replaced, engine.failed = dict.fromkeys(engine.replaced, False), []
            case events.EngineForgotten(engine_id):
                if engine.holds is not None:
                    self._release(engine.holds)
                self.online -= engine.online
                del self._engines[engine_id]
                self._offered.clear()
            case _:
                assert_never(event)

    def _seen(self, engine_id: str, at: datetime) -> None:
        if (engine := self._engines.get(engine_id)) is not None:
            if not engine.online:
                self._is_back(engine)
            engine.last_seen = at

    def _is_back(self, engine: _Engine) -> None:
        engine.online = True
        self.online += 1

    def _assigned(self, event: events.JobAssigned, at: datetime) -> None:
        engine = self._engines.get(event.engine_id)
        if engine is not None and engine.holds is None:
            self._release(event.job_id)
            engine.holds, self._holder[event.job_id] = event.job_id, event.engine_id
            if not engine.online:
                self._is_back(engine)
            if event.rule == ASKED_BY_NAME:  # otherwise the engine was not the caller
                engine.last_seen = at

    def _failed(self, engine_id: str | None, job_id: str) -> None:
        engine = None if engine_id is None else self._engines.get(engine_id)
        if engine is not None and job_id not in engine.failed:
            engine.failed = [*engine.failed, job_id][-MOST_FAILED:]

    def _release(self, job_id: str) -> None:
        if (engine_id := self._holder.pop(job_id, None)) is not None:
            engine = self._engines[engine_id]
            engine.holds = None
            if engine.report.get("status") != "idle":
                engine.report = engine.report | {"status": "idle"}


def _state_of(engine: _Engine) -> str:
    if not engine.online:
        return "silent"
    if engine.blocked is not None:
        return "blocked"
    is_resting = engine.report.get("status") == "busy" and bool(engine.report.get("resting"))
    if engine.drained or is_resting:
        return "draining"
    is_busy = engine.holds is not None or engine.report.get("status") == "busy"
    return "working" if is_busy else "idle"


def _codecs_of(engines: Iterable[_Engine], needs: tuple[str, ...]) -> frozenset[str] | None:
    found: set[str] = set()
    for engine in engines:
        told = engine.report.get("abilities")
        if needs and not (isinstance(told, list) and all(need in told for need in needs)):
            continue
        codecs = engine.report.get("supported_codecs")
        if not codecs:
            return None
        found.update(codecs)
    return frozenset(found)


MOST_FAILED: Final = 32
STATES: Final = ("working", "idle", "silent", "blocked", "draining")
"""The state of an engine is the first that is true of: silent, blocked, draining (it is drained,
or takes no new jobs of its own accord), working (it holds a job, or says that it is busy), idle."""
_OFFERS = frozenset({"supported_codecs", "abilities"})
_REPORTED = frozenset(
    {
        "engine_type",
        "supported_codecs",
        "status",
        "storage_capacity_gb",
        "streaming_support",
        "benchmark_time",
    }
)
