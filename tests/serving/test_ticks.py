"""Timers at work: what they do when the dispatcher itself stood still or could not write."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from dispatcher.core import deadlines as timers_module
from dispatcher.core.commands import Command, LoseEngine, ReleaseJob, ReportHeartbeat
from dispatcher.core.events import (
    EngineSeen,
)
from dispatcher.serving.service import Service
from tests.support.given import START, engine, requeued
from tests.support.in_flight import asking, held_up, submit
from tests.support.ticking import Ticking
from tests.support.watched_log import WatchedLog

pytestmark = pytest.mark.anyio

Execute = Callable[[Command], Awaitable[bool]]


@asynccontextmanager
async def running(ticking: Ticking, execute: Execute) -> AsyncIterator[None]:
    task = asyncio.create_task(ticking.timers.run(settled, execute))
    await ticks()
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def settled() -> bool:
    """Say that all that was decided is durable."""
    return True


async def ticks() -> None:
    """Let the timers look at their clock a few times."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _no_pause_between_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers_module, "TICK_S", 0.0)


async def turned(ticking: Ticking, seconds: float) -> None:
    """Turn the clock second by second, as it goes when nothing stands still."""
    for _ in range(int(seconds)):
        ticking.clock.now_s += 1.0
        await ticks()


async def test_what_is_due_is_carried_out() -> None:
    ticking, done = Ticking(), list[Command]()

    async def execute(command: Command) -> bool:
        done.append(command)
        return True

    ticking.notice(engine("e"))
    async with running(ticking, execute):
        await turned(ticking, 59)
        assert done == []
        await turned(ticking, 1)
        assert done == [LoseEngine("e", 60.0)]


async def test_after_the_dispatcher_stood_still_every_engine_has_a_lease_again() -> None:
    ticking, done = Ticking(), list[Command]()

    async def execute(command: Command) -> bool:
        done.append(command)
        return True

    ticking.notice(engine("e"), engine("f"))
    async with running(ticking, execute):
        ticking.clock.now_s += 3600.0
        await ticks()
        assert done == []
        await turned(ticking, 59)
        assert done == []
        await turned(ticking, 1)
        assert done == [LoseEngine("e", 60.0), LoseEngine("f", 60.0)]


async def test_while_a_command_took_long_to_carry_out_the_dispatcher_stood_still_too() -> None:
    ticking, done = Ticking(), list[Command]()

    async def execute(command: Command) -> bool:
        done.append(command)
        if command == LoseEngine("e", 60.0):
            ticking.clock.now_s += 3600.0  # the disk was slow
        return True

    ticking.notice(engine("e"))
    ticking.clock.now_s += 30.0
    ticking.notice(engine("f"))
    async with running(ticking, execute):
        await turned(ticking, 30)
        assert done == [LoseEngine("e", 60.0)]


async def test_an_engine_that_is_heard_while_another_is_being_lost_is_not_lost() -> None:
    ticking, done = Ticking(), list[Command]()

    async def execute(command: Command) -> bool:
        done.append(command)
        ticking.notice(EngineSeen("f"))
        return True

    ticking.notice(engine("e"), engine("f"))
    async with running(ticking, execute):
        await turned(ticking, 60)
        assert done == [LoseEngine("e", 60.0)]


async def test_what_the_log_could_not_take_stays_due() -> None:
    ticking, done, tried = Ticking(), list[Command](), list[Command]()
    is_well = False

    async def execute(command: Command) -> bool:
        (done if is_well else tried).append(command)
        return is_well

    ticking.notice(requeued("a", None, not_before=START + timedelta(seconds=5)))
    async with running(ticking, execute):
        await turned(ticking, 10)
        assert set(tried) == {ReleaseJob("a")}
        is_well = True
        await turned(ticking, 1)
        assert done == [ReleaseJob("a")]


@pytest.mark.parametrize("engine_id", ["e", "f"])
async def test_after_the_log_could_not_be_written_every_engine_has_a_lease_again(
    engine_id: str,
) -> None:
    ticking, done = Ticking(), list[Command]()
    is_well = False

    async def execute(command: Command) -> bool:
        if is_well:
            done.append(command)
        return is_well

    ticking.notice(engine("e"))  # whose lease runs out while the log takes nothing
    ticking.clock.now_s += 30.0
    ticking.notice(engine("f"))
    async with running(ticking, execute):
        await turned(ticking, 40)
        is_well = True
        await turned(ticking, 29)
        assert LoseEngine(engine_id, 60.0) not in done
        await turned(ticking, 60)
        assert LoseEngine(engine_id, 60.0) in done


async def test_a_heartbeat_that_waits_for_the_disk_counts(
    service: Service, log: WatchedLog
) -> None:
    ticking = Ticking()
    service._timers._clock = ticking.clock
    await asking(service, ReportHeartbeat("e", {}))
    submission = await held_up(log, service, submit("a"))
    await turned(ticking, 50)
    beat = asking(service, ReportHeartbeat("e", {}))
    await turned(ticking, 15)
    log.gate.set()
    await asyncio.gather(submission, beat)
    await turned(ticking, 1)
    shown = service.projections.engines.get("e")
    assert shown is not None
    assert shown.online
