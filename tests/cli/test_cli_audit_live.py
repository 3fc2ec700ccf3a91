"""A log and the dispatcher that serves it, compared by `dispatcher audit --against`."""

import asyncio
import os
import re
import shutil
import sqlite3
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from dispatcher.client import Client
from tests.support.audits import Genuine
from tests.support.commands import Done, command
from tests.support.servers import KEY, Running, child, running
from tests.support.tampering import change_actor, forge, put, rows, tampering

pytest_plugins = ["tests.support.audit_fixtures"]
pytestmark = pytest.mark.anyio

OTHER_KEY: Final = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"


async def lived(server: Running, jobs: int) -> None:
    """Let some jobs be done, and some not."""
    async with Client(server.url, KEY) as client:
        for number in range(jobs):
            await client.submit(f"http://media/{number}.mp4", "h264", job_size=10.5)
        engine_id = f"farm-{len(await client.engines())}"
        await client.heartbeat(engine_id, {"hostname": "rack", "storage_capacity_gb": 5})
        await client.benchmark_result(engine_id, 1.5)
        job = await client.assign(engine_id)
        assert job is not None
        await client.complete(job.job_id, "http://media/out.mp4", engine_id=engine_id, attempt=1)
        await client.assign(engine_id)


async def compared(cwd: Path, server: Running, *arguments: str, key: str = KEY) -> Done:
    """Compare events.db in a directory with a dispatcher."""
    options = ("--db", "events.db", "--against", server.url, *arguments)
    done = await command(cwd, "audit", *options, key=key)
    assert "Traceback" not in done.err
    return done


async def test_a_dispatcher_shows_what_its_log_says(
    server: Running, tmp_path: Path, db: Path
) -> None:
    empty = await compared(tmp_path, server)
    assert (empty.status, empty.out.endswith("all 0 events are sound.\n")) == (0, True)
    await lived(server, 5)
    async with Client(server.url, KEY) as client:
        (tmp_path / "note").write_text(await client.checkpoint(), encoding="utf-8")
    done = await compared(tmp_path, server, "--checkpoint", "note")
    assert (done.status, done.out.endswith("events are sound.\n")) == (0, True)
    assert "No checkpoint" not in done.out
    alone = await compared(tmp_path, server)
    assert alone.status == 0
    assert "No checkpoint vouches" in alone.out, "the log's own dispatcher vouches for nothing"
    assert db.exists()


async def test_a_dispatcher_in_a_process_of_its_own_does_so_while_it_works(
    db: Path, tmp_path: Path
) -> None:
    async with child(db) as process:
        server = Running(process.url, db)
        await lived(server, 3)
        done = await compared(tmp_path, server)
    assert (done.status, done.out.endswith("events are sound.\n")) == (0, True)


async def test_an_older_copy_is_what_the_log_of_the_dispatcher_begins_with(
    server: Running, tmp_path: Path
) -> None:
    await lived(server, 3)
    (tmp_path / "old").mkdir()
    copy = tmp_path / "old" / "events.db"
    with closing(sqlite3.connect(server.db)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    await lived(server, 3)
    done = await compared(tmp_path / "old", server)
    assert (done.status, done.out.endswith("events are sound.\n")) == (0, True)
    change_actor(copy, 2, forged=True)
    forged = await compared(tmp_path / "old", server)
    assert forged.status == 1
    assert f"not what the log of {server.url} has there" in forged.out


async def test_the_dispatcher_of_another_log_is_told(tmp_path: Path, logs: list[Genuine]) -> None:
    shutil.copy(logs[0].path, tmp_path / "events.db")
    async with running(tmp_path / "other.db") as server:
        behind = await compared(tmp_path, server)
        await lived(server, 5)
        shorter = await compared(tmp_path, server)
        await lived(server, 40)
        longer = await compared(tmp_path, server, "--json")
    for done in (behind, shorter):
        assert done.status == 1
        assert f"not in the log of {server.url}, which ends at seq" in done.out
    assert "first bad seq 1," in behind.out
    assert "first bad seq 1," in shorter.out
    assert longer.status == longer.json["first_bad_seq"] == 1
    assert any(
        "is on the server, but not in the log" in it["what"] for it in longer.json["findings"]
    )


async def test_a_dispatcher_that_shows_otherwise_than_its_log_is_told(
    server: Running, tmp_path: Path, db: Path
) -> None:
    await lived(server, 3)
    with tampering(db) as connection:
        row = next(row for row in rows(connection) if row.type == b"job_completed")
        put(connection, row._replace(data=row.data.replace(b"out.mp4", b"in.mp4")))
        forge(connection, with_subtrees=True)
    done = await compared(tmp_path, server)
    assert done.status == 1
    told = "output_url is 'http://media/out.mp4' on the server, 'http://media/in.mp4' by the log"
    assert told in done.out


async def test_a_dispatcher_that_signs_with_another_key_is_told(
    server: Running, tmp_path: Path
) -> None:
    await lived(server, 1)
    done = await compared(tmp_path, server, "--key", OTHER_KEY)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"dispatcher: {server.url}: the checkpoint has no signature by")


async def test_a_dispatcher_that_asks_for_a_key_gets_one_or_refuses(
    server: Running, tmp_path: Path
) -> None:
    await lived(server, 1)
    done = await compared(tmp_path, server, key="another key")
    assert (done.status, done.out) == (4, "")


# The page for auditors


async def test_the_commands_of_the_page_for_auditors_work_as_they_stand(
    server: Running, tmp_path: Path
) -> None:
    await lived(server, 20)
    root = Path(__file__).parents[2]
    page = (root / "docs" / "audit.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    # What the page says of certificates needs a store, and is tried with one.
    key, earlier, *others = (it for it in blocks if "certificate" not in it)
    (tmp_path / "scripts").symlink_to(root / "scripts")
    for block in (key, earlier):
        assert await pasted(tmp_path, server, block)
    await lived(server, 2)
    for block in others:
        assert await pasted(tmp_path, server, block)
    assert len(others) == 3
    last = (await pasted(tmp_path, server, others[-1])).splitlines()[-1]
    assert last.endswith("events are sound.")


async def pasted(cwd: Path, server: Running, block: str) -> str:
    """Run what somebody pastes into a shell; gives what it prints."""
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", block),
        cwd=cwd,
        env=os.environ
        | {"DISPATCHER_SERVER": server.url, "DISPATCHER_API_KEY": KEY, "NO_PROXY": "127.0.0.1"}
        | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await asyncio.wait_for(shell.communicate(), 60)
    assert (shell.returncode, err.decode()) == (0, "")
    return out.decode() or "done"
