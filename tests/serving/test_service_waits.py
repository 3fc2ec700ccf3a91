"""Who waits for work at the service: answered from what is durable, and at the end of the wait."""

import asyncio
from collections.abc import Sequence

import pytest

from dispatcher.core.commands import AssignJob, ReportHeartbeat
from dispatcher.core.dispatcher import Settle
from dispatcher.core.events import JobAssigned, Recorded
from dispatcher.log import LogError
from dispatcher.serving import group_commit
from dispatcher.serving.service import Service
from dispatcher.serving.tickets import UnavailableError
from projections import Projections
from tests.support.in_flight import TESTER, asking, failure_of, submit, turns_of_the_loop, until
from tests.support.watched_log import DISK_FULL, WatchedLog

pytestmark = pytest.mark.anyio


async def never() -> None:
    await asyncio.Event().wait()


def records_of(settled: Settle, _: Projections) -> Sequence[Recorded]:
    return tuple(settled.records)


async def wait(service: Service, engine_id: str, wait_s: float = 60) -> Sequence[Recorded]:
    ask = AssignJob(engine_id)
    return await service.wait_for_work(ask, TESTER, records_of, wait_s=wait_s, until_gone=never)


async def waiting(
    service: Service, engine_id: str, wait_s: float = 60
) -> asyncio.Task[Sequence[Recorded]]:
    """Have an engine wait; when this returns, it does."""
    before = len(service._core.waiting())
    request = asyncio.create_task(wait(service, engine_id, wait_s))
    await until(lambda: len(service._core.waiting()) > before)
    return request


async def test_a_waiter_whose_client_has_this_moment_hung_up_is_given_nothing(
    service: Service,
) -> None:
    await asking(service, ReportHeartbeat("gone", {}))
    hung_up = asyncio.Event()
    requests: list[asyncio.Task[list[int]]] = []

    async def gone() -> None:
        await hung_up.wait()
        requests.append(asking(service, submit("a")))

    waits = asyncio.create_task(
        service.wait_for_work(AssignJob("gone"), TESTER, records_of, wait_s=30, until_gone=gone)
    )
    await until(lambda: len(service._core.waiting()) == 1)
    hung_up.set()
    assert await waits == ()
    assert await requests[0] == [2]
    job = service.projections.jobs.get("a")
    assert job is not None
    assert job.status == "pending"


async def test_dismissed_waiters_are_answered_at_once_and_so_is_who_comes_later(
    service: Service,
) -> None:
    await asking(service, ReportHeartbeat("e", {}))
    first = await waiting(service, "e")
    service.dismiss_waiters()
    async with asyncio.timeout(30):
        assert await first == ()
        assert await wait(service, "e") == ()


async def test_a_waiter_is_answered_only_when_its_job_is_durable(
    service: Service, log: WatchedLog
) -> None:
    await asking(service, ReportHeartbeat("e", {}))
    waits = await waiting(service, "e")
    log.gate.clear()
    submission = asking(service, submit("a"))
    await turns_of_the_loop()
    assert not waits.done()
    log.gate.set()
    assert await submission == [2]
    (recorded,) = await waits
    assert (recorded.seq, type(recorded.event)) == (3, JobAssigned)


async def test_a_waiter_whose_job_could_not_be_recorded_is_told_so(
    service: Service, log: WatchedLog
) -> None:
    await asking(service, ReportHeartbeat("e", {}))
    waits = await waiting(service, "e")
    log.append_faults = [LogError(DISK_FULL)]
    assert await failure_of(asking(service, submit("a"))) == DISK_FULL
    assert await failure_of(waits) == DISK_FULL


async def test_a_waiters_time_also_ends_while_the_log_fails(
    service: Service, log: WatchedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    mended = asyncio.Event()
    monkeypatch.setattr(log, "recover", mended.wait)
    await asking(service, ReportHeartbeat("e", {}))
    waits = await waiting(service, "e", 0.1)
    log.append_faults = [LogError(DISK_FULL)]
    await failure_of(asking(service, ReportHeartbeat("f", {})))
    await until(lambda: len(service._core.waiting()) == 0)
    try:
        async with asyncio.timeout(30):
            await asyncio.gather(waits, return_exceptions=True)
    finally:
        mended.set()
        await until(lambda: service.fault is None)
    assert waits.result() == ()


async def test_who_waits_while_the_log_fails_has_the_job_that_is_left_over_after_it(
    service: Service, log: WatchedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The submission is durable, but not that the job was given to the first who waited."""
    monkeypatch.setattr(group_commit, "BATCH_EVENTS", 1)
    for engine_id in ("e", "f"):
        await asking(service, ReportHeartbeat(engine_id, {}))
    first, second = await waiting(service, "e"), await waiting(service, "f")
    log.gate.clear()
    log.asked.clear()
    submission = asking(service, submit("a"))
    await log.asked.wait()
    whole_append = log.append

    async def append(*_: object, expected_head: int) -> None:
        assert expected_head == 3
        monkeypatch.setattr(log, "append", whole_append)
        raise LogError(DISK_FULL)

    monkeypatch.setattr(log, "append", append)
    log.gate.set()
    assert await submission == [3]
    assert await failure_of(first) == DISK_FULL
    async with asyncio.timeout(30):
        (recorded,) = await second
    assert isinstance(recorded.event, JobAssigned)


async def test_while_the_log_fails_a_wait_ends_in_no_job_that_is_undone(
    service: Service, log: WatchedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two asks of one engine the first is given a job, and that can't be recorded."""
    mended = asyncio.Event()
    monkeypatch.setattr(log, "recover", mended.wait)
    await asking(service, ReportHeartbeat("e", {}))
    first = await waiting(service, "e")
    again = asyncio.create_task(
        service.wait_for_work(
            AssignJob("e", resume=True), TESTER, records_of, wait_s=60, until_gone=never
        )
    )
    await until(lambda: len(service._core.waiting()) == 2)
    log.append_faults = [LogError(DISK_FULL)]
    assert await failure_of(asking(service, submit("a"))) == DISK_FULL
    assert await failure_of(first) == DISK_FULL
    assert service.fault == DISK_FULL
    service.dismiss_waiters()
    assert await failure_of(again) == DISK_FULL
    mended.set()
    await until(lambda: service.fault is None)


async def test_every_refusal_is_an_error_of_its_own(service: Service, log: WatchedLog) -> None:
    """One error that is raised again and again would keep the frames of all its callers."""
    service._commits.refuse("no")
    errors = []
    for _ in range(2):
        with pytest.raises(UnavailableError) as told:
            service.execute(submit("a"), TESTER, records_of)
        errors.append(told.value)
    assert errors[0] is not errors[1]
    service._commits.accept()
    assert log.head == 0
