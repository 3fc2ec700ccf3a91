"""When the log can't be written: nobody is told what is not so, and writes come back."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
import stamina

from dispatcher.core.explanations import explain
from dispatcher.log import LogError
from dispatcher.log.serialization import LogEntry
from dispatcher.serving.service import Service
from dispatcher.serving.tickets import RefusedError
from tests.support.in_flight import (
    asking,
    failure_of,
    held_up,
    replayed,
    submit,
    turns_of_the_loop,
    until,
)
from tests.support.watched_log import DISK_FULL, WatchedLog

pytestmark = pytest.mark.anyio


async def test_when_a_commit_fails_everybody_who_waits_is_told(
    service: Service, log: WatchedLog
) -> None:
    log.append_faults = [LogError(DISK_FULL)]
    in_commit = await held_up(log, service, submit("in commit"))
    queued = [asking(service, submit(str(n))) for n in range(5)]
    await turns_of_the_loop()
    log.gate.set()
    for request in (in_commit, *queued):
        assert await failure_of(request) == DISK_FULL
    assert log.head == 0
    assert service.projections.state()["jobs"] == []


async def test_after_a_failed_commit_the_fleet_is_what_the_log_says(
    service: Service, log: WatchedLog
) -> None:
    await asking(service, submit("kept"))
    log.append_faults = [LogError(DISK_FULL)]
    await failure_of(asking(service, submit("lost")))
    await until(lambda: service.fault is None)
    assert await asking(service, submit("lost")) == [2]
    with pytest.raises(RefusedError):
        await asking(service, submit("kept"))
    assert await replayed(log) == service.projections.state()


async def test_writes_resume_by_themselves_when_the_log_takes_them_again(
    service: Service, log: WatchedLog
) -> None:
    log.append_faults = [LogError(DISK_FULL)]
    log.recover_faults = [LogError("still full"), LogError("still full")]
    with stamina.set_testing(testing=True, attempts=10):
        await failure_of(asking(service, submit("a")))
        await until(lambda: service.fault is None)
    assert log.recoveries == 3
    assert await asking(service, submit("a")) == [1]


async def test_a_fault_can_come_again(service: Service, log: WatchedLog) -> None:
    for n in range(3):
        log.append_faults = [LogError(DISK_FULL)]
        await failure_of(asking(service, submit(str(n))))
        await until(lambda: service.fault is None)
        assert await asking(service, submit(str(n))) == [n + 1]


async def test_while_the_fault_lasts_writes_are_refused_at_once_and_reads_go_on(
    service: Service, log: WatchedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    mended = asyncio.Event()

    async def recover() -> None:
        await mended.wait()

    monkeypatch.setattr(log, "recover", recover)
    await asking(service, submit("kept"))
    log.append_faults = [LogError(DISK_FULL)]
    await failure_of(asking(service, submit("lost")))
    assert service.fault == DISK_FULL
    assert await failure_of(asking(service, submit("next"))) == DISK_FULL
    assert [job.job_id for job in service.projections.jobs.all()] == ["kept"]
    mended.set()
    await until(lambda: service.fault is None)


async def test_while_the_fault_lasts_nobody_is_told_why(
    service: Service, log: WatchedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What decisions are made from is ahead of the log until it has been made anew."""
    mended = asyncio.Event()
    monkeypatch.setattr(log, "recover", mended.wait)
    await asking(service, submit("kept"))
    log.append_faults = [LogError(DISK_FULL)]
    await failure_of(asking(service, submit("lost")))
    assert await failure_of(service.explain(lambda fleet: explain(fleet, "kept"))) == DISK_FULL
    mended.set()
    await until(lambda: service.fault is None)
    assert await service.explain(lambda fleet: explain(fleet, "kept")) is not None
    assert await service.explain(lambda fleet: explain(fleet, "lost")) is None


async def test_the_fleet_is_made_anew_once_and_not_before_the_log_takes_writes(
    service: Service, log: WatchedLog
) -> None:
    await asking(service, submit("kept"))
    log.append_faults = [LogError(DISK_FULL)]
    log.recover_faults = [LogError("still full")]
    log.replayed.clear()
    with stamina.set_testing(testing=True, attempts=10):
        await failure_of(asking(service, submit("lost")))
        await until(lambda: service.fault is None)
    assert log.replayed == [1]


async def test_a_batch_that_was_committed_although_it_failed_is_shown_after_recovery(
    service: Service, log: WatchedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk may write and then say that it could not: the log, and not the error, is right."""
    whole_append = log.append

    async def append(batch: Sequence[LogEntry], expected_head: int) -> None:
        await whole_append(batch, expected_head)
        raise LogError(DISK_FULL)

    monkeypatch.setattr(log, "append", append)
    await failure_of(asking(service, submit("a")))
    monkeypatch.undo()
    await until(lambda: service.fault is None)
    assert service.projections.jobs.get("a") is not None
    assert service.projections.seq == 1
    with pytest.raises(RefusedError):
        await asking(service, submit("a"))
    assert await asking(service, submit("b")) == [2]


async def test_a_defect_of_the_writer_leaves_nobody_waiting(
    service: Service, log: WatchedLog
) -> None:
    log.append_faults = [OverflowError("a defect")]
    in_commit = await held_up(log, service, submit("in the commit"))
    behind = asking(service, submit("behind it"))
    await turns_of_the_loop()
    log.gate.set()
    told = "the dispatcher's log-writer died: OverflowError('a defect')"
    for request in (in_commit, behind, asking(service, submit("later"))):
        assert await failure_of(request) == told


@pytest.mark.parametrize("task", ["log-writer", "timers"])
async def test_a_task_that_was_cancelled_from_outside_leaves_nobody_waiting(
    service: Service, log: WatchedLog, task: str
) -> None:
    in_commit = await held_up(log, service, submit("in the commit"))
    behind = asking(service, submit("behind it"))
    await turns_of_the_loop()
    next(it for it in asyncio.all_tasks() if it.get_name() == task).cancel()
    told = f"the dispatcher's {task} died: CancelledError()"
    for request in (behind, asking(service, submit("later"))):
        assert await failure_of(request) == told
    log.gate.set()
    if task == "log-writer":
        assert await failure_of(in_commit) == told
    else:
        assert await in_commit == [1]
    async with asyncio.timeout(30):
        await service.close()


async def test_a_log_that_is_moved_away_is_told_and_writes_resume_when_it_is_back(
    service: Service, db: Path
) -> None:
    await asking(service, submit("kept"))
    away = db.rename(db.with_name("away.db"))
    told = await failure_of(asking(service, submit("lost")))
    assert told.startswith(f"{db}: was moved or deleted while the dispatcher had it open")
    assert service.fault == told
    assert await failure_of(asking(service, submit("next"))) == told
    away.rename(db)
    await until(lambda: service.fault is None)
    assert await asking(service, submit("next"))
