"""A log that is missing is not replaced by an empty one, unless somebody says so."""

import re
import shutil
from pathlib import Path

import pytest

from dispatcher.evidence.backup import backup
from dispatcher.log import LogError
from tests.support.servers import client_of, events_in, running

pytestmark = pytest.mark.anyio

JOB = {"source_url": "http://media/in.mp4", "target_codec": "h264"}


async def one_job(db: Path) -> None:
    async with running(db) as server, client_of(server) as client:
        assert (await client.post("/jobs/", json=JOB)).status_code == 200


async def refusal(db: Path) -> str:
    before = sorted(path.name for path in db.parent.iterdir() if path.name != f"{db.name}.lock")
    with pytest.raises(LogError) as told:
        async with running(db):
            pass
    after = sorted(path.name for path in db.parent.iterdir() if path.name != f"{db.name}.lock")
    assert after == before
    return str(told.value)


def beside(db: Path, suffix: str) -> Path:
    return db.with_name(db.name + suffix)


REMEDY = (
    "Put the log back, or restore a backup of it (docs/restore.md); or, if a new log is wanted "
    "here, say so once with `dispatcher serve --new`"
)


async def test_the_first_start_needs_no_word(db: Path) -> None:
    await one_job(db)


async def test_a_log_that_never_had_an_event_starts_again(db: Path) -> None:
    for _ in range(2):
        async with running(db):
            pass
    assert beside(db, ".key").exists()
    await one_job(db)


async def test_a_log_that_is_missing_beside_its_key_is_not_made_anew(db: Path) -> None:
    await one_job(db)
    db.unlink()
    shutil.rmtree(beside(db, ".snapshots"))
    for _ in range(2):
        assert await refusal(db) == (
            f"{db}: there is no log here, but there was one: {db}.key is the key that signed its "
            f"checkpoints. {REMEDY}"
        )


async def test_a_log_that_is_missing_beside_its_snapshots_is_not_made_anew(db: Path) -> None:
    await one_job(db)
    db.unlink()
    beside(db, ".key").unlink()
    assert await refusal(db) == (
        f"{db}: there is no log here, but there was one, with at least 1 events: {db}.snapshots "
        f"has its snapshots. {REMEDY}"
    )


async def test_a_log_that_is_missing_beside_its_segments_is_not_made_anew(db: Path) -> None:
    segments = beside(db, ".segments")
    segments.mkdir()
    (segments / "00000000.jsonl.zst").write_bytes(b"")
    assert await refusal(db) == (
        f"{db}: there is no log here, but there was one: {segments} has its older events. {REMEDY}"
    )


async def test_an_empty_file_in_place_of_a_log_is_no_log(db: Path) -> None:
    await one_job(db)
    db.write_bytes(b"")
    assert "there is no log here, but there was one" in await refusal(db)


async def test_a_snapshot_of_nothing_is_left_by_no_event(db: Path) -> None:
    async with running(db):
        pass
    db.unlink()
    beside(db, ".key").unlink()
    await one_job(db)


async def test_a_new_log_is_made_if_somebody_says_so_once(db: Path) -> None:
    await one_job(db)
    key = beside(db, ".key").read_bytes()
    db.unlink()
    async with running(db, new=True) as server, client_of(server) as client:
        assert (await client.get("/jobs/")).json() == []
    async with running(db) as server, client_of(server) as client:
        assert (await client.get("/jobs/")).json() == []
    assert events_in(db) == []
    assert beside(db, ".key").read_bytes() == key


async def test_the_word_changes_nothing_where_the_log_is(db: Path) -> None:
    await one_job(db)
    before = events_in(db)
    async with running(db, new=True):
        pass
    assert events_in(db) == before


@pytest.mark.parametrize("new", [False, True])
async def test_no_new_log_is_made_beside_the_wal_of_another(db: Path, new: bool) -> None:
    beside(db, "-wal").write_bytes(b"events")
    told = f"{db}-wal: has events of a log that stood here, and would be read into a new one"
    with pytest.raises(LogError, match=re.escape(told)):
        async with running(db, new=new):
            pass
    assert not db.exists()


async def test_a_restored_backup_is_served_with_its_key(db: Path, tmp_path: Path) -> None:
    await one_job(db)
    before = events_in(db)
    backup(db, tmp_path / "backup.db")
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in tmp_path.glob("events.db*"):
        path.rename(broken / path.name)
    backup(tmp_path / "backup.db", db)
    shutil.copy(broken / "events.db.key", db.parent)
    async with running(db):
        pass
    assert events_in(db) == before


async def test_a_log_that_is_gone_while_it_is_served_is_told_by_health(db: Path) -> None:
    async with running(db) as server, client_of(server) as client:
        assert (await client.post("/jobs/", json=JOB)).status_code == 200
        away = db.rename(db.with_name("away"))
        for _ in range(2):
            refused = await client.post("/jobs/", json=JOB)
            assert refused.status_code == 503
            assert refused.headers["retry-after"]
        health = await client.get("/health")
        assert health.status_code == 503
        assert "was moved or deleted while the dispatcher had it open" in health.json()["fault"]
        away.rename(db)
        while (await client.get("/health")).status_code != 200:
            pass
        assert (await client.post("/jobs/", json=JOB)).status_code == 200
