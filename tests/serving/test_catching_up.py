"""Waiting until the projections show what a caller has seen."""

import asyncio

import pytest

from dispatcher.serving import catching_up
from dispatcher.serving.catching_up import BehindError, CatchingUp

pytestmark = pytest.mark.anyio


class Log:
    """A log that grows when it is told to, and those who wait for it."""

    def __init__(self) -> None:
        self.seq = 0
        self.catching_up = CatchingUp(lambda: self.seq)

    def grows_to(self, seq: int) -> None:
        while self.seq < seq:
            self.seq += 1
            self.catching_up.notice(self.seq)


async def waiting_for(log: Log, *seqs: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(log.catching_up.until(seq)) for seq in seqs]
    await asyncio.sleep(0)  # so that they begin
    return tasks


async def test_what_is_there_is_not_waited_for() -> None:
    log = Log()
    log.grows_to(3)
    for seq in (0, 1, 3):
        await log.catching_up.until(seq)
    assert not log.catching_up.is_awaited


async def test_each_is_woken_by_its_own_event() -> None:
    log = Log()
    third, first, other_third = await waiting_for(log, 3, 1, 3)
    log.grows_to(1)
    await first
    assert log.catching_up.is_awaited
    assert not third.done()
    log.grows_to(3)
    await asyncio.gather(third, other_third)
    assert not log.catching_up.is_awaited


async def test_one_who_waits_in_vain_is_told_what_was_seen_and_what_is_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catching_up, "WAIT_S", 0.01)
    log = Log()
    log.grows_to(41)
    with pytest.raises(BehindError, match=r"log is at seq 41, and its client has seen seq 57"):
        await log.catching_up.until(57)
    assert not log.catching_up.is_awaited


async def test_nobody_waits_when_it_ends_or_for_one_that_has_gone() -> None:
    log = Log()
    (gone,) = await waiting_for(log, 7)
    gone.cancel()
    await asyncio.wait({gone})
    assert not log.catching_up.is_awaited
    waiting = await waiting_for(log, 1, 2)
    log.catching_up.end()
    for task in (*waiting, *await waiting_for(log, 3)):
        with pytest.raises(BehindError):
            await task
    assert not log.catching_up.is_awaited
