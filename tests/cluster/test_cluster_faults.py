"""Nodes of NATS that fail, under two dispatchers. Each test has a cluster of its own.

What takes seconds here are the elections of NATS, whose time-outs are its own.
"""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dispatcher.cluster.log import JetStreamLog
from dispatcher.cluster.service import ClusterService
from dispatcher.core.commands import AssignJob
from dispatcher.core.dispatcher import Settle
from dispatcher.serving.tickets import UnavailableError
from projections import Projections
from tests.log.test_log_contract import events
from tests.support.dispatchers import following, leading, members, until
from tests.support.in_flight import TESTER, asking, seqs, submit
from tests.support.log_contents import entries_in
from tests.support.nats import Nats, Node, nats_cluster

pytestmark = [
    pytest.mark.anyio,
    # The client of NATS gives up a node that stands still without closing the connection.
    pytest.mark.filterwarnings("ignore:unclosed <StreamWriter:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning"),
]


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Nats]:
    """A cluster for each test, which may break it."""
    with nats_cluster(tmp_path) as cluster:
        yield cluster
        gc.collect()  # what is unclosed, while it is no error


@pytest.fixture
async def pair(nats: Nats, tmp_path: Path) -> AsyncIterator[list[ClusterService]]:
    async with members(nats.address(), tmp_path, patience_s=60) as found:
        yield found


async def leading_node(nats: Nats, service: ClusterService) -> Node:
    """Give the node that leads the stream."""
    return nats.node_at((await service._cluster.stream.info())["cluster"]["leader"])


async def started_again(nats: Nats) -> None:
    await asyncio.to_thread(nats.start_again)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
async def test_when_the_streams_leader_ends_writes_are_slow_and_nothing_is_lost(
    nats: Nats, pair: list[ClusterService], how: signal.Signals
) -> None:
    node = await leading_node(nats, pair[0])
    asks = [
        asking(service, submit(f"{name}-{number}"))
        for number in range(100)
        for name, service in zip("ab", pair, strict=True)
    ]
    await asks[0]
    node.signal(how)
    late = [asking(service, submit(name)) for name, service in zip("cd", pair, strict=True)]
    assert all(it.projections.jobs.get("none") is None for it in pair)  # reads go on
    answers = await asyncio.gather(*asks, *late)
    assert sorted(seq for found in answers for seq in found) == list(range(1, 203))
    if how is signal.SIGSTOP:
        node.signal(signal.SIGCONT)
        await asyncio.to_thread(nats.wait_until_well)
    else:
        node.kill()  # waits for it
        await started_again(nats)
    await until(lambda: all(it.projections.seq == 202 for it in pair))
    assert pair[0].log.tree.root() == pair[1].log.tree.root()


def shown(settled: Settle, _: Projections) -> object:
    return settled.reply


async def test_without_most_nodes_writes_are_refused_and_reads_go_on(
    nats: Nats, tmp_path: Path
) -> None:
    async with members(nats.address(), tmp_path, patience_s=1) as pair:
        (follower,), leader = following(pair), leading(pair)
        await follower.execute(submit("before"), TESTER, seqs)
        first = await leading_node(nats, leader)
        second = next(node for node in nats.nodes if node is not first)
        first.kill()
        second.kill()
        refused = [asking(service, submit("lost")) for service in pair]
        for ask in refused:
            with pytest.raises(UnavailableError):
                await ask
        with pytest.raises(UnavailableError):  # law 5: nor is anything told that may be over
            await leader.execute(AssignJob(None), TESTER, shown)
        assert all(it.projections.jobs.get("before") is not None for it in pair)
        assert leader.fault is not None
        await started_again(nats)
        await until(lambda: all(it.is_ready for it in pair))
        for name, service in zip("ab", pair, strict=True):
            await service.execute(submit(name), TESTER, seqs)
        await until(lambda: len({it.projections.seq for it in pair}) == 1)
        jobs = {job.job_id for job in pair[0].projections.jobs.all()}
        assert jobs - {"lost"} == {"before", "a", "b"}
        assert pair[0].log.tree.root() == pair[1].log.tree.root()


async def test_a_node_that_starts_from_an_empty_folder_is_whole_again(
    nats: Nats, tmp_path: Path
) -> None:
    """The cure of a damaged node."""
    log = await JetStreamLog.open(nats.address(), tmp_path / "a.db")
    try:
        assert await log.claim()
        await log.append(events(1, 50), 0)
        leader = (await log.stream.info())["cluster"]["leader"]
        node = next(node for node in nats.nodes if node.name != leader)
        node.kill()
        await asyncio.to_thread(node.empty)
        await log.append(events(51, 60), 50)
        await started_again(nats)
        late = await JetStreamLog.open(log.stream.address, tmp_path / "b.db")
        try:
            assert await entries_in(late) == events(1, 60)
        finally:
            await late.close()
    finally:
        await log.close()
