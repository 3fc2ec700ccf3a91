"""Whatever is done to a log's file, an audit finds it, or says that it could not have."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dispatcher.evidence.findings import Finding
from dispatcher.evidence.hashes import Known
from dispatcher.log.checkpoints import Checkpoint
from dispatcher.log.merkle import KEPT_LEVEL
from tests.support.audits import Genuine, audited
from tests.support.tampering import (
    COLUMNS,
    Row,
    delete_rows,
    first_difference,
    forge,
    put,
    rows,
    tampering,
)

pytest_plugins = ["tests.support.audit_fixtures"]

KEPT: Final = 1 << KEPT_LEVEL
Tampering = Callable[[sqlite3.Connection, list[Row]], None]


# What somebody at the sqlite3 shell may do


def flipped(value: bytes | int | None, at: int, bit: int) -> bytes | int:
    if value is None:
        return b"x"
    if isinstance(value, int):
        return value ^ (1 << bit)
    if not value:
        return b"x"
    changed = bytearray(value)
    changed[at % len(value)] ^= 1 << bit
    return bytes(changed)


@st.composite
def flips(draw: st.DrawFn, size: int) -> Tampering:
    seq, column = draw(st.integers(1, size)), draw(st.sampled_from(COLUMNS[1:]))
    at, bit = draw(st.integers(0, 400) | st.just(0)), draw(st.integers(0, 7))

    def tamper(connection: sqlite3.Connection, present: list[Row]) -> None:
        row = present[seq - 1]
        change: dict[str, Any] = {column: flipped(getattr(row, column), at, bit)}
        put(connection, row._replace(**change))

    return tamper


@st.composite
def rewrites(draw: st.DrawFn, size: int) -> Tampering:
    """Replace a whole column by something else, and perhaps by what is no text."""
    seq = draw(st.integers(1, size))
    column = draw(st.sampled_from(["time", "type", "actor", "request_id", "data"]))
    other = draw(
        st.sampled_from(
            [b"", b"\xff", b"{", b"{}", b"null", b"[" * 20_000, b"noon", b"engine_seen"]
        )
        | st.binary(max_size=9)
    )

    def tamper(connection: sqlite3.Connection, present: list[Row]) -> None:
        change: dict[str, Any] = {column: other}
        put(connection, present[seq - 1]._replace(**change))

    return tamper


@st.composite
def moves(draw: st.DrawFn, size: int) -> Tampering:
    seq = draw(st.integers(1, size))
    to = draw(st.integers(-2, size + 5) | st.sampled_from([-(1 << 63), 1 << 40, (1 << 63) - 1]))

    def tamper(connection: sqlite3.Connection, present: list[Row]) -> None:
        delete_rows(connection, seq, seq)
        if to < 1 or to > size:
            put(connection, present[seq - 1]._replace(seq=to))

    return tamper


@st.composite
def swaps(draw: st.DrawFn, size: int) -> Tampering:
    one, other = draw(st.integers(1, size)), draw(st.integers(1, size))
    with_hashes = draw(st.booleans())

    def tamper(connection: sqlite3.Connection, present: list[Row]) -> None:
        there, here = present[one - 1], present[other - 1]
        here_moved, there_moved = here._replace(seq=one), there._replace(seq=other)
        if not with_hashes:
            here_moved = here_moved._replace(leaf_hash=there.leaf_hash)
            there_moved = there_moved._replace(leaf_hash=here.leaf_hash)
        put(connection, here_moved, there_moved)

    return tamper


@st.composite
def deletions(draw: st.DrawFn, size: int) -> Tampering:
    """Take out a run of events, with or without closing the gap; at the end it is cut off."""
    first = draw(st.integers(1, size))
    last = draw(st.integers(first, min(size, first + 9)) | st.just(size))
    renumber = draw(st.booleans())

    def tamper(connection: sqlite3.Connection, present: list[Row]) -> None:
        delete_rows(connection, first, size if renumber else last)
        if renumber:
            after = present[last:]
            put(connection, *(row._replace(seq=n) for n, row in enumerate(after, first)))

    return tamper


@st.composite
def duplicates(draw: st.DrawFn, size: int) -> Tampering:
    """Put in a copy of an event, moving all that come after it, if any do."""
    seq = draw(st.integers(1, size))
    to = draw(st.integers(1, size) | st.just(size + 1))

    def tamper(connection: sqlite3.Connection, present: list[Row]) -> None:
        copy = present[seq - 1]._replace(seq=to)
        delete_rows(connection, to, size)
        later = [row._replace(seq=row.seq + 1) for row in present[to - 1 :]]
        put(connection, copy, *later)

    return tamper


def careless(size: int) -> st.SearchStrategy[Tampering]:
    """What leaves some line with a hash that is not its own, or a gap, or ends the log early."""
    return st.one_of(
        *(flips(size), rewrites(size), moves(size)),
        *(swaps(size), deletions(size), duplicates(size)),
    )


@st.composite
def retellings(draw: st.DrawFn, size: int) -> Tampering:
    """Make an event another that can be read, or leave it out; a forger then fits the hashes."""
    seq, other = draw(st.integers(1, size)), draw(st.integers(1, size))
    what = draw(st.sampled_from(["actor", "request", "event", "left out", "twice"]))

    def tamper(connection: sqlite3.Connection, present: list[Row]) -> None:
        row, another = present[seq - 1], present[other - 1]
        match what:
            case "actor":
                put(connection, row._replace(actor=b"somebody else"))
            case "request":
                put(connection, row._replace(request_id=b"another"))
            case "event":
                put(connection, row._replace(type=another.type, data=another.data))
            case "left out":
                delete_rows(connection, seq, size)
                put(connection, *(it._replace(seq=it.seq - 1) for it in present[seq:]))
            case _:
                put(connection, *(it._replace(seq=it.seq + 1) for it in present[seq - 1 :]))

    return tamper


def tampered(path: Path, tamper: Tampering) -> tuple[int, int]:
    """Do it; gives the first seq that is not what it was, and the number of events now."""
    with tampering(path) as connection:
        before = rows(connection)
        tamper(connection, before)
        after = rows(connection)
    first = first_difference(before, after)
    assume(first is not None)
    assert first is not None
    return first, len(after)


# With an earlier checkpoint


@settings(max_examples=200)
@given(data=st.data())
def test_a_checkpoint_finds_whatever_is_done_and_names_the_first_bad_seq(
    logs: list[Genuine], data: st.DataObject
) -> None:
    log = data.draw(st.sampled_from(logs))
    tamper, with_snapshots = data.draw(careless(log.size)), data.draw(st.booleans())
    sizes = data.draw(st.lists(st.integers(0, log.size), max_size=2))
    with log.copy(with_snapshots=with_snapshots) as path:
        bad, _ = tampered(path, tamper)
        found = audited(path, log.known(*sizes, log.size)).findings.first_bad()
    assert found is not None
    assert (found.seq, found.which) == (bad, "each")


@settings(max_examples=200)
@given(data=st.data(), with_subtrees=st.booleans())
def test_a_forger_who_fits_the_hashes_is_found_between_two_checkpoints(
    logs: list[Genuine], data: st.DataObject, with_subtrees: bool
) -> None:
    log = data.draw(st.sampled_from(logs))
    retell = data.draw(retellings(log.size))

    def tamper(connection: sqlite3.Connection, present: list[Row]) -> None:
        retell(connection, present)
        forge(connection, with_subtrees=with_subtrees)

    before, after = data.draw(st.floats(0, 1)), data.draw(st.floats(0, 1))
    with log.copy(with_snapshots=data.draw(st.booleans())) as path:
        bad, size = tampered(path, tamper)
        common = min(size, log.size)
        assume(bad <= common)
        earlier, later = int(before * (bad - 1)), bad + int(after * (common - bad))
        audit = audited(path, log.known(earlier, later))
    found = audit.findings.first_bad()
    assert found is not None
    kept = (bad - 1) // KEPT * KEPT + 1
    is_kept = kept + KEPT - 1 <= common
    narrowed = kept if is_kept and not with_subtrees else 1
    assert found.seq == max(earlier + 1, narrowed)
    assert found.which != "each"
    assert found.seq <= bad <= (found.upto or 0)
    assert any("note" in it.what and it.upto == later for it in audit.findings)


@given(data=st.data())
def test_a_checkpoint_of_more_events_than_there_are_tells_from_where_they_are_missing(
    logs: list[Genuine], data: st.DataObject
) -> None:
    log = data.draw(st.sampled_from(logs))
    left = data.draw(st.integers(0, log.size - 1))
    size = data.draw(st.integers(left + 1, log.size))

    def cut(connection: sqlite3.Connection, _present: list[Row]) -> None:
        delete_rows(connection, left + 1, log.size)
        forge(connection, with_subtrees=True)

    with log.copy() as path:
        tampered(path, cut)
        audit = audited(path, log.known(size))
    what = f"missing: note {size} was signed for them"
    assert list(audit.findings) == [Finding.of(left + 1, what, size)]


@given(data=st.data())
def test_two_checkpoints_that_contradict_each_other_are_told_without_blaming_the_log(
    logs: list[Genuine], data: st.DataObject
) -> None:
    log = data.draw(st.sampled_from(logs))
    size = data.draw(st.integers(0, log.size))
    false = Known("false note", Checkpoint("log", size, bytes(32)))
    audit = audited(log.path, [*log.known(log.size), false])
    assert audit.findings.first_bad() is None
    assert [it.what for it in audit.findings] == [
        f"false note is false: of its {size} events the root is another"
    ]


# Without


@settings(max_examples=150)
@given(data=st.data())
def test_without_a_checkpoint_all_is_found_but_a_log_cut_off(
    logs: list[Genuine], data: st.DataObject
) -> None:
    log = data.draw(st.sampled_from(logs))
    tamper = data.draw(careless(log.size))
    with log.copy() as path:
        bad, left = tampered(path, tamper)
        audit = audited(path)
        with closing(sqlite3.connect(path)) as connection:
            (head,) = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
    found = audit.findings.first_bad()
    if left == bad - 1 and head == left:
        assert (found is not None) == (left < log.size // KEPT * KEPT)
    if found is not None:
        assert (found.seq, found.which) == (bad, "each")
    else:
        assert left == head == bad - 1, "more was done than to cut the log off"
    assert any("could not have found" in note for note in audit.notes)


@given(data=st.data())
def test_a_snapshot_tells_of_a_log_that_was_cut_off(
    logs: list[Genuine], data: st.DataObject
) -> None:
    log = data.draw(st.sampled_from(logs))
    left = data.draw(st.integers(0, log.size - 1))
    with log.copy(with_snapshots=True) as path:
        tampered(path, lambda connection, _: delete_rows(connection, left + 1, log.size))
        found = audited(path).findings.first_bad()
    assert found is not None
    assert found.seq == left + 1


@given(data=st.data())
def test_what_no_audit_could_have_found_is_told(logs: list[Genuine], data: st.DataObject) -> None:
    log = data.draw(st.sampled_from(logs))
    seq = data.draw(st.integers(1, log.size))
    vouched = data.draw(st.integers(0, seq - 1))

    def rewrite(connection: sqlite3.Connection, present: list[Row]) -> None:
        put(connection, present[seq - 1]._replace(actor=b"somebody else"))
        forge(connection, with_subtrees=True)

    with log.copy() as path:
        tampered(path, rewrite)
        audit = audited(path, log.known(vouched))
    assert not audit.findings
    (note,) = audit.notes
    assert "could not have found it" in note
    assert f"note {vouched} vouches for seq 1 to {vouched}." in note or vouched == 0
