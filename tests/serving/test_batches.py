"""Many submissions go into one commit, whatever happens in between."""

import asyncio
from typing import Final

import pytest

from dispatcher.core.commands import Caller, SubmitJob
from dispatcher.core.dispatcher import Settle
from dispatcher.core.replies import JobIs, Submitted
from dispatcher.log import LogError
from dispatcher.serving import batches
from dispatcher.serving.batches import NoneSubmittedError
from dispatcher.serving.service import Service
from dispatcher.serving.tickets import UnavailableError
from projections import Projections
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

ANNA: Final = Caller("anna")


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PART", 2)


def jobs(count: int, *, key: str | None = None) -> list[SubmitJob]:
    keys = [None if key is None else f"{key}-{n}" for n in range(count)]
    return [SubmitJob(None, f"u{n}", "h264", idempotency_key=keys[n]) for n in range(count)]


def told(settled: Settle, projections: Projections) -> list[str]:
    assert isinstance(settled.reply, Submitted)
    ids = [reply.job_id for reply in settled.reply.replies if isinstance(reply, JobIs)]
    assert all(projections.jobs.get(job_id) is not None for job_id in ids)
    return ids


def sent(
    service: Service, submissions: list[SubmitJob], *, is_atomic: bool = False
) -> asyncio.Task[list[str]]:
    work = service.submit_all(submissions, ANNA, told, is_atomic=is_atomic)
    return asyncio.create_task(work)


async def test_a_batch_is_one_commit_with_what_others_did_meanwhile(
    service: Service, log: WatchedLog
) -> None:
    batch = sent(service, jobs(3_000))
    await turns_of_the_loop()
    single = asking(service, submit("single"))
    assert len(await batch) == 3_000
    assert await single
    assert max(log.batches) == 3_001
    assert sum(log.batches) == 3_001
    assert await replayed(log) == service.projections.state()


async def test_what_was_queued_before_a_batch_does_not_wait_for_it(
    service: Service, log: WatchedLog
) -> None:
    first = await held_up(log, service, submit("first"))
    batch = sent(service, jobs(20))
    await turns_of_the_loop()
    log.gate.set()
    assert await first == [1]
    await batch
    assert log.batches == [1, 20]


async def test_two_batches_are_decided_one_after_the_other(service: Service) -> None:
    one, other = sent(service, jobs(20)), sent(service, jobs(20))
    assert [*await one, *await other] == [job.job_id for job in service.projections.jobs.all()]


async def test_a_fault_in_the_middle_of_a_batch_fails_it_whole(
    service: Service, log: WatchedLog
) -> None:
    log.append_faults = [LogError(DISK_FULL)]
    single = await held_up(log, service, submit("single"))
    batch = sent(service, jobs(2_000))
    await turns_of_the_loop()
    log.gate.set()
    assert await failure_of(single) == DISK_FULL
    with pytest.raises(UnavailableError, match="disk is full"):
        await batch
    await until(lambda: service.fault is None)
    assert log.head == 0
    assert service.projections.jobs.all() == []
    assert len(await sent(service, jobs(5))) == 5
    assert await replayed(log) == service.projections.state()


async def test_a_batch_whose_caller_is_gone_is_done_to_its_end(
    service: Service, log: WatchedLog
) -> None:
    batch = sent(service, jobs(200), is_atomic=True)
    await turns_of_the_loop()
    batch.cancel()
    await asyncio.gather(batch, return_exceptions=True)
    await until(lambda: log.head == 200)
    assert await replayed(log) == service.projections.state()


async def test_a_service_that_closes_finishes_the_batch_in_hand(
    service: Service, log: WatchedLog
) -> None:
    batch = sent(service, jobs(200))
    await turns_of_the_loop()
    await service.close()
    assert len(await batch) == 200
    assert log.head == 200
    with pytest.raises(UnavailableError):
        await sent(service, jobs(2))


async def test_nobody_can_take_a_key_of_an_atomic_batch_in_hand(service: Service) -> None:
    batch = sent(service, jobs(200, key="k"), is_atomic=True)
    await turns_of_the_loop()
    for key, is_free in (("k-199", False), ("k-200", True)):
        mine = SubmitJob("mine", "mine", "h264", idempotency_key=key)
        if is_free:
            assert await asking(service, mine)
        else:
            assert "a batch with this Idempotency-Key" in await failure_of(asking(service, mine))
    assert len(await batch) == 200


async def test_an_atomic_batch_that_is_refused_says_for_which_lines(
    service: Service, log: WatchedLog
) -> None:
    submissions = [*jobs(3, key="k"), SubmitJob(None, "other", "h264", idempotency_key="k-1")]
    with pytest.raises(NoneSubmittedError) as refused:
        await sent(service, submissions, is_atomic=True)
    assert [it is None for it in refused.value.refusals] == [True, True, True, False]
    assert log.head == 0
