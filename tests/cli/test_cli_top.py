"""`top`: the farm as it changes, in a real terminal."""

from pathlib import Path
from typing import Final

import pytest

from dispatcher.client import Client
from tests.support.commands import command
from tests.support.servers import Running
from tests.support.terminals import Terminal

pytestmark = pytest.mark.anyio

SOURCE: Final = "http://media/holiday.mp4"


async def at_work(dispatcher: Client, waiting: int = 1) -> list[str]:
    await dispatcher.heartbeat("farm-1")
    await dispatcher.heartbeat("farm-2")
    ids = [(await dispatcher.submit(SOURCE, "h264")).job_id for _ in range(1 + waiting)]
    held = await dispatcher.assign("farm-1")
    assert held is not None
    await dispatcher.heartbeat("farm-1", {"current_job": held.job_id, "progress": 42.0})
    return ids


async def test_it_shows_the_farm_as_it_changes_until_q(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    ids = await at_work(dispatcher)
    async with Terminal(tmp_path, "top", server=server.url, columns=120) as terminal:
        await terminal.shows("1 in work, 1 waiting, 0 completed, 0 failed, 0 cancelled")
        await terminal.shows("engines busy, 1: farm-1")
        await terminal.shows("engines idle, 1: farm-2")
        await terminal.shows("42 %")
        await terminal.shows("%/min")
        await terminal.shows(ids[1])
        terminal.forget()
        await dispatcher.complete(ids[0], "o", engine_id="farm-1", attempt=1)
        await terminal.shows("0 in work, 1 waiting, 1 completed")
        terminal.types("q")
        assert await terminal.ended() == 0
    assert "Traceback" not in terminal.text


async def test_the_arrows_scroll_and_space_holds_it(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    await at_work(dispatcher, waiting=30)
    async with Terminal(tmp_path, "top", server=server.url, columns=120, lines=16) as terminal:
        await terminal.shows("0 above")
        terminal.types("\x1b[B")
        await terminal.shows("1 above")
        terminal.types("jj")
        await terminal.shows("3 above")
        terminal.types(" ")
        await terminal.shows("held")
        terminal.types("\x03")
        assert await terminal.ended() == 0
    assert "Traceback" not in terminal.text


async def test_elsewhere_it_shows_the_farm_once(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    ids = await at_work(dispatcher)
    done = await command(tmp_path, "top", server=server.url)
    assert (done.status, done.err) == (0, "")
    assert "1 in work, 1 waiting" in done.out
    assert "\x1b" not in done.out
    assert all(job_id in done.out for job_id in ids)


async def test_a_dispatcher_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    async with Terminal(tmp_path, "top", server="http://127.0.0.1:1") as terminal:
        assert await terminal.ended() == 3
    assert "can't be reached" in terminal.text
