"""An audit of a true log finds nothing, whenever it is made; and it reads what nobody should."""

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.core.commands import Caller, Command, SubmitJob
from dispatcher.core.policy import Policy
from dispatcher.evidence.audit import Audit
from dispatcher.evidence.findings import Finding
from dispatcher.evidence.hashes import Known
from dispatcher.evidence.states import Look
from dispatcher.index.file import index_path
from dispatcher.log import LogError
from dispatcher.log.checkpoints import Checkpoint
from dispatcher.log.merkle import EMPTY_ROOT, Frontier
from dispatcher.log.sqlite import SqliteLog
from dispatcher.serving.as_of import Past
from dispatcher.serving.service import Service
from dispatcher.serving.tickets import RefusedError
from dispatcher.state.replay import State
from dispatcher.state.snapshots import Snapshots, decode, encode
from tests.support.audits import Genuine, audited
from tests.support.given import START
from tests.support.histories import genuine, written
from tests.support.strategies import any_commands, policies
from tests.support.tampering import delete_rows, forge, put, rows, tampering

pytest_plugins = ["tests.support.audit_fixtures"]

CALLER: Final = Caller("tester", "request 1")
GOLDEN: Final = Path(__file__).parents[1] / "log" / "golden"


def check_sound(audit: Audit) -> None:
    assert list(audit.findings) == []
    assert audit.findings.first_bad() is None


# No false alarm


async def lived(path: Path, history: list[Command], policy: Policy) -> list[Known]:
    """Let a dispatcher live through a history on a real file; gives its checkpoints."""
    times = iter(START + timedelta(seconds=n) for n in range(10_000))
    async with await SqliteLog.open(path) as log:
        service = Service(log, policy, lambda: next(times), past=Past(path))
        await service.start()
        known = []
        for command in history:
            with suppress(RefusedError):
                await service.execute(command, CALLER, lambda *_: None)
            checkpoint = Checkpoint("log", log.tree.size, log.tree.root())
            known.append(Known(f"checkpoint {checkpoint.size}", checkpoint))
            if len(known) % 10 == 0:
                check_sound(audited(path, known))
        await service.close()
    return known


@settings(max_examples=25)
@given(st.lists(any_commands, max_size=40), policies)
def test_a_log_that_a_dispatcher_wrote_is_sound_at_any_time(
    history: list[Command], policy: Policy
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "events.db"
        known = asyncio.run(lived(path, history, policy))
        assert [seq for seq, _ in Snapshots(path).found()], "there is no snapshot to compare"
        check_sound(audited(path, known))
        check_sound(audited(path))


def test_a_log_with_snapshots_and_any_checkpoints_is_sound(logs: list[Genuine]) -> None:
    for log in logs:
        audit = audited(log.path, log.known(*range(log.size + 1)))
        check_sound(audit)
        assert (audit.tree.size, audit.tree.root()) == (log.size, log.roots[-1])
        assert audit.state.seq == audit.statistics.totals().events == log.size
        assert audit.notes == []


def test_an_empty_log_is_sound(db: Path) -> None:
    async def made() -> None:
        await (await SqliteLog.open(db)).close()

    asyncio.run(made())
    audit = audited(db, [Known("note", Checkpoint("log", 0, EMPTY_ROOT))])
    check_sound(audit)
    assert audit.tree.size == 0


@pytest.mark.anyio
async def test_a_log_that_grows_meanwhile_is_sound(db: Path) -> None:
    log = await SqliteLog.open(db)
    service = Service(log)
    await service.start()

    async def submit(worker: int) -> None:
        for number in count():
            wish = SubmitJob(f"{worker} {number}", "http://media/a.mp4", "h264")
            await service.execute(wish, CALLER, lambda *_: None)

    workers = [asyncio.create_task(submit(worker)) for worker in range(8)]
    sizes = []
    try:
        await service.execute(
            SubmitJob("first", "http://media/a.mp4", "h264"), CALLER, lambda *_: None
        )
        for _ in range(10):
            audit = Audit(db, [Known("the newest", Checkpoint("log", log.head, log.tree.root()))])
            await asyncio.to_thread(audit.run)
            check_sound(audit)
            sizes.append(audit.tree.size)
            await service.execute(
                SubmitJob(f"after {len(sizes)}", "http://media/a.mp4", "h264"),
                CALLER,
                lambda *_: None,
            )
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        await service.close()
        await log.close()
    assert sizes[0] < sizes[-1], "nothing was written meanwhile"
    check_sound(audited(db))


@pytest.mark.parametrize("name", ["schema-1.db", "schema-2.db"])
@pytest.mark.parametrize("is_served", [False, True])
def test_a_log_of_any_version_is_sound_before_and_after_it_is_served(
    db: Path, name: str, is_served: bool
) -> None:
    async def served() -> None:
        await (await SqliteLog.open(db)).close()

    shutil.copy(GOLDEN / name, db)
    if is_served:
        asyncio.run(served())
    audit = audited(db)
    check_sound(audit)
    is_told = any("without a tree of its own" in note for note in audit.notes)
    assert is_told == (name == "schema-1.db" and not is_served)


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A directory that this process may read only, for the time of a test, even if it is root."""
    uid = os.geteuid()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        path.chmod(0o755)
        yield path
        if os.geteuid() != uid:
            os.seteuid(uid)
        path.chmod(0o755)


def test_a_log_in_a_directory_that_can_only_be_read_is_sound(
    read_only: Path, logs: list[Genuine]
) -> None:
    path = read_only / "events.db"
    shutil.copyfile(logs[0].path, path)
    path.chmod(0o444)
    read_only.chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(65534)  # nobody
    with pytest.raises(PermissionError):
        (read_only / "other").touch()
    check_sound(audited(path, logs[0].known(logs[0].size)))


def test_an_audit_leaves_the_log_and_its_snapshots_as_they_are(logs: list[Genuine]) -> None:
    with logs[0].copy(with_snapshots=True) as path:
        before = {it: it.read_bytes() for it in path.parent.rglob("*") if it.is_file()}
        check_sound(audited(path))
        assert before == {it: it.read_bytes() for it in before}
        for beside in {it for it in path.parent.iterdir() if it.is_file()} - {path}:
            name = beside.name.replace(".index", "", 1)
            assert name in {"events.db", "events.db-wal", "events.db-shm"}, (
                "more than SQLite leaves"
            )
        check_sound(audited(path))


# Snapshots


def test_a_snapshot_that_says_otherwise_is_told_and_blames_no_event(logs: list[Genuine]) -> None:
    with logs[0].copy(with_snapshots=True) as path:
        (_, newest), (_, middle) = Snapshots(path).found()
        state, tree = decode(newest.read_bytes())
        state.fleet.newest += timedelta(seconds=1)
        newest.write_bytes(encode(state, tree))
        middle.write_bytes(b"half a snapsh")
        audit = audited(path)
    assert audit.findings.first_bad() is None
    of_middle, of_newest = audit.findings
    assert str(of_newest) == f"the snapshot {newest.name} is not what a replay gives"
    assert str(of_middle).startswith(f"the snapshot {middle.name} can't be read: ")


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ("DELETE FROM finished WHERE number % 2", "the index has "),
        ("UPDATE finished SET ended = ended - 1", "the index says otherwise of job "),
        ("DELETE FROM history WHERE name < 9", "the index has other events of "),
        ("UPDATE finished SET record = x'00'", "the index can't be read: "),
        ("UPDATE about SET tree = zeroblob(64)", "the index was made of another log"),
    ],
)
def test_an_index_that_says_otherwise_is_told_and_blames_no_event(
    logs: list[Genuine], change: str, finding: str
) -> None:
    with logs[1].copy(with_snapshots=True) as path:
        with closing(sqlite3.connect(index_path(path))) as index, index:
            index.execute(change)
        audit = audited(path)
    assert audit.findings.first_bad() is None
    assert str(next(iter(audit.findings))).startswith(finding)


def test_an_index_of_another_version_is_passed_over_and_that_told(logs: list[Genuine]) -> None:
    with logs[0].copy(with_snapshots=True) as path:
        with closing(sqlite3.connect(index_path(path))) as index, index:
            index.execute("UPDATE about SET fold = '0'")
        audit = audited(path, logs[0].known(logs[0].size))
    check_sound(audit)
    beside = index_path(path.resolve())
    note = f"{beside}: was made by another version of the dispatcher"
    assert audit.notes == [f"The index was not compared: {note}."]


def test_a_snapshot_of_another_version_is_passed_over_and_that_told(logs: list[Genuine]) -> None:
    with logs[0].copy(with_snapshots=True) as path:
        _, newest = next(Snapshots(path).found())
        newest.write_bytes(newest.read_bytes().replace(b'"fold":"', b'"fold":"0', 1))
        audit = audited(path, logs[0].known(logs[0].size))
    check_sound(audit)
    assert audit.notes == [f"{newest.name} was made by another version, and not compared."]


def test_a_snapshot_that_was_thinned_out_meanwhile_is_not_missed(logs: list[Genuine]) -> None:
    with logs[0].copy(with_snapshots=True) as path:
        audit = Audit(path)
        for _, snapshot in Snapshots(path).found():
            snapshot.unlink()
        audit.run()
    check_sound(audit)


# What no dispatcher wrote


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("job_assigned", {"job_id": "none", "engine_id": "x", "attempt": 1, "rule": ""}, "against"),
        ("engine_reported", {"engine_id": "x", "report": {"a": [[[]]]}}, None),
        (
            "job_submitted",
            {
                "job_id": "new",
                "source_url": "",
                "target_codec": "",
                "job_size": 1.0,
                "max_retries": 1,
                "waits_since": "2024-01-01T00:00:00",
                "arrived_at": "2024-01-01T00:00:00",
            },
            "can't be folded: TypeError",
        ),
    ],
)
def test_whatever_a_forger_tells_is_folded_or_told(
    logs: list[Genuine], name: str, data: dict[str, object], told: str | None
) -> None:
    with logs[0].copy() as path:
        with tampering(path) as connection:
            row = rows(connection)[19]
            encoded = msgspec.json.encode(data)
            put(connection, row._replace(type=name.encode(), data=encoded))
            forge(connection, with_subtrees=True)
        audit = audited(path)
    assert [told in str(it) for it in audit.findings if it.seq == 20 and told] == [True] * bool(
        told
    )


def test_json_of_any_depth_is_told(logs: list[Genuine]) -> None:
    deep = b'{"engine_id":"x","report":{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}}"
    with logs[0].copy() as path:
        with tampering(path) as connection:
            row = rows(connection)[19]
            put(connection, row._replace(type=b"engine_reported", version=1, data=deep))
        audit = audited(path)
    assert any("can't be" in str(it) for it in audit.findings if it.seq == 20)


def test_what_comes_after_an_event_that_can_not_be_read_is_still_hashed(
    logs: list[Genuine],
) -> None:
    log = logs[1]
    with log.copy() as path:
        with tampering(path) as connection:
            present = rows(connection)
            put(connection, present[9]._replace(data=b"{}"))
            put(connection, present[499]._replace(actor=b"somebody else"))
        audit = audited(path)
    assert [it.seq for it in audit.findings if it.which == "each"] == [10, 10, 500]
    assert any("nothing was summed up" in note for note in audit.notes)
    assert audit.statistics.totals().events == audit.state.seq == 9


def test_what_comes_after_a_gap_keeps_its_place_in_the_tree(logs: list[Genuine]) -> None:
    log = logs[1]
    with log.copy() as path:
        with tampering(path) as connection:
            delete_rows(connection, 5, 6)
        audit = audited(path)
    assert list(map(str, audit.findings)) == [
        "one or more of seq 1 to 256: changed: the tree has another hash for them",
        "seq 5 to 6: missing",
    ]
    assert audit.tree.size == log.size


def test_what_was_to_be_compared_beyond_the_end_is_told(logs: list[Genuine]) -> None:
    def compare(_state: State, _tree: Frontier) -> Iterator[Finding]:
        yield Finding("different")

    size = logs[0].size
    looks = [Look(size, compare), Look(size + 1, compare)]
    audit = Audit(logs[0].path, logs[0].known(size), looks)
    audit.run()
    assert list(audit.findings) == [Finding("different")]
    (note,) = audit.notes
    assert note.startswith(f"What was asked for at seq {size + 1} was not compared")


@pytest.mark.parametrize("content", [None, b"", b"no log at all\n" * 99, b"SQLite format 3\0" * 9])
def test_what_is_no_log_is_refused_in_words(db: Path, content: bytes | None) -> None:
    if content is not None:
        db.write_bytes(content)
    with pytest.raises(LogError) as told:
        audited(db)
    assert str(db) in str(told.value)


def test_progress_is_told_with_the_events_there_are(db: Path) -> None:
    entries = asyncio.run(written(db, genuine(2_100)))
    told: list[tuple[int, int]] = []
    Audit(db).run(lambda done, of: told.append((done, of)))
    assert told == [(1_000, len(entries)), (2_000, len(entries))]
