"""What every log keeps, whatever it is made of (`dispatcher.log.Log`).

A new kind of log joins by one line in `FACTORIES`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from dispatcher.events import EngineReported, EngineSeen, Recorded
from dispatcher.log import Log, LogError, WrongHeadError
from dispatcher.log.sqlite import PAGE, SqliteLog

pytestmark = pytest.mark.anyio

Opener = Callable[[], Awaitable[Log]]
"""Opens the same log each time."""

START: Final = datetime(2024, 1, 1, tzinfo=UTC)


def sqlite_in(directory: Path) -> Opener:
    return lambda: SqliteLog.open(directory / "events.db")


FACTORIES: Final[list[Callable[[Path], Opener]]] = [sqlite_in]


@pytest.fixture(params=FACTORIES)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    factory: Callable[[Path], Opener] = request.param
    return factory(tmp_path)


@pytest.fixture
async def log(opener: Opener) -> AsyncIterator[Log]:
    opened = await opener()
    yield opened
    await opened.close()


def events(first: int, last: int) -> list[Recorded]:
    return [
        Recorded(seq, START + timedelta(microseconds=seq), "tester", EngineSeen(f"engine {seq}"))
        for seq in range(first, last + 1)
    ]


async def everything(log: Log, after: int = 0) -> list[Recorded]:
    return [recorded async for page in log.read(after) for recorded in page]


async def test_a_new_log_is_empty(log: Log) -> None:
    assert log.head == 0
    assert await everything(log) == []


async def test_what_was_appended_is_read_in_order(log: Log) -> None:
    await log.append(events(1, 3), 0)
    await log.append(events(4, 4), 3)
    assert log.head == 4
    assert await everything(log) == events(1, 4)


async def test_an_event_is_read_as_it_was_written(log: Log) -> None:
    odd = {"é\x00": [1, 1.0, True, None, {"🎬": ""}], "big": 2**70, "nil": None}
    written = Recorded(1, START.replace(microsecond=7), "ключ '\"", EngineReported("\u2028", odd))
    await log.append([written], 0)
    (read,) = await everything(log)
    assert repr(read.event) == repr(written.event)
    assert read == written


async def test_time_may_step_back(log: Log) -> None:
    later, earlier = (Recorded(n, START - timedelta(n), "t", EngineSeen("e")) for n in (1, 2))
    await log.append([later, earlier], 0)
    assert await everything(log) == [later, earlier]


@pytest.mark.parametrize("expected_head", [0, 1, 3, 2**40])
async def test_a_batch_decided_on_another_head_is_refused(log: Log, expected_head: int) -> None:
    await log.append(events(1, 2), 0)
    with pytest.raises(WrongHeadError) as told:
        await log.append(events(expected_head + 1, expected_head + 1), expected_head)
    assert str(told.value) == (
        f"events were decided on top of seq {expected_head}, but the log stands at 2; "
        "read the log from there and decide again"
    )
    assert await everything(log) == events(1, 2)


async def test_a_refused_head_needs_no_recovery(log: Log) -> None:
    await log.append(events(1, 2), 0)
    with pytest.raises(WrongHeadError):
        await log.append(events(1, 1), 0)
    await log.append(events(3, 3), 2)
    assert await everything(log) == events(1, 3)


GAPS: Final = [
    pytest.param([*events(1, 1), *events(3, 3)], id="inside"),
    pytest.param([*events(1, 2), *events(2, 2)], id="twice the same"),
    pytest.param(events(2, 3), id="before the first"),
    pytest.param(events(0, 1), id="before the beginning"),
]


@pytest.mark.parametrize("batch", GAPS)
async def test_a_batch_with_a_gap_leaves_nothing(log: Log, batch: list[Recorded]) -> None:
    with pytest.raises(LogError):
        await log.append(batch, 0)
    assert log.head == 0
    assert await everything(log) == []


@pytest.mark.parametrize("batch", GAPS)
async def test_a_refused_batch_leaves_nothing_after_a_reopening(
    opener: Opener, batch: list[Recorded]
) -> None:
    log = await opener()
    with pytest.raises(LogError):
        await log.append(batch, 0)
    await log.close()
    log = await opener()
    assert log.head == 0
    assert await everything(log) == []
    await log.close()


@pytest.mark.parametrize("batch", GAPS)
async def test_after_a_refused_batch_and_recovery_the_log_takes_writes(
    log: Log, batch: list[Recorded]
) -> None:
    await log.append(events(1, 1), 0)
    shifted = [Recorded(r.seq + 1, r.at, r.actor, r.event) for r in batch]
    with pytest.raises(LogError):
        await log.append(shifted, 1)
    await log.recover()
    assert log.head == 1
    await log.append(events(2, 3), 1)
    assert await everything(log) == events(1, 3)


async def test_recovery_of_a_healthy_log_changes_nothing(log: Log) -> None:
    await log.append(events(1, 2), 0)
    await log.recover()
    assert log.head == 2
    assert await everything(log) == events(1, 2)


@pytest.mark.parametrize("after", [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 1, 2 * PAGE + 5])
async def test_a_long_log_is_read_in_pages_from_any_seq(log: Log, after: int) -> None:
    head = 2 * PAGE + 1
    await log.append(events(1, head), 0)
    pages = [page async for page in log.read(after)]
    assert [recorded for page in pages for recorded in page] == events(after + 1, head)
    assert all(0 < len(page) <= PAGE for page in pages)


async def test_a_read_ends_at_the_head_of_the_moment_when_it_began(log: Log) -> None:
    await log.append(events(1, PAGE + 1), 0)
    pages = log.read()
    first = await anext(pages)
    await log.append(events(PAGE + 2, PAGE + 2), PAGE + 1)
    rest = [recorded async for page in pages for recorded in page]
    assert [*first, *rest] == events(1, PAGE + 1)


async def test_a_log_survives_being_closed_and_reopened(opener: Opener) -> None:
    for n in range(1, 4):
        log = await opener()
        assert log.head == n - 1
        await log.append(events(n, n), n - 1)
        await log.close()
    log = await opener()
    assert await everything(log) == events(1, 3)
    await log.close()


async def test_a_log_can_be_closed_twice(opener: Opener) -> None:
    log = await opener()
    await log.close()
    await log.close()


async def test_a_closed_log_takes_no_writes(opener: Opener) -> None:
    log = await opener()
    await log.close()
    with pytest.raises(LogError):
        await log.append(events(1, 1), 0)
