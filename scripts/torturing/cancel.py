"""Clients that hang up at every await point of a request, and at every byte of one.

Laws:
- A request is cut in both ways that there are: its task is cancelled, as at the end of a stop's
  grace (its answer may then be 503, to be tried again), or its client is gone, which it is told
  when it asks, and what it sends goes nowhere.
- After each cut the dispatcher is whole: of the request's events all are in the log or none, what
  is live is byte for byte what the log replays to, others are answered, and nothing is left
  behind: no task, no waiter, no stream, no question in hand.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec
from litestar.types import ASGIApp

from dispatcher.api.app import create_app
from dispatcher.api.errors import stopped
from dispatcher.log.checkpoints import Signer
from dispatcher.log.sqlite import SqliteLog
from dispatcher.serving.as_of import Past
from dispatcher.serving.quotas import Quotas
from dispatcher.serving.service import Service
from dispatcher.state.replay import State, replay
from dispatcher.state.snapshots import encode

from . import Outcome, Tell
from .exchanges import CUTS, KINDS, Exchange, Kind, Request, cut_at
from .hanging_up import hang_up
from .serving import until

__all__ = ["LONG", "SHORT", "run"]

LONG: Final = 25
SHORT: Final = 1

TURNS: Final = 60
"""Turns of the event loop within which nearly every request is answered."""
CUTS_BY_TURNS: Final = 40
"""Requests a round that are cut after some turns of the loop, wherever they and theirs stand."""
ANSWER_S: Final = 20
WORKERS_KEEPER: Final = "AnyIO process pool shutdown task"
"""A task that comes with the first worker process, and stays as long as the event loop."""

AWAITS: Final = (
    "A client that hangs up at any await point of a request leaves no half-written event, no stuck "
    "writer, no leaked waiter, and a fleet that equals the replay."
)


async def run(rounds: int, seed: int, tell: Tell) -> list[Outcome]:
    """Cut requests in this process, at their await points; and others on real sockets."""
    return [
        await _cut_everywhere(rounds, Random(f"cut {seed}"), tell),  # noqa: S311 - no secret
        await hang_up(rounds, Random(f"hang up {seed}"), tell),  # noqa: S311
    ]


async def _cut_everywhere(rounds: int, random: Random, tell: Tell) -> Outcome:
    begun = time.monotonic()
    facts: dict[str, Any] = {"kinds of requests": len(KINDS), "await points": 0, "cuts": 0}
    failures: list[str] = []
    for number in range(rounds):
        for kind in KINDS:
            tell(f"await points, {number + 1} of {rounds}: {kind.name}")
            async with _dispatching() as cutting:
                for how in CUTS:
                    facts["await points"] += await cutting.at_each_await(kind, how)
                await cutting.check_wholeness()
            facts["cuts"] += cutting.cuts
            failures += [f"{kind.name}: {failure}" for failure in cutting.failures]
        tell(f"turns of the loop, {number + 1} of {rounds}")
        async with _dispatching() as cutting:
            for _ in range(CUTS_BY_TURNS):
                kind, how = random.choice(KINDS), random.choice(list(CUTS))
                await cutting.after_turns(kind, how, random.randrange(TURNS))
            await cutting.check_wholeness()
        facts["cuts"] += cutting.cuts
        failures += cutting.failures
    return Outcome("Cancel", AWAITS, rounds, time.monotonic() - begun, facts, failures)


@asynccontextmanager
async def _dispatching() -> "AsyncIterator[_Cutting]":
    """Run a dispatcher in this process, on a log of its own."""
    with TemporaryDirectory(prefix="torture-") as name:
        log = await SqliteLog.open(Path(name, "events.db"))
        quotas = Quotas()
        past = Past(log.path, questions=quotas.questions)
        service = Service(log, past=past, quotas=quotas)
        await service.start()
        app = create_app(service, None, Signer.load_or_create(Path(name, "key")))
        try:
            yield _Cutting(app, service)
        finally:
            await service.close()
            await log.close()


class _Cutting:
    """Cuts requests to a dispatcher, and looks after each whether all is well."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.failures: list[str] = []
        self.cuts = 0
        self._app = app
        self._service = service
        self._tasks = asyncio.all_tasks()
        self._numbers = count(1)
        self._kinds: dict[str, str] = {}

    async def at_each_await(self, kind: Kind, how: str) -> int:
        """Cut a request of this kind at its first await point, another at the second, and so on.

        Gives how many there are.
        """
        for step in count():
            number = next(self._numbers)
            exchange = await self._prepared(kind, number)
            running = cut_at(exchange.run(self._app), step, partial(CUTS[how], exchange))
            exchange.task = asyncio.create_task(running)
            await self._ended(exchange, kind, number, f"{how} at await point {step}")
            if not exchange.was_cut:
                return step
        raise AssertionError

    async def after_turns(self, kind: Kind, how: str, turns: int) -> None:
        """Cut a request of this kind after some turns of the event loop."""
        number = next(self._numbers)
        exchange = await self._prepared(kind, number)
        exchange.task = asyncio.create_task(exchange.run(self._app))

        async def cut() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            CUTS[how](exchange)

        cutting = asyncio.create_task(cut())
        await self._ended(exchange, kind, number, f"{how} after {turns} turns")
        await cutting

    async def check_wholeness(self) -> None:
        """Check that the requests of a kind had all of their events in the log, or none."""
        wholes: dict[str, set[int]] = {}
        written: dict[tuple[str, str], int] = {}
        async with aclosing(self._service.log.entries()) as pages:
            async for page in pages:
                for entry in page:
                    kind = self._kinds.get(entry.request_id or "")
                    if kind is not None:
                        at = kind, entry.request_id or ""
                        written[at] = written.get(at, 0) + 1
        for (kind, _), events in written.items():
            wholes.setdefault(kind, set()).add(events)
        for kind, sizes in wholes.items():
            if len(sizes) > 1:
                self.failures.append(f"{kind}: {sorted(sizes)} events of a request were written")

    async def _prepared(self, kind: Kind, number: int) -> Exchange:
        request = kind.of(number, await kind.before(self._ask, number))
        request_id = f"request {number}"
        self._kinds[request_id] = kind.name
        return Exchange(request, request_id)

    async def _ask(self, request: Request) -> Any:
        """Ask, as somebody else whom nobody cuts off."""
        exchange = Exchange(request, f"other {next(self._numbers)}")
        async with asyncio.timeout(ANSWER_S):
            await exchange.run(self._app)
        if exchange.status not in {200, 204}:
            raise _NotAnsweredError(f"{request} got {exchange.status}: {exchange.body!r}")
        is_json = exchange.body[:1] in {b"{", b"["}
        return msgspec.json.decode(exchange.body) if is_json else exchange.body

    async def _ended(self, exchange: Exchange, kind: Kind, number: int, how: str) -> None:
        """Wait for the end of a request, and look whether all is well then."""
        assert exchange.task is not None  # noqa: S101 - it has begun
        try:
            async with asyncio.timeout(ANSWER_S), asyncio.TaskGroup() as others:
                if kind.meanwhile is not None:
                    others.create_task(kind.meanwhile(self._ask, number))
                with suppress(asyncio.CancelledError):
                    await exchange.task
            await self._look()
        except (TimeoutError, _NotAnsweredError, ExceptionGroup) as error:
            self.failures.append(f"{kind.name}, {how}: {error!r}")
        except _AmissError as error:
            self.failures.append(f"{kind.name}, {how}: {error}")
        if _is_failed(exchange):
            self.failures.append(f"{kind.name}, {how}: {exchange.status} {exchange.body!r}")
        self.cuts += exchange.was_cut

    async def _look(self) -> None:
        """See whether others are answered, nothing is left behind, and all agree."""
        engine_id = f"after {next(self._numbers)}"
        await self._ask(Request("POST", "/engines/heartbeat", {"engine_id": engine_id}))
        service = self._service
        if not await until(self._is_idle, ANSWER_S, every_s=0):
            raise _AmissError(f"left behind: {self._left()}")
        log, head = service.log, -1
        while head != log.head:  # a lease may run out meanwhile
            head = log.head
            live = encode(State(service._core.fleet, service.projections), log.tree)  # noqa: SLF001
            if live == encode(await replay(log), log.tree):
                return
        raise _AmissError("the replay gives another state than the one that is live")

    async def _is_idle(self) -> bool:
        return not any(self._left().values())

    def _left(self) -> dict[str, int]:
        """Count what there should be none of when nobody asks."""
        service = self._service
        tasks = [task.get_name() for task in asyncio.all_tasks() - self._tasks]
        return {
            "tasks": len([name for name in tasks if name != WORKERS_KEEPER]),
            "waiters": len(service._core.waiting()),  # noqa: SLF001 - it shows nowhere else
            "streams": service.feed.streams,
            "commands": len(service._commits._queue),  # noqa: SLF001
            "questions": service.quotas.questions.held,
            "polls": service.quotas.polls.held,
            "unread bytes": service.quotas.answers.held,
        }


def _is_failed(exchange: Exchange) -> bool:
    """Tell whether the answer is an error of the server's, other than that it stops."""
    if exchange.was_cut and (exchange.status, exchange.body) == (503, stopped().body):
        return False
    return exchange.status is not None and exchange.status >= 500  # noqa: PLR2004


class _NotAnsweredError(Exception):
    """Somebody who was not cut off was not answered."""


class _AmissError(Exception):
    """Something is not as it should be after a cut."""
