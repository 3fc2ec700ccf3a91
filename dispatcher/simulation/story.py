"""The story of some jobs and engines, for people to read.

A run records no story. To get one, the run is repeated with the same seed and the names of
interest.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from dispatcher.core.commands import AssignJob, Command, ReportHeartbeat
from dispatcher.core.dispatcher import Settle
from dispatcher.core.events import EngineReported, EngineSeen, Event, JobProgressed
from dispatcher.core.replies import Refused
from dispatcher.simulation.agenda import moment
from dispatcher.simulation.calls import Call

__all__ = ["KEPT", "Story"]

KEPT: Final = 40
"""The number of lines kept, the newest."""
_MAX_CHARACTERS: Final = 160


class Story:
    """The newest lines about the given names. Without names it records nothing."""

    def __init__(self, about: Iterable[str] = ()) -> None:
        self.about = frozenset(about)
        self.told = 0
        self.lines: deque[str] = deque(maxlen=KEPT)

    def step(self, now_us: int, settle: Settle) -> None:
        """Record a command and its events, except plain heartbeats and requests without work."""
        command, records, reply, _ = settle
        if not self.about:
            return
        happened = [recorded.event for recorded in records]
        is_routine = isinstance(command, ReportHeartbeat | AssignJob) and all(
            isinstance(event, EngineSeen | JobProgressed) for event in happened
        )
        if is_routine or not any(map(self._is_about, (command, *happened))):
            return
        caller = settle.ticket.sender.name if isinstance(settle.ticket, Call) else "dispatcher"
        self._add_line(now_us, f"{caller:<10} {_words(command)}")
        for event in happened:
            self._add_line(now_us, f"{'':<12}=> {_words(event)}")
        if isinstance(reply, Refused):
            self._add_line(now_us, f"{'':<12}=> refused: {reply.text}")
        elif not happened:
            self._add_line(now_us, f"{'':<12}=> nothing")

    def message(self, now_us: int, command: Command, fate: str) -> None:
        """Record what the network did to a request or its response, except for heartbeats."""
        if self.about and self._is_about(command) and not isinstance(command, ReportHeartbeat):
            self._add_line(now_us, f"{'network':<10} {_words(command)} {fate}")

    def note(self, now_us: int, name: str | None, text: str) -> None:
        """Record an incident. Without a name it concerns everybody."""
        if self.about and (name is None or name in self.about):
            self._add_line(now_us, f"{'world':<10} {'' if name is None else name + ' '}{text}")

    def _is_about(self, it: Command | Event) -> bool:
        return any(getattr(it, field, None) in self.about for field in ("job_id", "engine_id"))

    def _add_line(self, now_us: int, text: str) -> None:
        self.told += 1
        self.lines.append(f"{moment(now_us)}  {text[:_MAX_CHARACTERS]}")


def _words(it: Command | Event) -> str:
    """Format a command or an event with its fields that have a value."""
    fields: dict[str, Any] = msgspec.structs.asdict(it)
    if isinstance(it, ReportHeartbeat | EngineReported):
        fields = {k: v for k, v in fields.items() if k != "report"} | (
            {"instance": it.report["instance"]} if "instance" in it.report else {}
        )
    said = (f"{k}={v}" for k, v in fields.items() if v is not None and v != [])
    return f"{type(it).__name__}({', '.join(said)})"
