"""An export and its import: the same log again, or none."""

import asyncio
import csv
import io
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.core.commands import Command
from dispatcher.core.decider import decide
from dispatcher.core.events import EngineReported, EngineSeen, Event, JobSubmitted, Recorded
from dispatcher.core.fleet import evolve
from dispatcher.core.policy import Policy
from dispatcher.evidence import transfer
from dispatcher.evidence.transfer import Form, Imported, export, import_lines
from dispatcher.locks import FileLock
from dispatcher.log import LogError, serialization
from dispatcher.log.merkle import EMPTY_ROOT
from dispatcher.log.sqlite import SqliteLog
from dispatcher.state.replay import State, replay
from tests.support.fleet_contents import inside
from tests.support.given import START
from tests.support.log_contents import encoded, entries_in, naive_root
from tests.support.strategies import any_commands, policies

pytestmark = pytest.mark.anyio

GOLDEN: Final = Path(__file__).parents[1] / "log" / "golden" / "schema-1.db"

request_ids = st.none() | st.text(max_size=8)


def shown(state: State) -> tuple[bytes, object]:
    """All of a state, as bytes and text that can be compared."""
    return msgspec.json.encode(state.projections.state()), inside(state.fleet)


def seen(*seqs: int) -> list[serialization.LogEntry]:
    """Entries of heartbeats with these seqs."""
    return encoded(*(Recorded(seq, START, "tester", EngineSeen(f"e{seq}")) for seq in seqs))


def lines_of(entries: list[serialization.LogEntry]) -> bytes:
    return b"".join(serialization.line(entry) + b"\n" for entry in entries)


async def written(path: Path, entries: list[serialization.LogEntry]) -> SqliteLog:
    log = await SqliteLog.open(path)
    await log.append(entries, 0)
    return log


async def exported(log: SqliteLog, form: Form = Form.JSONL, after: int = 0) -> bytes:
    out = io.BytesIO()
    await export(log, out.write, form, after)
    return out.getvalue()


async def imported(text: bytes, path: Path) -> Imported:
    return await import_lines(io.BytesIO(text), "export.jsonl", path)


# The law: live = replay = import of export


def live(
    history: list[tuple[Command, str | None]], policy: Policy
) -> tuple[list[Recorded], list[tuple[bytes, object]]]:
    """Let a history happen; give its events, and the state at every seq from 0."""
    state, log = State(), list[Recorded]()
    states = [shown(state)]
    for n, (command, request_id) in enumerate(history):
        at = START + timedelta(seconds=n)
        outcome = decide(state.fleet, command, at, policy)
        for event in outcome.events:
            log.append(Recorded(len(log) + 1, at, "é\u2028", event, request_id))
            evolve(state.fleet, event)
            state.projections.apply(log[-1])
            states.append(shown(state))
    return log, states


@settings(max_examples=25)
@given(st.lists(st.tuples(any_commands, request_ids), max_size=25), policies)
def test_an_import_of_an_export_is_the_same_log_with_the_same_state_at_every_seq(
    history: list[tuple[Command, str | None]], policy: Policy
) -> None:
    recorded, states = live(history, policy)

    async def compare(directory: Path) -> None:
        first = await written(directory / "first.db", encoded(*recorded))
        made = await imported(await exported(first), directory / "second.db")
        async with await SqliteLog.open_for_reading(directory / "second.db") as second:
            assert await entries_in(second) == await entries_in(first) == encoded(*recorded)
            assert made.tree.root() == second.tree.root() == first.tree.root()
            for seq, expected in enumerate(states):
                assert shown(await replay(first, seq)) == expected
                assert shown(await replay(second, seq)) == expected
            await first.close()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(compare(Path(directory)))


async def test_an_export_is_the_logs_lines_byte_for_byte(db: Path, tmp_path: Path) -> None:
    odd = {"é\x00": [1, 1.0, True, None, {"🎬": ""}], "big": 2**70, "nil": None}
    events: list[Event] = [
        EngineReported("\u2028", odd),
        JobSubmitted("j", '"\\', "h264", 1e300, 2**63 - 1),
    ]
    records = [Recorded(n, START, "a\x00,b", it, "r\n1") for n, it in enumerate(events, 1)]
    log = await written(db, encoded(*records))
    text = await exported(log)
    assert text == lines_of(encoded(*records))
    await imported(text, tmp_path / "new.db")
    async with await SqliteLog.open_for_reading(tmp_path / "new.db") as new:
        assert new.tree.root() == naive_root(text.splitlines(keepends=False)) == log.tree.root()
        assert await exported(new) == text
        await log.close()


async def test_an_imported_log_goes_on_like_any_other(tmp_path: Path) -> None:
    made = await imported(lines_of(seen(1, 2, 3)), tmp_path / "new.db")
    async with await SqliteLog.open(tmp_path / "new.db") as log:
        assert (log.head, log.tree.root()) == (3, made.tree.root())
        await log.append(seen(4), 3)
        assert await entries_in(log) == seen(1, 2, 3, 4)


async def test_a_log_longer_than_pages_and_batches_goes_through(
    db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "BATCH_BYTES", 10_000)
    log = await written(db, seen(*range(1, 5_001)))
    done = list[tuple[int, int]]()
    out = io.BytesIO()
    await export(log, out.write, progress=lambda *args: done.append(args))
    assert done == [(2_000, 5_000), (4_000, 5_000), (5_000, 5_000)]
    read = list[int]()
    out.seek(0)
    made = await import_lines(out, "export.jsonl", tmp_path / "new.db", read.append)
    assert made == (made.tree, True)
    assert made.tree.root() == log.tree.root()
    assert len(read) > 5
    assert read == sorted(read)
    await log.close()


async def test_an_export_of_nothing_is_empty_and_its_import_an_empty_log(
    db: Path, tmp_path: Path
) -> None:
    async with await SqliteLog.open(db) as log:
        text = await exported(log)
    assert text == b""
    made = await imported(text, tmp_path / "new.db")
    assert (made.tree.size, made.tree.root(), made.is_ended) == (0, EMPTY_ROOT, True)


async def test_an_export_of_an_older_schema_gives_the_root_of_the_migrated_log(
    tmp_path: Path,
) -> None:
    old = tmp_path / "old.db"
    old.write_bytes(GOLDEN.read_bytes())
    async with await SqliteLog.open_for_reading(old) as log:
        text = await exported(log)
    made = await imported(text, tmp_path / "new.db")
    async with await SqliteLog.open(old) as migrated:
        new = await SqliteLog.open_for_reading(tmp_path / "new.db")
        assert made.tree.root() == migrated.tree.root()
        assert await entries_in(new) == await entries_in(migrated)
    await new.close()


# A part of a log


async def test_parts_of_an_export_are_one_when_put_together(db: Path, tmp_path: Path) -> None:
    log = await written(db, seen(*range(1, 8)))
    earlier = lines_of(seen(1, 2, 3))
    later = await exported(log, after=3)
    assert later == lines_of(seen(4, 5, 6, 7))
    made = await imported(earlier + later, tmp_path / "new.db")
    assert made.tree.root() == log.tree.root()
    await log.close()


async def test_an_export_from_the_head_on_is_empty_and_beyond_it_refused(db: Path) -> None:
    log = await written(db, seen(1, 2))
    assert await exported(log, after=2) == b""
    with pytest.raises(LogError) as told:
        await exported(log, after=3)
    assert str(told.value) == "the log ends at seq 2; there is no seq 3 yet"
    await log.close()


# CSV


async def test_csv_holds_every_field_of_every_event(db: Path) -> None:
    text, awkward = 'a,"b"\r\nc;é', EngineSeen('say "hi",\nor don\'t')
    records = [
        Recorded(1, START, text, awkward, None),
        Recorded(2, START, text, awkward, text),
    ]
    log = await written(db, encoded(*records))
    table = (await exported(log, Form.CSV)).decode()
    await log.close()
    header, *rows = csv.reader(io.StringIO(table, newline=""), strict=True)
    assert header == ["seq", "time", "type", "version", "actor", "request_id", "data"]
    for entry, row in zip(encoded(*records), rows, strict=True):
        head = [str(entry.seq), entry.time, "engine_seen", "1", text, entry.request_id or ""]
        assert row == [*head, entry.data.decode()]
    assert table.startswith("seq,time,type,version,actor,request_id,data\r\n1,")


# What is no export


def with_line(changed: Callable[[bytes], bytes]) -> bytes:
    """Three lines of a log, of which the second is changed."""
    lines = lines_of(seen(1, 2, 3)).splitlines(keepends=True)
    lines[1] = changed(lines[1])
    return b"".join(lines)


def replacing(old: bytes, new: bytes) -> bytes:
    def changed(line: bytes) -> bytes:
        assert old in line
        return line.replace(old, new)

    return with_line(changed)


BAD: Final = [
    pytest.param(
        lines_of(seen(1, 3)),
        "line 2: has seq 3, but seq 2 was to follow 1; some are missing",
        id="gap",
    ),
    pytest.param(
        lines_of(seen(1, 2, 2)),
        "line 3: has seq 2, which came before; seq 3 was to follow 2",
        id="twice",
    ),
    pytest.param(
        lines_of(seen(6, 7)),
        "line 1: begins with seq 6, but a log begins with seq 1; if this was exported with "
        "--after 5, put the export of what comes before in front of it",
        id="not from 1",
    ),
    pytest.param(
        lines_of(seen(1, 2))[:-9],
        "line 2: is no line of a log: Input data was truncated "
        "(it has no line end: the file may have been cut)",
        id="cut",
    ),
    pytest.param(
        replacing(b'"tester"', b"tester"), "line 2: is no line of a log: JSON is", id="no JSON"
    ),
    pytest.param(with_line(lambda _: b"\n"), "line 2: is no line of a log: ", id="empty line"),
    pytest.param(replacing(b"e2", b"\xff"), "line 2: ", id="no UTF-8"),
    pytest.param(replacing(b'"}', b'","x":"\xff"}'), "line 2: ", id="no UTF-8 beyond the event"),
    pytest.param(
        replacing(b'"seq":2', b'"seq": 2'),
        "line 2: is no line of a log: seq, time, type, version, actor and request_id come first, "
        "without spaces",
        id="spaces in front",
    ),
    pytest.param(
        replacing(b'"engine_id":', b'"engine_id": '),
        "line 2: has spaces between its values, which no dispatcher writes",
        id="spaces behind",
    ),
    pytest.param(
        lines_of(seen(1, 2)).replace(b"\n", b"\r\n"),
        "line 1: ",
        id="CRLF",
    ),
    pytest.param(
        replacing(b"engine_seen", b"engine_spied"),
        "line 2: unknown event type 'engine_spied'",
        id="unknown type",
    ),
    pytest.param(
        replacing(b'"version":1', b'"version":99'),
        "line 2: engine_seen of version 99: this dispatcher knows versions up to 1; "
        "use the one that wrote it, or a newer one",
        id="newer version",
    ),
    pytest.param(
        replacing(b'"engine_id"', b'"engine"'),
        "line 2: engine_seen: Object missing required field `engine_id`",
        id="missing field",
    ),
    pytest.param(replacing(b"2024-01-01T", b"2024-13-01T"), "line 2: ", id="no time"),
]


@pytest.mark.parametrize(("text", "why"), BAD)
async def test_a_bad_line_is_told_with_its_number_and_leaves_nothing_behind(
    text: bytes, why: str, tmp_path: Path
) -> None:
    with pytest.raises(LogError) as told:
        await imported(text, tmp_path / "new.db")
    assert str(told.value).startswith(f"export.jsonl, {why}")
    assert str(told.value).endswith("; nothing was imported")
    assert list(tmp_path.iterdir()) == []


async def test_a_bad_line_after_many_good_ones_leaves_nothing_behind(tmp_path: Path) -> None:
    text = lines_of(seen(*range(1, 5_000), 7))
    with pytest.raises(LogError, match="line 5000: has seq 7, which came before"):
        await imported(text, tmp_path / "new.db")
    assert list(tmp_path.iterdir()) == []


async def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "LINE_LIMIT_BYTES", 1_000)
    with pytest.raises(LogError, match="line 1: is longer than 1000 bytes, as no event is"):
        await imported(b'{"seq":1,"time":"' + b"x" * 9_000, tmp_path / "new.db")


async def test_a_source_that_can_not_be_read_is_told_and_not_the_log_to_be_made(
    tmp_path: Path,
) -> None:
    with open("/proc/self/mem", "rb") as broken, pytest.raises(LogError) as told:  # noqa: ASYNC230, PTH123
        await import_lines(broken, "the source", tmp_path / "new.db")
    assert str(told.value) == "the source: can't be read: Input/output error; nothing was imported"
    assert list(tmp_path.iterdir()) == []


async def test_a_last_line_without_a_line_end_is_taken_and_told(tmp_path: Path) -> None:
    made = await imported(lines_of(seen(1, 2))[:-1], tmp_path / "new.db")
    assert (made.tree.size, made.is_ended) == (2, False)


# Where no log can be made


async def test_a_log_that_is_there_is_not_replaced(db: Path, tmp_path: Path) -> None:
    log = await written(db, seen(1))
    await log.close()
    before = db.read_bytes()
    with pytest.raises(LogError) as told:
        await imported(lines_of(seen(1, 2)), db)
    assert (
        str(told.value) == f"{db}: is there already, and is not replaced; name another, or move it"
    )
    assert db.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.db", "events.db.lock"]


async def test_a_log_that_comes_to_be_there_meanwhile_is_not_replaced(db: Path) -> None:
    def come_to_be_there(_: int) -> None:
        db.write_text("somebody's")

    lines = io.BytesIO(lines_of(seen(*range(1, 2_001))))
    with pytest.raises(LogError, match=r"is there by now, and is not replaced"):
        await import_lines(lines, "export.jsonl", db, come_to_be_there)
    assert db.read_text() == "somebody's"


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
async def test_what_is_left_of_another_log_is_never_read_into_the_new_one(
    db: Path, suffix: str
) -> None:
    remains = db.with_name(db.name + suffix)
    remains.write_bytes(b"")
    with pytest.raises(LogError) as told:
        await imported(lines_of(seen(1)), db)
    assert str(told.value) == (
        f"{remains}: is what is left of a log that stood here, and would be read into the new "
        "one; move it to where that log is now"
    )
    assert list(db.parent.iterdir()) == [remains]


async def test_a_lock_that_is_held_stops_an_import_and_one_that_is_not_does_not(db: Path) -> None:
    lock = FileLock(db.with_name("events.db.lock"))
    with pytest.raises(LogError, match="still writes to the log that stood here; stop it first"):
        await imported(lines_of(seen(1)), db)
    lock.release()
    assert (await imported(lines_of(seen(1)), db)).tree.size == 1


async def test_a_directory_in_its_place_is_told(tmp_path: Path) -> None:
    with pytest.raises(LogError) as told:
        await imported(b"", tmp_path)
    assert str(told.value) == (
        f"{tmp_path}: is a directory; name a file in it, such as {tmp_path}/events.db"
    )


async def test_a_missing_directory_is_told_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="does not exist; make it first"):
        await imported(b"", tmp_path / "a" / "events.db")
    assert list(tmp_path.iterdir()) == []
