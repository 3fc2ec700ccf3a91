"""Moving a log into a cluster and back, and comparing the two."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from dispatcher.cluster import ClusterError, CorruptionError
from dispatcher.cluster.log import JetStreamLog
from dispatcher.cluster.moving import publish, verify
from dispatcher.cluster.stream import Stream
from dispatcher.log.sqlite import SqliteLog
from tests.cluster.test_jetstream_log import forged, put
from tests.log.test_log_contract import events, root_of
from tests.support.dispatchers import leader_of, member
from tests.support.in_flight import TESTER, seqs, submit
from tests.support.log_contents import entries_in
from tests.support.nats import Nats
from tests.support.sealing import seal_all

pytestmark = pytest.mark.anyio

EVENTS = 2_345


@pytest.fixture
async def stream(nats: Nats) -> AsyncIterator[Stream]:
    opened = await Stream.connect(nats.address(), "test")
    await opened.prepare(lambda _known: None)
    yield opened
    await opened.close()


@pytest.fixture
async def log(db: Path) -> AsyncIterator[SqliteLog]:
    async with await SqliteLog.open(db) as opened:
        await opened.append(events(1, EVENTS), 0)
        yield opened


@pytest.mark.parametrize("is_sealed", [False, True])
async def test_a_published_log_has_the_same_root_and_goes_on_from_there(
    stream: Stream, log: SqliteLog, tmp_path: Path, is_sealed: bool
) -> None:
    if is_sealed:
        await seal_all(log)
    done = await publish(stream, log)
    assert (done.events, done.root) == (EVENTS, root_of(events(1, EVENTS)))
    assert await verify(stream, log) == done
    await log.close()
    for replica in (log.path, tmp_path / "new.db"):  # one has it all, one has nothing
        opened = await JetStreamLog.open(stream.address, replica)
        assert await entries_in(opened) == events(1, EVENTS)
        assert await opened.claim()
        await opened.close()
    async with member(stream.address, log.path) as leader:
        await leader_of([leader])
        await leader.execute(submit("job"), TESTER, seqs)
    async with await SqliteLog.open(log.path) as back:  # as `dispatcher serve --db` does
        assert back.head == EVENTS + 1
        verified = await verify(stream, back)
        assert (verified.root, verified.compared) == (back.tree.root(), EVENTS + 1)


async def test_an_empty_log_is_published_too(stream: Stream, tmp_path: Path) -> None:
    async with await SqliteLog.open(tmp_path / "empty.db") as empty:
        assert (await publish(stream, empty)).events == 0


async def test_what_was_broken_off_is_continued(
    stream: Stream, log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = stream.publish
    sent = 0

    async def breaks_off(*message: object) -> int:
        nonlocal sent
        sent += 1
        if sent == 3:
            raise KeyboardInterrupt
        return await send(*message)  # type: ignore[arg-type]  # passed on

    with monkeypatch.context() as patched:
        patched.setattr(stream, "publish", breaks_off)
        with pytest.raises(KeyboardInterrupt):
            await publish(stream, log)
    assert (await verify(stream)).events == 1_000
    assert (await publish(stream, log)).root == log.tree.root()
    assert (await verify(stream, log)).compared == EVENTS


async def test_nothing_is_published_where_other_events_are(
    stream: Stream, log: SqliteLog, tmp_path: Path
) -> None:
    async with await SqliteLog.open(tmp_path / "other.db") as other:
        await other.append([msgspec.structs.replace(events(1, 1)[0], actor="another")], 0)
        await publish(stream, other)
    with pytest.raises(CorruptionError, match="differs from"):
        await publish(stream, log)
    assert (await verify(stream)).events == 1


async def test_nothing_is_published_while_dispatchers_run(
    stream: Stream, log: SqliteLog, tmp_path: Path
) -> None:
    async with member(stream.address, tmp_path / "a.db"):
        with pytest.raises(ClusterError, match="stop them before you publish"):
            await publish(stream, log)


async def test_a_wrong_message_is_found_and_named(
    stream: Stream, log: SqliteLog, tmp_path: Path
) -> None:
    await publish(stream, log)
    leader = await JetStreamLog.open(stream.address, tmp_path / "a.db")
    await put(leader, forged(EVENTS + 1, events(EVENTS + 1, EVENTS + 1)))
    await leader.close()
    with pytest.raises(CorruptionError, match=r"message 5 of nats://.* is wrong: it leads to root"):
        await verify(stream)


async def test_a_replica_that_differs_is_found_and_the_place_named(
    stream: Stream, log: SqliteLog, tmp_path: Path
) -> None:
    await publish(stream, log)
    changed = [*events(1, 1_500), msgspec.structs.replace(events(1_501, 1_501)[0], actor="me")]
    async with await SqliteLog.open(tmp_path / "b.db") as replica:
        await replica.append([*changed, *events(1_502, EVENTS)], 0)
        with pytest.raises(CorruptionError, match="in its events 1001 to 2000"):
            await verify(stream, replica)


async def test_a_replica_that_is_shorter_is_compared_as_far_as_it_goes(
    stream: Stream, log: SqliteLog, tmp_path: Path
) -> None:
    await publish(stream, log)
    async with await SqliteLog.open(tmp_path / "b.db") as replica:
        await replica.append(events(1, 1_700), 0)
        assert (await verify(stream, replica)).compared == 1_000
