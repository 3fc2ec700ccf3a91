"""The laws of a log that NATS replicates, beyond those of every log (`tests/log`)."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dispatcher.cluster import ClusterError, CorruptionError, DeposedError
from dispatcher.cluster.log import LEASE_S, JetStreamLog
from dispatcher.cluster.messages import Message
from dispatcher.cluster.stream import Stored, Stream
from dispatcher.core.replies import DONE
from dispatcher.log import LogError, TooLargeError, serialization
from dispatcher.log.merkle import EMPTY_ROOT
from dispatcher.log.serialization import LogEntry
from dispatcher.log.sqlite import SqliteLog
from tests.log.test_log_contract import events, root_of
from tests.support.log_contents import entries_in
from tests.support.nats import Nats

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pair(nats: Nats, tmp_path: Path) -> AsyncIterator[tuple[JetStreamLog, JetStreamLog]]:
    """A leader and a follower on one stream."""
    address = nats.address()
    async with opened(address, tmp_path / "a.db") as a, opened(address, tmp_path / "b.db") as b:
        assert await a.claim()
        yield a, b


class opened:  # noqa: N801 - used as a function
    """Opens a log, which is closed when the block ends."""

    def __init__(self, address: Any, db: Path, **options: Any) -> None:
        self._opening = JetStreamLog.open(address, db, name=db.stem, **options)

    async def __aenter__(self) -> JetStreamLog:
        self._log = await self._opening
        return self._log

    async def __aexit__(self, *_: object) -> None:
        await self._log.close()


async def caught_up(log: JetStreamLog) -> None:
    while await log.advance():
        pass


async def put(log: JetStreamLog, message: Message) -> None:
    """Store a message as nobody should, past all checks."""
    headers, body = message.encode()
    await log.stream.publish(headers, body, await log.stream.last())


def forged(
    first: int, lines: list[LogEntry], *, term: int = 1, root: bytes = EMPTY_ROOT
) -> Message:
    return Message(first, term, "nobody#0", "0", root, serialization.lines(lines))


# Law 1


async def test_a_batch_is_one_message(pair: tuple[JetStreamLog, JetStreamLog]) -> None:
    leader, follower = pair
    await leader.append(events(1, 700), 0)
    assert await leader.stream.last() == 2
    claimed, appended = await follower.advance()
    assert (claimed.message.claim, list(claimed.entries)) == (leader.member, [])
    assert list(appended.entries) == events(1, 700)
    assert await entries_in(follower) == events(1, 700)


async def test_a_batch_that_fits_into_no_message_is_refused_before_it_is_sent(
    pair: tuple[JetStreamLog, JetStreamLog],
) -> None:
    leader, _ = pair
    noise = random.Random(1).randbytes(4 << 20).hex()
    (entry,) = events(1, 1)
    large = msgspec.structs.replace(entry, data=msgspec.json.encode({"noise": noise}))
    with pytest.raises(TooLargeError, match="submit less at once"):
        await leader.append([large], 0)
    await leader.append(events(1, 1), 0)
    assert await leader.stream.last() == 2


async def test_a_message_tells_what_became_of_forwarded_commands(
    pair: tuple[JetStreamLog, JetStreamLog],
) -> None:
    leader, follower = pair
    for command_id, upto, count in [("one", 2, 2), ("two", 3, 1), ("none", 3, 0), ("three", 5, 1)]:
        leader.note(command_id, upto, count, DONE)
    await leader.append(events(1, 3), 0)
    await leader.append(events(4, 5), 3)
    _, first, second = await follower.advance()
    assert [(it.id, it.upto, it.count) for it in first.message.answered] == [
        ("one", 2, 2),
        ("two", 3, 1),
        ("none", 3, 0),
    ]
    assert [(it.id, it.upto, it.count) for it in second.message.answered] == [("three", 2, 1)]
    assert first.message.answered[0].to_reply() == DONE


# Law 2


async def test_a_claim_fences_the_earlier_leader_without_its_knowing(
    pair: tuple[JetStreamLog, JetStreamLog],
) -> None:
    first, second = pair
    await first.append(events(1, 2), 0)
    await caught_up(second)
    assert await second.claim()
    led = [first.leads]  # it has not heard of it
    with pytest.raises(DeposedError):
        await first.append(events(3, 4), 2)
    assert [*led, first.leads] == [True, False]
    await second.append(events(3, 3), 2)
    await caught_up(first)
    assert (first.term, second.term) == (2, 2)
    assert await entries_in(first) == await entries_in(second) == events(1, 3)


async def test_of_two_claims_at_once_one_wins(pair: tuple[JetStreamLog, JetStreamLog]) -> None:
    first, second = pair
    await caught_up(second)
    won = [*await asyncio.gather(first.claim(), second.claim())]
    assert sorted(won) == [False, True]
    await asyncio.gather(caught_up(first), caught_up(second))
    assert [it.leads for it in pair] == won
    assert first.term == second.term == 2


async def test_who_has_not_read_all_can_not_claim(pair: tuple[JetStreamLog, JetStreamLog]) -> None:
    leader, follower = pair
    await caught_up(follower)
    await leader.append(events(1, 1), 0)
    assert not await follower.claim()
    await leader.append(events(2, 2), 1)
    await caught_up(follower)
    assert await follower.claim()


async def test_a_follower_appends_nothing(pair: tuple[JetStreamLog, JetStreamLog]) -> None:
    _, follower = pair
    await caught_up(follower)
    with pytest.raises(DeposedError):
        await follower.append(events(1, 1), 0)
    assert await follower.stream.last() == 1


async def test_a_message_of_an_earlier_term_stops_whoever_reads_it(
    pair: tuple[JetStreamLog, JetStreamLog],
) -> None:
    leader, follower = pair
    await caught_up(follower)
    assert await follower.claim()
    await put(leader, forged(1, events(1, 1), term=1, root=root_of(events(1, 1))))
    with pytest.raises(CorruptionError, match="is of term 1, after term 2 began"):
        await follower.advance()


# What became of a message


class Unreliable:
    """Loses acknowledgements, or messages, before they come."""

    def __init__(self, stream: Stream) -> None:
        self._publish = stream.publish
        self.lost_acknowledgements = 0
        self.lost_messages = 0

    async def __call__(self, headers: Mapping[str, str], body: bytes, expected: int) -> int:
        if self.lost_messages:
            self.lost_messages -= 1
            raise ClusterError("no answer within 1 s")
        sequence = await self._publish(headers, body, expected)
        if self.lost_acknowledgements:
            self.lost_acknowledgements -= 1
            raise ClusterError("no answer within 1 s")
        return sequence


def unreliable(log: JetStreamLog, monkeypatch: pytest.MonkeyPatch) -> Unreliable:
    made = Unreliable(log.stream)
    monkeypatch.setattr(log.stream, "publish", made)
    return made


@pytest.mark.parametrize(("acknowledgements", "messages"), [(1, 0), (0, 2), (1, 1)])
async def test_what_was_lost_on_the_way_is_sent_again_and_stored_once(
    pair: tuple[JetStreamLog, JetStreamLog],
    monkeypatch: pytest.MonkeyPatch,
    acknowledgements: int,
    messages: int,
) -> None:
    leader, follower = pair
    way = unreliable(leader, monkeypatch)
    way.lost_acknowledgements, way.lost_messages = acknowledgements, messages
    await leader.append(events(1, 3), 0)
    await leader.append(events(4, 4), 3)
    await caught_up(follower)
    assert await leader.stream.last() == 3
    assert await entries_in(follower) == events(1, 4)


@pytest.mark.parametrize("is_stored", [True, False])
async def test_after_an_append_of_unknown_outcome_recovery_finds_out(
    nats: Nats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_stored: bool
) -> None:
    async with opened(nats.address(), tmp_path / "a.db", patience_s=-1) as log:
        assert await log.claim()
        way = unreliable(log, monkeypatch)
        way.lost_acknowledgements, way.lost_messages = int(is_stored), int(not is_stored)
        with pytest.raises(ClusterError, match="not known whether it was stored"):
            await log.append(events(1, 3), 0)
        with pytest.raises(LogError, match="recover before the next"):
            await log.append(events(1, 3), 0)
        await log.recover()
        head = 3 if is_stored else 0
        assert log.head == head
        await log.append(events(head + 1, 5), head)
        assert await entries_in(log) == events(1, 5)
        assert log.tree.root() == root_of(events(1, 5))


async def test_who_was_deposed_meanwhile_learns_it_from_the_recovery(
    pair: tuple[JetStreamLog, JetStreamLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    await caught_up(second)
    way = unreliable(first, monkeypatch)
    monkeypatch.setattr(first._sending, "_patience_s", -1)
    way.lost_messages = 1
    with pytest.raises(ClusterError, match="not known"):
        await first.append(events(1, 3), 0)
    assert await second.claim()
    await second.append(events(1, 1), 0)
    with pytest.raises(DeposedError):
        await first.recover()
    assert await entries_in(first) == events(1, 1)


async def test_what_the_replica_could_not_take_it_takes_from_the_stream(
    nats: Nats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(nats.address(), tmp_path / "a.db") as log:
        assert await log.claim()
        await log.append(events(1, 1), 0)

        async def full(*_: object) -> None:
            raise LogError("database or disk is full")

        with monkeypatch.context() as patched:
            patched.setattr(log.replica, "append_grown", full)
            with pytest.raises(LogError, match="disk is full"):
                await log.append(events(2, 3), 1)
        with pytest.raises(LogError, match="recover before the next"):
            await log.append(events(2, 3), 1)
        await log.recover()
        assert await entries_in(log) == events(1, 3)
        await log.append(events(4, 4), 3)


# Law 4


async def test_a_message_with_another_root_stops_whoever_reads_it(
    pair: tuple[JetStreamLog, JetStreamLog],
) -> None:
    leader, follower = pair
    await leader.append(events(1, 2), 0)
    await put(leader, forged(3, events(3, 3), root=root_of(events(1, 2))))
    assert [it.sequence for it in await follower.advance()] == [1, 2]  # what comes before it
    with pytest.raises(CorruptionError, match=r"does not follow seq 2 .* leads to root") as told:
        await follower.advance()
    text = str(told.value)
    assert text.startswith(f"message 3 of {leader.stream.address} ")
    assert "move its log away, with its segments, snapshots and index" in text
    assert "empty its JetStream folder" in text
    assert await entries_in(follower) == events(1, 2)
    with pytest.raises(CorruptionError):
        await follower.advance()  # it stays
    with pytest.raises(CorruptionError):
        await follower.claim()


@pytest.mark.parametrize(
    ("first", "last"), [(2, 2), (3, 5), (1, 0)], ids=["of two", "of three", "a claim"]
)
async def test_a_message_that_leaves_a_gap_stops_whoever_reads_it(
    pair: tuple[JetStreamLog, JetStreamLog], first: int, last: int
) -> None:
    leader, follower = pair
    if last < first:
        first, last = 7, 6
    await put(leader, forged(first, events(first, last)))
    await follower.advance()
    with pytest.raises(CorruptionError, match="leaves a gap"):
        await follower.advance()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({"First": "x"}, b""),
        ({"Count": "2"}, b"{}"),
        ({"Encoding": "zstd"}, b"no zstd"),
        ({"Commands": "3"}, b"[1]"),
        ({"Root": "00"}, b"{}"),
    ],
)
async def test_what_is_no_message_stops_whoever_reads_it(
    pair: tuple[JetStreamLog, JetStreamLog], headers: dict[str, str], body: bytes
) -> None:
    leader, follower = pair
    told, _ = forged(1, events(1, 1)).encode()
    await leader.stream.publish({**told, **headers} if headers else {}, body, 1)
    await follower.advance()
    with pytest.raises(CorruptionError):
        await follower.advance()


async def test_a_message_that_a_node_gives_wrongly_is_taken_from_the_streams_leader(
    pair: tuple[JetStreamLog, JetStreamLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, follower = pair
    await leader.append(events(1, 2), 0)
    await leader.append(events(3, 3), 2)
    read_after = follower.stream.read_after

    async def damaged(sequence: int) -> list[Stored]:
        return [
            one._replace(body=one.body.replace(b"engine 2", b"engine 9"))
            for one in await read_after(sequence)
        ]

    monkeypatch.setattr(follower.stream, "read_after", damaged)
    await caught_up(follower)
    assert await entries_in(follower) == events(1, 3)


async def test_messages_that_were_republished_are_used_where_they_follow(
    pair: tuple[JetStreamLog, JetStreamLog],
) -> None:
    leader, follower = pair
    for seq in range(1, 5):
        await leader.append(events(seq, seq), seq - 1)
    offered = [await leader.stream.read(sequence) for sequence in (1, 2, 4, 5)]
    applied = await follower.advance([it for it in offered if it is not None])
    assert [it.sequence for it in applied] == [1, 2]
    assert [it.sequence for it in await follower.advance()] == [3, 4, 5]


# Law 5


async def test_an_acknowledged_message_confirms_the_lead_for_a_while(
    pair: tuple[JetStreamLog, JetStreamLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, _ = pair
    now_s = 1_000.0
    monkeypatch.setattr(leader._sending, "_now_s", lambda: now_s)
    await leader.append(events(1, 1), 0)
    confirmed = []
    for _ in range(2):
        confirmed.append(leader.is_confirmed)
        now_s += LEASE_S
        confirmed.append(leader.is_confirmed)
        await leader.confirm()
    assert confirmed == [True, False, True, False]
    assert leader.head == 1


async def test_a_barrier_tells_a_deposed_leader(pair: tuple[JetStreamLog, JetStreamLog]) -> None:
    first, second = pair
    await caught_up(second)
    assert await second.claim()
    with pytest.raises(DeposedError):
        await first.confirm()


# Where a replica stands


@pytest.mark.parametrize("head", [0, 1, 2, 3, 7, 8, 12])
async def test_a_replica_finds_its_place_wherever_it_ends(
    nats: Nats, tmp_path: Path, head: int
) -> None:
    """Also between two messages with claims and barriers, and inside of one."""
    address = nats.address()
    async with opened(address, tmp_path / "a.db") as log:
        assert await log.claim()
        await log.confirm()
        for first, last in [(1, 2), (3, 7), (8, 8)]:
            await log.append(events(first, last), first - 1)
            await log.confirm()
        assert await log.claim()
        await log.append(events(9, 12), 8)
    async with await SqliteLog.open(tmp_path / "b.db") as replica:
        if head:
            await replica.append(events(1, head), 0)
    async with opened(address, tmp_path / "b.db") as late:
        assert await entries_in(late) == events(1, 12)
        assert (late.term, late.position) == (2, await late.stream.last())


async def test_a_replica_of_other_events_is_refused(nats: Nats, tmp_path: Path) -> None:
    address = nats.address()
    async with opened(address, tmp_path / "a.db") as log:
        assert await log.claim()
        await log.append(events(1, 2), 0)
    async with await SqliteLog.open(tmp_path / "b.db") as other:
        shifted = [msgspec.structs.replace(it, actor="another") for it in events(1, 2)]
        await other.append(shifted, 0)
    with pytest.raises(CorruptionError, match=r"b\.db: is no replica of nats://"):
        await JetStreamLog.open(address, tmp_path / "b.db")


async def test_a_replica_with_more_than_the_stream_is_refused(nats: Nats, tmp_path: Path) -> None:
    async with await SqliteLog.open(tmp_path / "b.db") as other:
        await other.append(events(1, 2), 0)
    with pytest.raises(ClusterError, match=r"has 2 events, but .* only 0.*dispatcher log publish"):
        await JetStreamLog.open(nats.address(), tmp_path / "b.db")


async def test_dispatchers_with_different_signing_keys_are_refused(
    nats: Nats, tmp_path: Path
) -> None:
    address = nats.address()
    async with opened(address, tmp_path / "a.db", verifier=lambda _: "farm+1+A"):
        pass
    async with opened(address, tmp_path / "b.db", verifier=lambda known: known):
        pass
    with pytest.raises(ClusterError, match=r"sign with the key of farm\+1\+A, but .* farm\+2\+B"):
        await JetStreamLog.open(address, tmp_path / "c.db", verifier=lambda _: "farm+2+B")


async def test_a_stream_that_could_forget_is_refused(nats: Nats, tmp_path: Path) -> None:
    address = nats.address()
    stream = await Stream.connect(address, "test")
    await stream._api(
        f"STREAM.CREATE.{address.name}", {"name": address.name, "subjects": [f"{address.name}.x"]}
    )
    await stream.close()
    with pytest.raises(ClusterError, match="there is a stream of this name, but its subjects is"):
        await JetStreamLog.open(address, tmp_path / "a.db")
