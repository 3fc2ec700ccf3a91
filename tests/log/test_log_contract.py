"""What every log keeps, whatever it is made of (`dispatcher.log.Log`).

A new kind of log joins by one line in `FACTORIES`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
import pytest

from dispatcher.cluster.log import JetStreamLog
from dispatcher.core.events import EngineDrained, EngineReported, EngineSeen, Recorded
from dispatcher.log import Log, LogError, WrongHeadError, decoded, serialization
from dispatcher.log.merkle import EMPTY_ROOT, Subtree
from dispatcher.log.rows import PAGE
from dispatcher.log.serialization import LogEntry
from dispatcher.log.sqlite import SqliteLog
from tests.support.log_contents import encoded, entries_in, naive_root, recorded_in
from tests.support.nats import Nats
from tests.support.sealing import seal_all

pytestmark = pytest.mark.anyio

Opener = Callable[[], Awaitable[Log]]
"""Opens the same log each time."""

START: Final = datetime(2024, 1, 1, tzinfo=UTC)


def sqlite_in(directory: Path, _nats: Nats) -> Opener:
    return lambda: SqliteLog.open(directory / "events.db")


class _SealingLog(SqliteLog):
    """Seals what it can after each batch."""

    async def append(self, batch: Sequence[LogEntry], expected_head: int) -> None:
        await super().append(batch, expected_head)
        await seal_all(self)


def sealing_in(directory: Path, _nats: Nats) -> Opener:
    return lambda: _SealingLog.open(directory / "events.db")


class _SealingReplica(JetStreamLog):
    """Seals what it can of its replica after each batch."""

    async def append(self, batch: Sequence[LogEntry], expected_head: int) -> None:
        await super().append(batch, expected_head)
        await seal_all(self.replica)


def jetstream_in(directory: Path, nats: Nats) -> Opener:
    return _leading(JetStreamLog, directory, nats)


def sealing_jetstream_in(directory: Path, nats: Nats) -> Opener:
    return _leading(_SealingReplica, directory, nats)


def _leading(kind: type[JetStreamLog], directory: Path, nats: Nats) -> Opener:
    address = nats.address()

    async def opened() -> Log:
        log = await kind.open(address, directory / "replica.db")
        assert await log.claim()
        return log

    return opened


FACTORIES: Final[list[Callable[[Path, Nats], Opener]]] = [
    *(sqlite_in, sealing_in),
    *(jetstream_in, sealing_jetstream_in),
]


@pytest.fixture(params=FACTORIES)
def opener(request: pytest.FixtureRequest, tmp_path: Path, nats: Nats) -> Opener:
    factory: Callable[[Path, Nats], Opener] = request.param
    return factory(tmp_path, nats)


@pytest.fixture
async def log(opener: Opener) -> AsyncIterator[Log]:
    opened = await opener()
    yield opened
    await opened.close()


def events(first: int, last: int) -> list[LogEntry]:
    return encoded(*(event(seq) for seq in range(first, last + 1)))


def event(seq: int) -> Recorded:
    at, request_id = START + timedelta(microseconds=seq), f"request {seq}" if seq % 2 else None
    return Recorded(seq, at, "tester", EngineSeen(f"engine {seq}"), request_id)


def root_of(entries: list[LogEntry]) -> bytes:
    return naive_root([serialization.line(entry) for entry in entries])


async def test_a_new_log_is_empty(log: Log) -> None:
    assert log.head == 0
    assert await entries_in(log) == []
    assert await log.page(0, 10) == []
    assert (log.tree.size, log.tree.root()) == (0, EMPTY_ROOT)


async def test_what_was_appended_is_read_in_order(log: Log) -> None:
    await log.append(events(1, 3), 0)
    await log.append(events(4, 4), 3)
    assert log.head == 4
    assert await entries_in(log) == events(1, 4)


async def test_an_event_is_read_as_it_was_written(log: Log) -> None:
    odd = {"é\x00": [1, 1.0, True, None, {"🎬": ""}], "big": 2**70, "nil": None}
    at, report = START.replace(microsecond=7), EngineReported("\u2028", odd)
    written = Recorded(1, at, "ключ '\"", report, "\x00 é")
    await log.append(encoded(written), 0)
    (read,) = await recorded_in(log)
    assert repr(read.event) == repr(written.event)
    assert read == written


async def test_time_may_step_back(log: Log) -> None:
    later, earlier = (Recorded(n, START - timedelta(n), "t", EngineSeen("e")) for n in (1, 2))
    await log.append(encoded(later, earlier), 0)
    assert await recorded_in(log) == [later, earlier]


async def test_an_entry_is_kept_as_it_is_whatever_it_says(log: Log) -> None:
    """What a later or an earlier version wrote is for the codec to understand."""
    entries = [
        LogEntry(1, "noon", "job_vanished", 7, "", "", b'{"a": [1 ,2], "b":"\\u00e9"}'),
        LogEntry(2, "noon", "job_vanished", 1, "", None, b"{}"),
    ]
    await log.append(entries, 0)
    assert await entries_in(log) == entries
    with pytest.raises(LogError) as told:
        decoded(entries)
    assert str(told.value).startswith("seq 1 can't be read: ")


@pytest.mark.parametrize("expected_head", [0, 1, 3, 2**40])
async def test_a_batch_decided_on_another_head_is_refused(log: Log, expected_head: int) -> None:
    await log.append(events(1, 2), 0)
    with pytest.raises(WrongHeadError) as told:
        await log.append(events(expected_head + 1, expected_head + 1), expected_head)
    assert str(told.value) == (
        f"events were decided on top of seq {expected_head}, but the log stands at 2; "
        "read the log from there and decide again"
    )
    assert await entries_in(log) == events(1, 2)


async def test_a_refused_head_needs_no_recovery(log: Log) -> None:
    await log.append(events(1, 2), 0)
    with pytest.raises(WrongHeadError):
        await log.append(events(1, 1), 0)
    await log.append(events(3, 3), 2)
    assert await entries_in(log) == events(1, 3)


GAPS: Final = [
    pytest.param([*events(1, 1), *events(3, 3)], id="inside"),
    pytest.param([*events(1, 2), *events(2, 2)], id="twice the same"),
    pytest.param(events(2, 3), id="before the first"),
    pytest.param(events(0, 1), id="before the beginning"),
]


@pytest.mark.parametrize("batch", GAPS)
async def test_a_batch_with_a_gap_leaves_nothing(log: Log, batch: list[LogEntry]) -> None:
    with pytest.raises(LogError):
        await log.append(batch, 0)
    assert log.head == 0
    assert await entries_in(log) == []


@pytest.mark.parametrize("batch", GAPS)
async def test_a_refused_batch_leaves_nothing_after_a_reopening(
    opener: Opener, batch: list[LogEntry]
) -> None:
    log = await opener()
    with pytest.raises(LogError):
        await log.append(batch, 0)
    await log.close()
    log = await opener()
    assert log.head == 0
    assert await entries_in(log) == []
    await log.close()


@pytest.mark.parametrize("batch", GAPS)
async def test_after_a_refused_batch_and_recovery_the_log_takes_writes(
    log: Log, batch: list[LogEntry]
) -> None:
    await log.append(events(1, 1), 0)
    shifted = [msgspec.structs.replace(entry, seq=entry.seq + 1) for entry in batch]
    with pytest.raises(LogError):
        await log.append(shifted, 1)
    await log.recover()
    assert log.head == 1
    assert log.tree.root() == root_of(events(1, 1))
    await log.append(events(2, 3), 1)
    assert await entries_in(log) == events(1, 3)
    assert log.tree.root() == root_of(events(1, 3))


async def test_after_a_refused_batch_and_recovery_everything_else_is_read_as_before(
    log: Log,
) -> None:
    await log.append(events(1, 3), 0)
    with pytest.raises(LogError):
        await log.append([*events(4, 5), *events(9, 9)], 3)
    for _ in range(2):
        assert await log.page(1, 9) == events(2, 3)
        assert await log.pick([3, 4]) == events(3, 3)
        assert await log.seq_at(START + timedelta(1)) == 3
        assert (log.tree.size, log.tree.root()) == (3, root_of(events(1, 3)))
        assert await log.subtree_hashes([Subtree(1, 0)]) == [root_of(events(1, 2))]
        await log.recover()


async def test_recovery_of_a_healthy_log_changes_nothing(log: Log) -> None:
    await log.append(events(1, 2), 0)
    await log.recover()
    assert log.head == 2
    assert await entries_in(log) == events(1, 2)


@pytest.mark.parametrize("after", [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 1, 2 * PAGE + 5])
async def test_a_long_log_is_read_in_pages_from_any_seq(log: Log, after: int) -> None:
    head = 2 * PAGE + 1
    await log.append(events(1, head), 0)
    pages = [page async for page in log.entries(after)]
    assert [entry for page in pages for entry in page] == events(after + 1, head)
    assert all(0 < len(page) <= PAGE for page in pages)


async def test_a_read_ends_at_the_head_of_the_moment_when_it_began(log: Log) -> None:
    await log.append(events(1, PAGE + 1), 0)
    pages = log.entries()
    first = await anext(pages)
    await log.append(events(PAGE + 2, PAGE + 2), PAGE + 1)
    rest = [entry async for page in pages for entry in page]
    assert [*first, *rest] == events(1, PAGE + 1)


@pytest.mark.parametrize("upto", [0, 1, 2, PAGE, PAGE + 1])
async def test_a_read_ends_where_it_is_told_to(log: Log, upto: int) -> None:
    await log.append(events(1, PAGE + 2), 0)
    read = [entry async for page in log.entries(1, upto) for entry in page]
    assert read == events(2, upto)


async def test_a_read_beyond_the_head_ends_there(log: Log) -> None:
    await log.append(events(1, 2), 0)
    assert [page async for page in log.entries(0, 9)] == [events(1, 2)]
    assert [page async for page in log.entries(2)] == []
    assert [page async for page in log.entries(9)] == []


async def test_who_stops_reading_in_the_middle_leaves_nothing_behind(log: Log) -> None:
    await log.append(events(1, PAGE + 1), 0)
    for _ in range(20):
        async with aclosing(log.entries()) as pages:
            await anext(pages)
    await log.append(events(PAGE + 2, PAGE + 2), PAGE + 1)
    assert await log.page(PAGE + 1, 1) == events(PAGE + 2, PAGE + 2)


# Some entries


@pytest.mark.parametrize(
    ("after", "limit", "first", "last"),
    [(0, 3, 1, 3), (2, 1, 3, 3), (0, 99, 1, 9), (7, 5, 8, 9), (9, 5, 1, 0), (99, 5, 1, 0)],
)
async def test_a_page_has_so_many_entries_after_a_seq(
    log: Log, after: int, limit: int, first: int, last: int
) -> None:
    await log.append(events(1, 9), 0)
    assert await log.page(after, limit) == events(first, last)


async def test_a_page_ends_at_the_seq_that_it_is_told(log: Log) -> None:
    await log.append(events(1, 9), 0)
    assert await log.page(0, 99, upto=4) == events(1, 4)
    assert await log.page(0, 2, upto=4) == events(1, 2)
    assert await log.page(4, 99, upto=4) == []
    assert await log.page(7, 99, upto=99) == events(8, 9)


async def test_a_page_may_be_of_one_type(log: Log) -> None:
    drained = [Recorded(n, START, "t", EngineDrained("e")) for n in (2, 5)]
    await log.append([*events(1, 1), *encoded(drained[0]), *events(3, 4)], 0)
    await log.append([*encoded(drained[1]), *events(6, 6)], 4)
    assert await log.page(0, 9, event_type="engine_drained") == encoded(*drained)
    assert await log.page(0, 1, event_type="engine_drained") == encoded(drained[0])
    assert await log.page(2, 9, event_type="engine_drained") == encoded(drained[1])
    assert await log.page(0, 9, upto=4, event_type="engine_drained") == encoded(drained[0])
    assert await log.page(0, 2, event_type="engine_seen") == [*events(1, 1), *events(3, 3)]
    assert await log.page(0, 9, event_type="no such type") == []


@pytest.mark.parametrize(
    ("seqs", "found"), [([], []), ([3], [3]), ([5, 1, 3], [1, 3, 5]), ([0, 2, 7, 99], [2])]
)
async def test_entries_are_picked_by_their_seqs_and_given_oldest_first(
    log: Log, seqs: list[int], found: list[int]
) -> None:
    await log.append(events(1, 6), 0)
    assert await log.pick(seqs) == encoded(*map(event, found))


async def test_a_great_many_entries_can_be_picked(log: Log) -> None:
    await log.append(events(1, 2 * PAGE + 10), 0)
    seqs = list(range(1, 2 * PAGE + 10, 2))
    assert [entry.seq for entry in await log.pick(seqs)] == seqs
    assert [entry.seq for entry in await log.pick(seqs[::-1])] == seqs


async def test_a_moment_leads_to_the_last_event_before_it(log: Log) -> None:
    await log.append(events(1, 4), 0)
    at = {micros: START + timedelta(microseconds=micros) for micros in range(7)}
    assert [await log.seq_at(at[micros]) for micros in at] == [0, 1, 2, 3, 4, 4, 4]
    assert await log.seq_at(START.replace(year=1970)) == 0
    assert await log.seq_at(START.replace(year=9999)) == 4


async def test_if_time_steps_back_a_moment_leads_to_the_last_event_of_all_before_it(
    log: Log,
) -> None:
    seconds = [10, 20, 5, 30]
    await log.append(
        encoded(
            *(
                Recorded(seq, START + timedelta(seconds=s), "t", EngineSeen("e"))
                for seq, s in enumerate(seconds, 1)
            )
        ),
        0,
    )
    found = [await log.seq_at(START + timedelta(seconds=s)) for s in (4, 5, 10, 20, 29, 30)]
    assert found == [0, 3, 3, 3, 3, 4]


# The tree


async def test_the_tree_is_that_of_the_lines_at_the_head(log: Log) -> None:
    for head, count in [(0, 1), (1, 2), (3, 1), (4, 5)]:
        await log.append(events(head + 1, head + count), head)
        assert log.tree.size == log.head
        assert log.tree.root() == root_of(events(1, head + count))


async def test_a_tree_that_was_taken_stays_what_it_was(log: Log) -> None:
    await log.append(events(1, 3), 0)
    taken = log.tree
    await log.append(events(4, 9), 3)
    assert (taken.size, taken.root()) == (3, root_of(events(1, 3)))


async def test_subtrees_are_given_in_the_order_asked_for(log: Log) -> None:
    await log.append(events(1, 7), 0)
    wanted = [Subtree(0, 6), Subtree(2, 0), Subtree(1, 2), Subtree(0, 0)]
    spans = [(7, 7), (1, 4), (5, 6), (1, 1)]
    assert await log.subtree_hashes(wanted) == [root_of(events(*span)) for span in spans]
    assert await log.subtree_hashes([]) == []


@pytest.mark.parametrize("beyond", [Subtree(0, 7), Subtree(1, 3), Subtree(3, 0), Subtree(9, 0)])
async def test_a_subtree_that_is_not_whole_yet_is_refused(log: Log, beyond: Subtree) -> None:
    await log.append(events(1, 7), 0)
    with pytest.raises(LogError, match="lacks"):
        await log.subtree_hashes([Subtree(0, 0), beyond])


# Closing and reopening


async def test_a_log_survives_being_closed_and_reopened(opener: Opener) -> None:
    for n in range(1, 4):
        log = await opener()
        assert log.head == n - 1
        await log.append(events(n, n), n - 1)
        await log.close()
    log = await opener()
    assert await entries_in(log) == events(1, 3)
    assert await log.page(1, 1) == events(2, 2)
    assert await log.pick([3, 1]) == [*events(1, 1), *events(3, 3)]
    assert await log.seq_at(START + timedelta(microseconds=2)) == 2
    assert log.tree.root() == root_of(events(1, 3))
    assert await log.subtree_hashes([Subtree(1, 0)]) == [root_of(events(1, 2))]
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
