"""The log's tree: whatever the batches, it is that of RFC 9162 over the lines, and proves them."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from dispatcher.core.events import EngineSeen, Recorded
from dispatcher.log import LogError, serialization
from dispatcher.log.merkle import (
    KEPT_LEVEL,
    Span,
    Subtree,
    consistency,
    inclusion,
    leaf_hash,
    span_root,
    subtrees,
    verify_consistency,
    verify_inclusion,
)
from dispatcher.log.serialization import LogEntry
from dispatcher.log.sqlite import SqliteLog
from tests.support.given import START
from tests.support.log_contents import encoded, naive_root

pytestmark = pytest.mark.anyio

KEPT: Final = 1 << KEPT_LEVEL
"""Leaves of the smallest subtree that is kept."""
SIZES: Final = [
    *(0, 1, 2, 3, KEPT - 1, KEPT, KEPT + 1),
    *(2 * KEPT - 1, 2 * KEPT, 2 * KEPT + 1, 1500),
]
BATCHES: Final = {"one": [10_000], "many": [1, 2, 250, 3, 1, 255, 256, 257, 7, 400, 10_000]}


def events(first: int, last: int) -> list[LogEntry]:
    seqs = range(first, last + 1)
    return encoded(*(Recorded(seq, START, "tester", EngineSeen(f"é{seq}")) for seq in seqs))


def lines(first: int, last: int) -> list[bytes]:
    return [serialization.line(entry) for entry in events(first, last)]


@cache
def naive(begin: int, end: int) -> bytes:
    """Give the root over leaves [begin, end)."""
    return naive_root(lines(begin + 1, end))


def naive_subtree(of: Subtree) -> bytes:
    return naive(of.number << of.level, of.number + 1 << of.level)


async def grown(log: SqliteLog, size: int, batches: list[int]) -> None:
    for count in batches:
        last = min(log.head + count, size)
        await log.append(events(log.head + 1, last), log.head)
    assert log.head == size


@pytest.fixture
async def log(db: Path) -> AsyncIterator[SqliteLog]:
    async with await SqliteLog.open(db) as opened:
        yield opened


# The root


@pytest.mark.parametrize("batches", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("size", SIZES)
async def test_the_root_is_that_over_the_lines(db: Path, size: int, batches: list[int]) -> None:
    async with await SqliteLog.open(db) as log:
        await grown(log, size, batches)
        assert (log.tree.size, log.tree.root()) == (size, naive(0, size))
    for reopened in (await SqliteLog.open_for_reading(db), await SqliteLog.open(db)):
        assert reopened.tree.roots == log.tree.roots
        assert (reopened.tree.size, reopened.tree.root()) == (size, naive(0, size))
        await reopened.close()


@pytest.mark.parametrize("size", SIZES)
async def test_a_reopened_tree_grows_as_if_it_had_never_been_closed(db: Path, size: int) -> None:
    async with await SqliteLog.open(db) as log:
        await grown(log, size, [size])
    async with await SqliteLog.open(db) as log:
        await log.append(events(size + 1, size + KEPT + 1), size)
        assert log.tree.root() == naive(0, size + KEPT + 1)


async def test_no_subtree_is_kept_that_is_cheaply_made_of_its_leaves(log: SqliteLog) -> None:
    await grown(log, 5 * KEPT - 1, BATCHES["many"])
    with closing(sqlite3.connect(log.path)) as shell:
        kept = shell.execute("SELECT level, number FROM subtrees ORDER BY level, number").fetchall()
        assert kept == [(8, 0), (8, 1), (8, 2), (8, 3), (9, 0), (9, 1), (10, 0)]


# Proofs


def sizes_before(size: int) -> list[int]:
    return sorted(
        {1, 2, 3, KEPT - 1, KEPT, KEPT + 1, 300, size - 1, size} & set(range(1, size + 1))
    )


@pytest.mark.parametrize("size", [1, 2, 3, KEPT, KEPT + 1, 2 * KEPT + 1, 700])
async def test_every_subtree_that_any_proof_needs_is_what_its_leaves_make(
    log: SqliteLog, size: int
) -> None:
    await grown(log, size, BATCHES["many"])
    paths = [inclusion(index, size) for index in range(size)]
    paths += [consistency(old, size) for old in range(1, size + 1)]
    needed = sorted({piece for path in paths for span in path for piece in span})
    assert await log.subtree_hashes(needed) == [naive_subtree(piece) for piece in needed]


async def hashes(log: SqliteLog, path: list[Span]) -> list[bytes]:
    return [span_root(await log.subtree_hashes(span)) for span in path]


@pytest.mark.parametrize("size", [1, 2, 3, KEPT, KEPT + 1, 2 * KEPT + 1, 700])
async def test_its_proofs_hold_also_those_of_its_past(log: SqliteLog, size: int) -> None:
    await grown(log, 700, BATCHES["many"])
    root = span_root(await log.subtree_hashes(subtrees(0, size)))
    assert root == naive(0, size)
    for index in [before - 1 for before in sizes_before(size)]:
        path = await hashes(log, inclusion(index, size))
        (line,) = lines(index + 1, index + 1)
        assert verify_inclusion(leaf_hash(line), index, size, path, root)
        assert not verify_inclusion(leaf_hash(line + b" "), index, size, path, root)
    for old in sizes_before(size):
        path = await hashes(log, consistency(old, size))
        assert verify_consistency(old, size, naive(0, old), root, path)
        assert not verify_consistency(old, size, naive(1, old + 1), root, path)


# Nothing of it changes


LEAF: Final = "x'" + "00" * 32 + "'"
EVENT_CHANGED: Final = "events are append-only: an event is never changed"
EVENT_DELETED: Final = "events are append-only: an event is never deleted"
TREE_CHANGED: Final = "the tree is append-only: a subtree is never changed"
TREE_DELETED: Final = "the tree is append-only: a subtree is never deleted"


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        (f"UPDATE events SET leaf_hash = {LEAF}", EVENT_CHANGED),
        ("UPDATE events SET leaf_hash = leaf_hash WHERE seq = 3", EVENT_CHANGED),
        ("DELETE FROM events WHERE seq = 300", EVENT_DELETED),
        (f"UPDATE subtrees SET hash = {LEAF}", TREE_CHANGED),
        ("UPDATE subtrees SET number = 7 WHERE number = 0", TREE_CHANGED),
        ("DELETE FROM subtrees", TREE_DELETED),
        ("DELETE FROM subtrees WHERE level = 8 AND number = 1", TREE_DELETED),
        (f"INSERT INTO subtrees VALUES (8, 0, {LEAF})", TREE_CHANGED),
        (f"REPLACE INTO subtrees VALUES (8, 0, {LEAF})", TREE_CHANGED),
        (f"INSERT OR IGNORE INTO subtrees VALUES (8, 0, {LEAF})", TREE_CHANGED),
        (
            f"INSERT INTO subtrees VALUES (8, 0, {LEAF}) ON CONFLICT DO UPDATE SET hash = {LEAF}",
            TREE_CHANGED,
        ),
    ],
)
async def test_not_even_the_shell_can_change_the_tree(
    log: SqliteLog, statement: str, text: str
) -> None:
    await grown(log, 600, [600])
    with closing(sqlite3.connect(log.path)) as shell:
        with pytest.raises(sqlite3.IntegrityError) as told:
            shell.execute(statement)
        shell.rollback()
    assert str(told.value) == text
    assert span_root(await log.subtree_hashes(subtrees(0, 600))) == naive(0, 600)


async def test_a_failed_append_leaves_the_tree_as_it_was(log: SqliteLog) -> None:
    """The batch would have completed a subtree that is kept, and it fails at its last event."""
    await grown(log, KEPT - 2, [KEPT])
    before = log.tree
    with pytest.raises(LogError):
        await log.append([*events(KEPT - 1, KEPT + 3), *events(9, 9)], KEPT - 2)
    assert log.tree is before
    assert (before.size, before.root()) == (KEPT - 2, naive(0, KEPT - 2))
    await log.recover()
    assert log.tree.roots == before.roots
    with pytest.raises(LogError, match="the tree lacks"):
        await log.subtree_hashes([Subtree(KEPT_LEVEL, 0)])
    await log.append(events(KEPT - 1, KEPT + 3), KEPT - 2)
    assert log.tree.root() == naive(0, KEPT + 3)


async def test_an_append_that_fails_at_the_tree_leaves_no_event_either(log: SqliteLog) -> None:
    await grown(log, KEPT - 1, [KEPT])
    with closing(sqlite3.connect(log.path)) as shell:
        shell.execute("INSERT INTO subtrees VALUES (8, 0, x'00')")
        shell.commit()
    with pytest.raises(LogError, match="a subtree is never changed"):
        await log.append(events(KEPT, KEPT), KEPT - 1)
    await log.recover()
    assert (log.head, log.tree.size) == (KEPT - 1, KEPT - 1)
    assert await log.page(KEPT - 1, 9) == []


# Damage


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        (
            "DELETE FROM subtrees WHERE level = 9",
            "the tree lacks subtree 0 of level 9; see what `dispatcher audit` says of the log",
        ),
        (
            "DELETE FROM events WHERE seq = 600",
            "the tree lacks leaves after seq 592; run `dispatcher audit` on the log",
        ),
    ],
)
async def test_a_log_without_a_part_of_its_tree_takes_no_writes_but_can_be_read(
    db: Path, statement: str, text: str
) -> None:
    async with await SqliteLog.open(db) as log:
        await grown(log, 603, [603])
    with closing(sqlite3.connect(db)) as shell:
        for table in ("events", "subtrees"):
            shell.execute(f"DROP TRIGGER {table}_are_never_deleted")
        shell.execute(statement)
        shell.commit()
    with pytest.raises(LogError) as told:
        await SqliteLog.open(db)
    assert str(told.value) == text
    async with await SqliteLog.open_for_reading(db) as reader:
        assert await reader.page(0, 9) == events(1, 9)
        with pytest.raises(LogError) as told:
            _ = reader.tree
        assert str(told.value) == text
