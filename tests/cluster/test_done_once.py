"""Commands without a key, which nothing but the cluster itself keeps from being done twice.

A claim or an append is given up though it is stored, the lead changes hands meanwhile, and a
replica says that it failed though it did not.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dispatcher.cluster import ClusterError, UnreachableError
from dispatcher.cluster.service import ClusterService
from dispatcher.core.commands import SubmitJob
from dispatcher.log import LogError
from dispatcher.serving.tickets import UnavailableError
from tests.support.dispatchers import following, leading, members, take_lead, until
from tests.support.in_flight import TESTER, asking, seqs
from tests.support.nats import Nats

pytestmark = pytest.mark.anyio

NAMELESS = SubmitJob(None, "http://media/in.mp4", "h264")
"""Each time that it is done it makes another job."""


@pytest.fixture
async def pair(nats: Nats, tmp_path: Path) -> AsyncIterator[list[ClusterService]]:
    async with members(nats.address(), tmp_path) as found:
        yield found


async def submitted(service: ClusterService) -> list[int]:
    return await service.execute(NAMELESS, TESTER, seqs)


async def jobs_everywhere(services: list[ClusterService]) -> int:
    """Count the jobs once all dispatchers show the same, with the same root."""
    newest = max(it.log.head for it in services)
    await until(lambda: all(it.projections.seq == newest for it in services))
    assert len({it.log.tree.root() for it in services}) == 1
    first, *others = [it.projections.state() for it in services]
    assert all(it == first for it in others)
    return len(services[0].projections.jobs.all())


@pytest.mark.parametrize("is_replaced", [False, True], ids=["it leads", "another claims meanwhile"])
async def test_a_claim_that_is_stored_after_it_was_given_up_does_nothing_twice(
    pair: list[ClusterService],
    monkeypatch: pytest.MonkeyPatch,
    is_replaced: bool,
) -> None:
    monkeypatch.setattr("dispatcher.cluster.forwarding.AGAIN_S", 0.2)
    (late,), first = following(pair), leading(pair)
    publish, recover = late._cluster.stream.publish, late._cluster.recover
    recovered: list[list[int]] = []

    async def unacknowledged(headers: Mapping[str, str], body: bytes, expected: int) -> int:
        await publish(headers, body, expected)
        raise UnreachableError("no answer within 1 s")

    async def recover_late() -> None:
        if is_replaced and not recovered:
            await take_lead(first)
            recovered.append(await submitted(first))
        await recover()

    with monkeypatch.context() as patched:
        patched.setattr(late._cluster, "recover", recover_late)
        with monkeypatch.context() as sending:
            sending.setattr(late._cluster._sending, "_patience_s", -1)
            sending.setattr(late._cluster.stream, "publish", unacknowledged)
            asks = [asking(it, NAMELESS) for it in pair * 10]
            with pytest.raises(ClusterError, match="not known whether it was stored"):
                await take_lead(late)
            asks += [asking(it, NAMELESS) for it in pair * 10]
        answers = await asyncio.gather(*asks)
    answers += recovered
    assert leading(pair) is (first if is_replaced else late)
    await submitted(leading(pair))
    assert len({seq for found in answers for seq in found}) == len(answers)
    assert await jobs_everywhere(pair) == len(answers) + 1


async def test_who_is_deposed_while_it_recovers_forwards_nothing_before_that_is_over(
    pair: list[ClusterService], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recovery reads messages that are not folded, so none of them may answer a command of ours."""
    monkeypatch.setattr("dispatcher.cluster.forwarding.AGAIN_S", 0.2)
    (other,), first = following(pair), leading(pair)
    advance, asks = first._cluster._advance, list[asyncio.Task[list[int]]]()

    async def unreachable(*_: object) -> int:
        await take_lead(other)
        await until(lambda: other.is_leading)
        await submitted(other)
        raise UnreachableError("no answer within 1 s")

    async def slow_advance(*offered: Any) -> Any:
        applied = await advance(*offered)
        if applied and not first._cluster.leads and not asks:
            asks.append(asking(first, NAMELESS) if first.fault is None else await ask_when_well())
            with suppress(TimeoutError):
                await until(lambda: len(other.projections.jobs.all()) > 1, at_most_s=1)
        return applied

    async def ask_when_well() -> asyncio.Task[list[int]]:
        with suppress(TimeoutError):
            await until(lambda: first.fault is None, at_most_s=1)
        return asyncio.create_task(ask_again())

    async def ask_again() -> list[int]:
        await until(lambda: first.fault is None)
        return await submitted(first)

    with monkeypatch.context() as patched:
        patched.setattr(first._cluster._sending, "_patience_s", -1)
        patched.setattr(first._cluster.stream, "publish", unreachable)
        patched.setattr(first._cluster, "_advance", slow_advance)
        with pytest.raises(UnavailableError, match="not known whether it was stored"):
            await submitted(first)
        await until(lambda: bool(asks) and not first.is_leading)
        await until(lambda: first.fault is None)
        await submitted(other)
        await asks[0]
    assert await jobs_everywhere(pair) == 3


@pytest.mark.parametrize("is_leader", [True, False], ids=["leader", "follower"])
async def test_a_replica_that_fails_though_it_has_the_events_has_nothing_done_twice(
    pair: list[ClusterService],
    monkeypatch: pytest.MonkeyPatch,
    is_leader: bool,
) -> None:
    monkeypatch.setattr("dispatcher.cluster.forwarding.AGAIN_S", 0.2)
    one = leading(pair) if is_leader else following(pair)[0]
    append = one._cluster.replica.append_grown
    with monkeypatch.context() as patched:

        async def fails_once(*arguments: Any) -> None:
            patched.undo()
            await append(*arguments)
            raise LogError("disk I/O error")

        patched.setattr(one._cluster.replica, "append_grown", fails_once)
        with pytest.raises(UnavailableError, match=r"disk I/O error|only the log can tell"):
            await submitted(one)
    await until(lambda: one.fault is None and one.is_ready)
    for service in pair:
        await submitted(service)
    assert await jobs_everywhere(pair) == 3


async def test_a_leader_whose_replica_fails_steps_down_though_the_next_one_appends_without_end(
    pair: list[ClusterService], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.cluster.forwarding.AGAIN_S", 0.2)
    (other,), first = following(pair), leading(pair)
    append = first._cluster.replica.append_grown
    answered: list[list[int]] = []
    is_over = asyncio.Event()

    async def submit_without_end() -> None:
        while not is_over.is_set():
            answered.append(await submitted(other))

    with monkeypatch.context() as patched:

        async def fails_once(*arguments: Any) -> None:
            patched.undo()
            await append(*arguments)
            await take_lead(other)
            await until(lambda: other.is_leading)
            raise LogError("disk I/O error")

        patched.setattr(first._cluster.replica, "append_grown", fails_once)
        asked = asyncio.create_task(submitted(first))
        await until(lambda: other.is_leading)
        submitting = asyncio.create_task(submit_without_end())
        with pytest.raises(UnavailableError):
            await asked
    await until(lambda: first.is_ready and not first.is_leading)
    is_over.set()
    await submitting
    assert await jobs_everywhere(pair) == 1 + len(answered)
