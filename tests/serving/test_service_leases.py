"""Leases at the service, with its clock and its log in hand: what must not cost an engine its job.

What must not happen too early is measured with a clock that a slow machine can only put further on.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispatcher.core.commands import AssignJob, Command, CompleteJob, FailJob, ReportHeartbeat
from dispatcher.core.policy import Policy
from dispatcher.log import LogError
from dispatcher.serving import service as service_module
from dispatcher.serving.service import Service
from tests.support.farm import eventually
from tests.support.given import START
from tests.support.in_flight import asking, failure_of, held_up, submit, turns_of_the_loop
from tests.support.watched_log import DISK_FULL, WatchedLog

pytestmark = pytest.mark.anyio

LEASE_S = 0.5
POLICY = Policy(lease_s=LEASE_S)


class WallClock:
    """The wall clock, which somebody may set."""

    def __init__(self) -> None:
        self.put_on = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.put_on


@asynccontextmanager
async def serving(
    log: WatchedLog, clock: WallClock | None = None, policy: Policy = POLICY
) -> AsyncIterator[Service]:
    service = Service(log, policy, clock or WallClock())
    await service.start()
    try:
        yield service
    finally:
        log.gate.set()
        await service.close()


def is_online(service: Service, engine_id: str) -> bool:
    engine = service.projections.engines.get(engine_id)
    assert engine is not None
    return engine.online


async def lost(service: Service, engine_id: str, *meanwhile: Command) -> float:
    """Wait until an engine is lost; give the time of the loop."""

    async def look() -> float | None:
        for command in meanwhile:
            await asking(service, command)
        online = is_online(service, engine_id)
        return None if online else asyncio.get_running_loop().time()

    return await eventually(look)


async def holding(service: Service) -> None:
    for command in (ReportHeartbeat("e", {}), submit("a"), AssignJob("e")):
        await asking(service, command)


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_wall_clock_that_jumps_expires_nothing_early_or_late(
    log: WatchedLog, hours: int
) -> None:
    clock = WallClock()
    async with serving(log, clock) as service:
        heard = asyncio.get_running_loop().time()
        await holding(service)
        clock.put_on = timedelta(hours=hours)
        assert await lost(service, "e") - heard >= LEASE_S
        job = service.projections.jobs.get("a")
        assert job is not None
        assert (job.status, job.retries) == ("pending", 0)


async def repaired(service: Service) -> None:
    async def look() -> bool | None:
        return service.fault is None or None

    await eventually(look)


async def test_after_a_fault_of_the_log_a_whole_lease_passes_before_anything_expires(
    log: WatchedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    mended = asyncio.Event()
    async with serving(log) as service:
        await holding(service)
        monkeypatch.setattr(log, "recover", mended.wait)
        log.append_faults = [LogError(DISK_FULL)]
        await failure_of(asking(service, ReportHeartbeat("f", {})))
        await asyncio.sleep(3 * LEASE_S)  # nobody could be heard for so long
        assert is_online(service, "e")
        again = asyncio.get_running_loop().time()
        mended.set()
        await repaired(service)
        assert is_online(service, "e")
        assert await lost(service, "e") - again >= LEASE_S


async def test_while_a_commit_is_held_up_nothing_expires(log: WatchedLog) -> None:
    """The disk stands still for longer than a lease; the engine has been heard all the time."""
    async with serving(log) as service:
        await holding(service)
        beats = [await held_up(log, service, ReportHeartbeat("e", {}))]
        until = asyncio.get_running_loop().time() + 3 * LEASE_S
        while asyncio.get_running_loop().time() < until:
            beats.append(asking(service, ReportHeartbeat("e", {})))
            await asyncio.sleep(LEASE_S / 5)
        log.gate.set()
        await asyncio.gather(*beats)
        await asking(service, ReportHeartbeat("e", {}))
        job = service.projections.jobs.get("a")
        assert job is not None
        assert (job.status, job.attempt, job.retries) == ("assigned", 1, 0)


async def test_a_heartbeat_that_waits_for_the_disk_counts(
    log: WatchedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that is turned: the lease runs out while the disk has the heartbeat."""
    monkeypatch.setattr(service_module, "TICK_S", 0.0)
    async with serving(log, policy=Policy(lease_s=60.0)) as service:
        now_s = 1000.0
        service._now_s = lambda: now_s
        service._core.restart(service._core.fleet, service._core.seq, at=START, now_s=now_s)
        await asking(service, ReportHeartbeat("e", {}))
        submission = await held_up(log, service, submit("a"))
        beat = None
        for second in range(65):
            now_s += 1.0
            await turns_of_the_loop()
            if second == 50:
                beat = asking(service, ReportHeartbeat("e", {}))
        assert beat is not None
        log.gate.set()
        await asyncio.gather(submission, beat)
        await turns_of_the_loop()
        assert is_online(service, "e")
        now_s += 1.0
        await turns_of_the_loop()
        assert is_online(service, "e")


async def test_an_engine_that_is_heard_while_another_expires_keeps_its_lease(
    log: WatchedLog,
) -> None:
    """Both are due at once; the second is heard while the loss of the first is written."""
    async with serving(log) as service:
        await asyncio.gather(*(asking(service, ReportHeartbeat(e, {})) for e in ("e", "f")))
        log.gate.clear()
        log.asked.clear()
        await log.asked.wait()  # the first is on its way out
        heard = asking(service, ReportHeartbeat("f", {}))
        await turns_of_the_loop()
        again = asyncio.get_running_loop().time()
        log.gate.set()
        await heard
        assert not is_online(service, "e")
        assert await lost(service, "f") - again >= LEASE_S


async def test_what_was_committed_although_it_failed_has_its_timers(
    log: WatchedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause that nobody ends would keep the job in limbo."""
    policy = Policy(lease_s=60, retry_backoff_s=0.1)
    whole_append = log.append

    async def append(*arguments: Any, **more: Any) -> None:
        await whole_append(*arguments, **more)
        raise LogError(DISK_FULL)

    async with serving(log, policy=policy) as service:
        await holding(service)
        monkeypatch.setattr(log, "append", append)
        await failure_of(asking(service, FailJob("a", "broke")))
        monkeypatch.setattr(log, "append", whole_append)
        await repaired(service)

        async def look() -> bool | None:
            return bool(await asking(service, AssignJob("e"))) or None

        async with asyncio.timeout(30):
            await eventually(look)
        await asking(service, CompleteJob("a", "out"))
