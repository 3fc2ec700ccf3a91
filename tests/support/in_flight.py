"""Commands that are under way: given, held up, answered."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import pytest

from dispatcher.core.commands import Caller, Command, SubmitJob
from dispatcher.core.dispatcher import Settle
from dispatcher.serving.service import Service
from dispatcher.serving.tickets import UnavailableError
from projections import Projections
from tests.support.watched_log import WatchedLog

__all__ = [
    "TESTER",
    "asking",
    "failure_of",
    "held_up",
    "replayed",
    "seqs",
    "submit",
    "turns_of_the_loop",
    "until",
]

T = TypeVar("T")
TESTER: Final = Caller("tester")


def submit(job_id: str) -> SubmitJob:
    return SubmitJob(job_id, "http://media/in.mp4", "h264")


def seqs(settled: Settle, _: Projections) -> list[int]:
    """Answer with the seqs of what has happened."""
    return [recorded.seq for recorded in settled.records]


def asking(service: Service, command: Command) -> asyncio.Task[list[int]]:
    """Give a command in a request of its own, and its seqs as the answer."""

    async def ask() -> list[int]:
        return await service.execute(command, TESTER, seqs)

    return asyncio.create_task(ask())


async def turns_of_the_loop() -> None:
    """Let everybody run who can run without the disk."""
    for _ in range(20):
        await asyncio.sleep(0)


async def held_up(log: WatchedLog, service: Service, command: Command) -> asyncio.Task[list[int]]:
    """Give a command whose commit does not end until `log.gate` is set."""
    log.gate.clear()
    log.asked.clear()
    request = asking(service, command)
    await log.asked.wait()
    return request


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0)


async def failure_of(request: Coroutine[Any, Any, T] | asyncio.Task[T]) -> str:
    """Give the text with which a request is turned away; one that hangs fails the test."""
    async with asyncio.timeout(30):
        with pytest.raises(UnavailableError) as told:
            await request
    return str(told.value)


async def replayed(log: WatchedLog) -> dict[str, Any]:
    """Give the state that a new start would find."""
    fresh = Service(log)
    await fresh.start()
    await fresh.close()
    return fresh.projections.state()
