"""`dispatcher replay` and `scripts/replay.py`: the state from the log alone, at any seq."""

import asyncio
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from tests.support.commands import MODULE, command
from tests.support.servers import client_of, running

pytestmark = pytest.mark.anyio

SCRIPT: Final = (str(Path(__file__).parents[2] / "scripts" / "replay.py"),)
WAYS: Final = [pytest.param((*MODULE, "replay"), id="command"), pytest.param(SCRIPT, id="script")]

REQUESTS: Final[list[tuple[str, dict[str, Any]]]] = [
    ("/jobs/", {"source_url": "http://media/0.mp4", "target_codec": "h264"}),
    ("/engines/heartbeat", {"engine_id": "farm-1", "hostname": "rack", "supported_codecs": []}),
    ("/engines/benchmark_result", {"engine_id": "farm-1", "benchmark_time": 1.5}),
    ("/assign_job/", {"engine_id": "farm-1"}),
    ("/jobs/{first}/fail", {"error_message": "broke"}),
    ("/assign_job/", {"engine_id": "farm-1"}),
    ("/jobs/{first}/complete", {"output_url": "http://media/out.mp4"}),
]


async def state_shown_by(client: httpx2.AsyncClient, seq: int) -> dict[str, Any]:
    jobs = (await client.get("/jobs/")).json()
    return {"seq": seq, "jobs": jobs, "engines": (await client.get("/engines/")).json()}


async def history_of(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    """Make every request, and keep what the GETs show after each: one event a request."""
    states = [await state_shown_by(client, 0)]
    first = ""
    for seq, (path, body) in enumerate(REQUESTS, 1):
        response = await client.post(path.format(first=first), json=body)
        assert response.status_code == 200
        first = first or response.json()["job_id"]
        states.append(await state_shown_by(client, seq))
    return states


@pytest.mark.parametrize("program", WAYS)
async def test_a_replay_to_any_seq_is_what_the_gets_showed_then(
    program: tuple[str, ...], db: Path, tmp_path: Path
) -> None:
    async with running(db) as server, client_of(server) as client:
        states = await history_of(client)
        replays = [  # while the dispatcher runs
            command(tmp_path, "--db", str(db), "--at", str(at), "--json", program=program)
            for at in (0, 5, 7)
        ]
        for at, done in zip((0, 5, 7), await asyncio.gather(*replays), strict=True):
            assert (done.status, done.err) == (0, "")
            assert done.json == states[at]
    after = await command(tmp_path, "--db", str(db), "--json", program=program)
    assert after.status == 0
    assert after.json == states[-1]


async def test_a_replay_for_people_shows_jobs_engines_and_seq(db: Path, tmp_path: Path) -> None:
    async with running(db) as server, client_of(server) as client:
        states = await history_of(client)
    done = await command(tmp_path, "replay", "--db", str(db))
    assert done.status == 0
    for shown in (states[-1]["jobs"][0]["job_id"], "completed", "1/3", "farm-1", "1.5"):
        assert shown in done.out
    assert done.err == f"{db} at seq 7\n"


async def test_a_replay_leaves_the_log_as_it_is(db: Path, tmp_path: Path) -> None:
    async with running(db) as server, client_of(server) as client:
        await history_of(client)
    before = db.read_bytes()
    assert (await command(tmp_path, "replay", "--db", str(db), "--json")).status == 0
    assert db.read_bytes() == before


async def test_a_replay_beyond_the_end_says_where_the_log_ends(db: Path, tmp_path: Path) -> None:
    async with running(db) as server, client_of(server) as client:
        await history_of(client)
    done = await command(tmp_path, "replay", "--db", str(db), "--at", "8")
    assert (done.status, done.out) == (2, "")
    assert "--at must be at most 7, the log's last seq" in done.err


async def test_a_replay_of_a_missing_log_names_it_and_makes_none(tmp_path: Path) -> None:
    missing = tmp_path / "no-such.db"
    done = await command(tmp_path, "replay", "--db", str(missing))
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("dispatcher: ")
    assert str(missing) in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not a log at all\n" * 500, b"SQLite format 3\0" * 9])
async def test_a_replay_of_something_else_names_it_and_leaves_it_alone(
    content: bytes, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.db"
    stranger.write_bytes(content)
    done = await command(tmp_path, "replay", "--db", str(stranger))
    assert (done.status, done.out) == (1, "")
    assert str(stranger) in done.err
    assert "Traceback" not in done.err
    assert stranger.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["stranger.db"]
