"""Clients and engines of several dispatchers at once, who record every call and its answer.

Laws:
- Each asks any dispatcher, and another one if that gives no answer, or 502, 503 or 504.
- What may have been done without an answer is asked again only if the protocol says that this does
  no harm. All tries together are one call then, from the first one's beginning to the answer.
- Everybody carries the highest seq that anybody has seen, so nobody may read older than that.
- An engine asks with `resume`. Once it had no answer, an old request of its may still give it a
  job, so from then on each assignment counts as asked for since.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from random import Random
from typing import Any, Final, NamedTuple

from .linear import Call
from .lives import Assign, Cancel, Complete, Fail, Life, Read, Submit, is_sound
from .wire import GONE, Answer, Wire

__all__ = ["Crowd", "History", "Place"]

ASK_S: Final = 5.0
"""An answer that takes longer does not come."""
PAUSE_S: Final = 0.03
"""The mean pause between two calls of a client, so that the machine is not the limit."""
RECENT: Final = 12
"""Jobs that are looked at and cancelled: the newest, of which something is still to be told."""
AWAY: Final = frozenset({502, 503, 504})
OK: Final = 200
NO_WORK: Final = 204


class Place(NamedTuple):
    """Where a dispatcher answers."""

    host: str
    port: int


class History:
    """All calls about each job, by its source, and when writes were acknowledged."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Call]] = {}
        self.sources: dict[str, str] = {}  # by job id
        self.seen = 0
        self.acknowledged_s: list[float] = []
        self.failures: list[str] = []
        self.counts: Counter[str] = Counter()

    def add(self, source: str, call: Call) -> None:
        """Add a call."""
        self.calls.setdefault(source, []).append(call)
        name = type(call.asked).__name__.lower()
        if call.answered is None:
            self.counts[f"{name} unanswered"] += 1
            return
        self.counts[name] += 1
        if not isinstance(call.asked, Read):
            self.acknowledged_s.append(call.ended_s)

    def longest_stall_s(self, since_s: float, until_s: float) -> float:
        """Return the longest time between two acknowledged writes."""
        times = [since_s, *(it for it in self.acknowledged_s if since_s < it < until_s), until_s]
        return max(later - earlier for earlier, later in pairwise(times))

    def unsound(self) -> list[str]:
        """Return the jobs whose histories no order explains."""
        return [
            f"no order explains the history of {source}: {_told(calls)}"
            for source, calls in self.calls.items()
            if not is_sound(calls)
        ]

    def read_last(self, jobs: list[dict[str, Any]]) -> None:
        """Add what a dispatcher shows when nothing is under way any more."""
        now_s = time.monotonic()
        by_source: dict[str, dict[str, Any]] = {}
        for job in jobs:
            source = job["source_url"]
            if source in by_source:
                self.failures.append(f"{source} was submitted once, and is there twice")
            by_source[source] = job
            if source not in self.calls:
                self.failures.append(f"{source} was not submitted, and is there")
        for source in self.calls:
            life = _life_of(by_source[source]) if source in by_source else Life("absent")
            self.add(source, Call(Read(), life, now_s, now_s))


def _told(calls: list[Call]) -> str:
    began_s = min(it.invoked_s for it in calls)
    return "; ".join(
        f"{it.invoked_s - began_s:.3f}-{it.ended_s - began_s:.3f} "
        f"{type(it.asked).__name__}{tuple(it.asked)} {_short(it.answered)}"
        for it in sorted(calls, key=lambda it: it.invoked_s)
    )


def _short(answered: Any) -> str:
    if isinstance(answered, Life):
        return f"{answered.status} {answered.attempts} {answered.engine}"
    return "unanswered" if answered is None else str(answered)


def _life_of(job: Mapping[str, Any]) -> Life:
    status = job["status"]
    return Life(
        status,
        attempts=job["attempt"],
        engine=job["assigned_engine"] if status == "assigned" else "",
        output=job["output_url"] or "",
    )


class _Caller:
    """Asks dispatchers, over a connection to each."""

    def __init__(self, places: list[Place], key: str, history: History, random: Random) -> None:
        self._places, self._key = places, key
        self._history, self.random = history, random
        self._wires: dict[Place, Wire] = {}
        self._place = random.choice(places)

    async def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer | None:
        """Ask once; `None` if nobody knows what came of it. Then another dispatcher is next."""
        place, history = self._place, self._history
        told = {"X-Dispatcher-Seq": str(history.seen)} | dict(headers or {})
        try:
            async with asyncio.timeout(ASK_S):
                if (wire := self._wires.pop(place, None)) is None:
                    wire = await Wire.to(place.port, self._key, place.host)
                try:
                    answer = await wire.ask(method, path, body, told)
                except BaseException:
                    wire.close()
                    raise
        except (*GONE, TimeoutError):
            await self._move_on()
            return None
        self._wires[place] = wire
        if answer.status in AWAY:
            await self._move_on()
            return None
        history.seen = max(history.seen, int(answer.headers.get("x-dispatcher-seq", 0)))
        if self.random.random() < 0.1:  # noqa: PLR2004
            self._place = self.random.choice(self._places)
        return answer

    async def pause(self) -> None:
        """Let others do something."""
        await asyncio.sleep(self.random.expovariate(1 / PAUSE_S))

    def close(self) -> None:
        """Let go of the connections."""
        for wire in self._wires.values():
            wire.close()
        self._wires.clear()

    async def _move_on(self) -> None:
        await self.pause()
        self._place = self.random.choice([it for it in self._places if it != self._place])


class Crowd:
    """Submitters, engines, and those who look at jobs and cancel some; see `work`."""

    def __init__(self, places: list[Place], key: str, history: History, random: Random) -> None:
        self._places, self._key, self._random = places, key, random
        self.history = history
        self._engines: dict[str, _Engine] = {
            f"engine-{n}": _Engine(f"engine-{n}", history) for n in range(4)
        }
        self._recent: list[str] = []
        self._sent = 0

    async def work(self) -> None:
        """Work until cancelled."""
        callers = [self._caller() for _ in range(3 + len(self._engines) + 3)]
        try:
            async with asyncio.TaskGroup() as tasks:
                for caller in callers[:3]:
                    tasks.create_task(self._submit(caller))
                for caller in callers[3:6]:
                    tasks.create_task(self._look(caller))
                for engine, caller in zip(self._engines.values(), callers[6:], strict=True):
                    tasks.create_task(engine.work(caller))
        finally:
            for caller in callers:
                caller.close()

    async def settle(self) -> None:
        """Have every engine learn which job it has, when nobody works any more."""
        for engine in self._engines.values():
            caller = self._caller()
            await engine.settle(caller)
            caller.close()

    def _caller(self) -> _Caller:
        return _Caller(self._places, self._key, self.history, Random(self._random.random()))  # noqa: S311

    async def _submit(self, caller: _Caller) -> None:
        while True:
            self._sent += 1
            source = f"http://media.test/{self._sent}"
            fields = {"source_url": source, "target_codec": "h264", "max_retries": 1_000}
            began_s, answer = time.monotonic(), None
            try:
                while answer is None:
                    answer = await caller.ask("POST", "/jobs/", fields, {"Idempotency-Key": source})
            finally:
                if answer is None:
                    self.history.add(source, Call(Submit(), None, began_s))
            if answer.status != OK:
                self.history.failures.append(f"{source} was answered {answer}")
                continue
            job_id = answer.json()["job_id"]
            self.history.sources[job_id] = source
            self.history.add(source, Call(Submit(), job_id, began_s, time.monotonic()))
            self._recent = [*self._recent, job_id][-RECENT:]
            await caller.pause()

    async def _look(self, caller: _Caller) -> None:
        while True:
            await caller.pause()
            if not self._recent:
                continue
            job_id = caller.random.choice(self._recent)
            if caller.random.random() < 0.05:  # noqa: PLR2004
                await self._cancel(caller, job_id)
            else:
                await self._read(caller, job_id)

    async def _read(self, caller: _Caller, job_id: str) -> None:
        began_s = time.monotonic()
        if (answer := await caller.ask("GET", f"/jobs/{job_id}")) is None:
            self.history.counts["read unanswered"] += 1
            return
        life = _life_of(answer.json()) if answer.status == OK else Life("absent")
        source = self.history.sources[job_id]
        self.history.add(source, Call(Read(), life, began_s, time.monotonic()))

    async def _cancel(self, caller: _Caller, job_id: str) -> None:
        source, began_s, answer = self.history.sources[job_id], time.monotonic(), None
        try:
            answer = await caller.ask("DELETE", f"/jobs/{job_id}")
        finally:
            if answer is None:
                self.history.add(source, Call(Cancel(), None, began_s))
        if answer is not None:
            accepted = answer.status == OK
            self.history.add(source, Call(Cancel(), accepted, began_s, time.monotonic()))


class _Engine:
    """Does jobs, one after the other."""

    def __init__(self, name: str, history: History) -> None:
        self.name = name
        self._history = history
        self._unanswered_s: float | None = None
        self._job: tuple[str, str, int] | None = None  # its source, its id, the attempt

    async def work(self, caller: _Caller) -> None:
        """Do jobs until cancelled."""
        while True:
            if self._job is None:
                await self._ask_for_work(caller)
            else:
                await self._report(caller, *self._job)
            await caller.pause()

    async def settle(self, caller: _Caller) -> None:
        """Ask for work until there is an answer, unless it is known what job it has."""
        while self._job is None and not await self._ask_for_work(caller, wait_s=0):
            await caller.pause()

    async def _ask_for_work(self, caller: _Caller, wait_s: float = 1) -> bool:
        """Ask once, and return whether there was an answer."""
        told = {"engine_id": self.name, "supported_codecs": ["h264"]}
        if await caller.ask("POST", "/engines/heartbeat", told) is None:
            return False
        began_s, answer = time.monotonic(), None
        asked = {"engine_id": self.name, "resume": True, "wait_s": wait_s}
        try:
            answer = await caller.ask("POST", "/assign_job/", asked)
        finally:
            if answer is None:
                self._unanswered_s = self._unanswered_s or began_s
        if answer is None or answer.status == NO_WORK:
            return answer is not None
        if answer.status != OK:
            self._history.failures.append(f"{self.name} asked for a job: {answer}")
            return True
        job = answer.json()
        self._job = job["source_url"], job["job_id"], job["attempt"]
        since_s = self._unanswered_s or began_s
        self._history.add(
            job["source_url"], Call(Assign(self.name), job["attempt"], since_s, time.monotonic())
        )
        return True

    async def _report(self, caller: _Caller, source: str, job_id: str, attempt: int) -> None:
        asked: Complete | Fail
        told: dict[str, Any] = {"engine_id": self.name, "attempt": attempt}
        if caller.random.random() < 0.8:  # noqa: PLR2004
            output = f"http://media.test/out/{job_id}/{attempt}"
            asked, path = Complete(self.name, attempt, output), f"/jobs/{job_id}/complete"
            told |= {"output_url": output}
        else:
            asked, path = Fail(self.name, attempt), f"/jobs/{job_id}/fail"
            told |= {"error_message": "no luck"}
        began_s, answer, tries = time.monotonic(), None, 0
        try:
            while answer is None:
                tries += 1
                answer = await caller.ask("POST", path, told)
        finally:
            if answer is None:
                self._history.add(source, Call(asked, None, began_s))
        self._job = None
        if answer.status != OK and tries > 1:
            # An earlier try may have been accepted, after which this one is refused; or not.
            self._history.add(source, Call(asked, None, began_s))
        else:
            accepted = answer.status == OK
            self._history.add(source, Call(asked, accepted, began_s, time.monotonic()))
