"""A dispatcher seals its log while it works, and everybody goes on seeing all of it."""

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from dispatcher.client import Client
from dispatcher.evidence.against_server import Served
from dispatcher.evidence.audit import Audit
from dispatcher.log import LogError, serialization
from dispatcher.log.segments import SegmentError, folder_of
from dispatcher.log.segments.sealing import write_segment
from dispatcher.log.sqlite import SqliteLog
from dispatcher.serving import sealing as sealing_module
from dispatcher.serving.sealing import Sealing
from dispatcher.serving.service import Service
from tests.support.histories import genuine, written
from tests.support.in_flight import asking, submit, until
from tests.support.log_contents import entries_in
from tests.support.sealing import seal_next
from tests.support.servers import KEY, child, client_of

pytestmark = pytest.mark.anyio

SIZE: Final = 900
ENTRIES: Final = [serialization.encode(it) for it in genuine(SIZE)]


@pytest.fixture
async def log(db: Path) -> AsyncIterator[SqliteLog]:
    await written(db, genuine(SIZE))
    async with await SqliteLog.open(db) as opened:
        yield opened


def rows_in(path: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(path)) as connection:
        found: tuple[int, int] = connection.execute(
            "SELECT min(seq), max(seq) FROM events"
        ).fetchone()
        return found


async def test_what_is_due_is_sealed_and_let_go_of(log: SqliteLog) -> None:
    sealing = Sealing(log, 256, 1)
    sealing.start()
    await until(lambda: rows_in(log.path)[0] == 769)
    assert sealing.warning is None
    await sealing.close()
    assert await entries_in(log) == ENTRIES


async def test_it_waits_for_a_margin_of_newer_events(log: SqliteLog) -> None:
    sealing = Sealing(log, 256, 1)
    sealing.start()
    await until(lambda: log.sealed_upto == 768)
    service = Service(log, sealing=sealing)
    await service.start()
    try:
        while log.head < 1_024 + 256 // sealing_module.MARGIN - 1:
            await asking(service, submit(f"more {log.head}"))
        assert log.sealed_upto == 768
        await asking(service, submit(f"more {log.head}"))
        await until(lambda: log.sealed_upto == 1_024)
    finally:
        await service.close()


@pytest.mark.parametrize("killed_after", ["the draft", "the file", "the row", "some rows"])
async def test_what_a_killed_dispatcher_left_is_continued(
    log: SqliteLog, killed_after: str
) -> None:
    folder_of(log.path).mkdir()
    if killed_after == "the draft":
        (folder_of(log.path) / "00000000.jsonl.zst.new").write_bytes(b"half")
    elif killed_after == "the file":
        segment = await log.unsealed(256, 1)
        assert segment is not None
        write_segment(log.path, segment, 1)
    else:
        await seal_next(log)
        if killed_after == "some rows":
            await seal_next(log)
            await log.release()
    sealing = Sealing(log, 256, 1)
    sealing.start()
    await until(lambda: rows_in(log.path)[0] == 769)
    await sealing.close()
    assert await entries_in(log) == ENTRIES
    names = [f"{number:08}.jsonl.zst" for number in range(3)]
    assert sorted(it.name for it in folder_of(log.path).iterdir()) == names


async def test_a_failure_is_a_warning_and_nothing_else_stops(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sealing_module, "RETRY_S", 0.01)
    folder_of(log.path).write_bytes(b"a file where the folder should be")
    sealing = Sealing(log, 256, 1)
    service = Service(log, sealing=sealing)
    await service.start()
    try:
        await until(lambda: service.warning is not None)
        told = f"{folder_of(log.path)}/00000000.jsonl.zst: can't be written: File exists"
        assert service.warning == told
        await asking(service, submit(f"more {log.head}"))
        assert caplog.text.count("Older events can't be sealed") == 1
        folder_of(log.path).unlink()
        await until(lambda: service.warning is None)
        assert "Older events are sealed again, up to seq 768" in caplog.text
    finally:
        await service.close()


@pytest.mark.parametrize("error", [SegmentError("no room"), RuntimeError("a defect")])
async def test_whatever_fails_the_dispatcher_goes_on(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(log, "seal", fail)
    service = Service(log, sealing=Sealing(log, 256, 1))
    await service.start()
    try:
        await until(lambda: service.warning is not None)
        assert str(error) in str(service.warning)
        await asking(service, submit(f"more {log.head}"))
    finally:
        await service.close()


async def test_a_segment_that_is_gone_keeps_its_rows_and_is_told(log: SqliteLog) -> None:
    row = await seal_next(log)
    assert row is not None
    (folder_of(log.path) / row.file_name).unlink()
    sealing = Sealing(log, 256, 1)
    sealing.start()
    await until(lambda: sealing.warning is not None)
    assert "can't be used as segment 0" in str(sealing.warning)
    assert rows_in(log.path) == (1, log.head)
    await sealing.close()


@pytest.mark.parametrize("events", [0, 1, 128, 255, 300, 1_000_000])
async def test_a_segment_has_a_power_of_two_of_events(log: SqliteLog, events: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Sealing(log, events)


async def test_over_http_all_is_as_it_was_when_the_past_is_in_segments(db: Path) -> None:
    async with child(db, "--segment-events", "0") as server, client_of(server) as client:
        job = {"source_url": "http://media.test/film.mov", "target_codec": "h264"}
        first = (await client.post("/jobs/", json=job)).json()
        for _ in range(699):
            await client.post("/jobs/", json=job)
        paths = [
            *("/events?limit=1000", "/events?after=250&limit=20", "/events?type=job_submitted"),
            *("/jobs/?as_of=300", f"/jobs/{first['job_id']}/events", "/log/proof?seq=5"),
            *("/log/consistency?from=10&to=300", "/log/checkpoint"),
        ]
        before = [(await client.get(path)).text for path in paths]
    options = ("--segment-events", "256", "--segment-level", "1")
    async with child(db, *options) as server, client_of(server) as client:
        await until(lambda: rows_in(db)[0] == 513)
        after = [(await client.get(path)).text for path in paths]
        assert after == before
        assert (await client.get("/health")).json() == {"status": "ok", "seq": 700, "fault": None}
        async with client.stream("GET", "/events/stream?after=0") as stream:
            seqs = list[int]()
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    seqs.append(msgspec.json.decode(line[6:])["seq"])
                if len(seqs) == 700:
                    break
        assert seqs == list(range(1, 701))
        async with Client(server.url, KEY) as asking:
            served = await Served.ask(asking, db, None)
            audit = Audit(db, [], served.looks())
            await asyncio.to_thread(audit.run)
            assert [*audit.findings, *await served.findings(audit.tree)] == []
        server.process.send_signal(signal.SIGTERM)  # it leaves a snapshot of its end
        await server.process.communicate()
        missing = folder_of(db) / "00000001.jsonl.zst"
        aside = missing.rename(db.with_name("aside"))
    async with child(db, *options) as server, client_of(server) as client:
        answer = await client.get("/events?after=250&limit=20")
        assert answer.status_code == 503
        assert "can't be used as segment 1" in answer.text
        stream = await client.get("/events/stream?after=250")
        assert (stream.status_code, stream.text) == (503, answer.text)
        assert "can't be used as segment 1" in (await client.get("/health")).json()["warning"]
        assert (await client.get("/events?after=600&limit=20")).status_code == 200
        assert (await client.post("/jobs/", json=job)).status_code == 200
        os.mkfifo(missing)  # what an open would wait for
        assert "it is no file" in (await client.get("/events?after=250&limit=20")).text
        aside.rename(missing)
        assert (await client.get("/events?after=250&limit=20")).status_code == 200
        assert "warning" not in (await client.get("/health")).json()


async def test_a_log_error_is_what_a_segment_error_is() -> None:
    assert issubclass(SegmentError, LogError)
