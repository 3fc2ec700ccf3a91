"""Naming jobs: by their ids, by the beginning of one, and as `@last`."""

import asyncio
from pathlib import Path
from typing import Final

import pytest

from dispatcher.client import Client
from tests.support.commands import command
from tests.support.servers import Running
from tests.support.web import Answer, answering, web

pytestmark = pytest.mark.anyio

SOURCE: Final = "http://media/in.mp4"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it is kept what somebody has submitted."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def beginning(job_id: str, others: list[str]) -> str:
    """The shortest beginning that no other id has."""
    return next(
        job_id[:length]
        for length in range(1, len(job_id) + 1)
        if not any(it.startswith(job_id[:length]) for it in others if it != job_id)
    )


@pytest.mark.parametrize("name", ["job", "why", "history", "cancel"])
async def test_the_beginning_of_an_id_that_only_one_job_has_names_it(
    dispatcher: Client, server: Running, tmp_path: Path, name: str
) -> None:
    ids = [(await dispatcher.submit(SOURCE, "h264")).job_id for _ in range(2)]
    done = await command(tmp_path, name, beginning(ids[1], ids), server=server.url)
    assert (done.status, done.err) == (0, "")
    if name == "cancel":
        assert (await dispatcher.job(ids[1])).status == "cancelled"
        assert (await dispatcher.job(ids[0])).status == "pending"
    else:
        assert ids[1] in done.out or name == "history"


async def test_a_beginning_that_several_have_changes_nothing_and_names_them(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    ids = [(await dispatcher.submit(SOURCE, "h264")).job_id for _ in range(12)]
    done = await command(tmp_path, "cancel", ids[0][0], server=server.url)
    assert (done.status, done.out) == (4, "")
    assert done.err.startswith(
        f"dispatcher: several jobs have ids that begin with {ids[0][0]!r}; give more of the one "
        f"you mean: {ids[0]}, "
    )
    assert done.err.endswith(", …\n")
    assert {job.status for job in await dispatcher.jobs()} == {"pending"}


async def test_no_job_is_changed_if_one_of_several_ids_is_wrong(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    job_id = (await dispatcher.submit(SOURCE, "h264")).job_id
    done = await command(tmp_path, "cancel", job_id, "nonsense", server=server.url)
    assert (done.status, done.out) == (4, "")
    assert "Job not found: 'nonsense' is no job's id, nor the beginning of one" in done.err
    assert (await dispatcher.job(job_id)).status == "pending"
    done = await command(tmp_path, "cancel", job_id, job_id, server=server.url)
    assert (done.status, done.out) == (0, f"Job {job_id} cancelled\n")


async def test_an_older_dispatcher_knows_no_beginnings(tmp_path: Path) -> None:
    async with web(answering(Answer(404, b"Job not found"))) as server:
        done = await command(tmp_path, "job", "17", server=server.url)
    assert done.status == 4
    assert "Job not found: '17'" in done.err


async def test_last_is_what_was_submitted_last_from_here(
    server: Running, tmp_path: Path, home: Path
) -> None:
    done = await command(tmp_path, "job", "@last", server=server.url)
    assert done.status == 4
    assert f"@last: you have submitted nothing to {server.url} from here" in done.err
    for sources in (["a"], ["b", "c"]):
        urls = [f"http://media/{it}.mp4" for it in sources]
        done = await command(tmp_path, "submit", *urls, "--codec", "h264", server=server.url)
        assert done.status == 0
    last, both = await asyncio.gather(
        command(tmp_path, "job", "@last", "--json", server=server.url),
        command(tmp_path, "cancel", "@last", server=server.url),
    )
    assert last.json["source_url"] == "http://media/c.mp4"
    assert (both.status, len(both.out.splitlines())) == (0, 2)
    (kept,) = (home / "dispatcher" / "last").iterdir()
    assert kept.stat().st_mode & 0o077 == 0


async def test_last_is_of_the_dispatcher_that_is_asked(
    server: Running, tmp_path: Path, home: Path
) -> None:
    await command(tmp_path, "submit", SOURCE, "--codec", "h264", server=server.url)
    assert home.exists()
    done = await command(tmp_path, "job", "@last", server="http://127.0.0.1:1")
    assert (done.status, done.err.startswith("dispatcher: @last: you have submitted")) == (4, True)


async def test_a_submission_does_not_fail_because_last_can_not_be_kept(
    server: Running, tmp_path: Path, home: Path
) -> None:
    home.write_text("no folder")
    done = await command(tmp_path, "submit", SOURCE, "--codec", "h264", server=server.url)
    assert done.status == 0
    assert "@last is not these jobs" in done.err


async def test_a_damaged_file_of_last_is_an_error_with_a_way_out(
    server: Running, tmp_path: Path, home: Path
) -> None:
    await command(tmp_path, "submit", SOURCE, "--codec", "h264", server=server.url)
    (kept,) = (home / "dispatcher" / "last").iterdir()
    kept.write_bytes(b'["')
    done = await command(tmp_path, "job", "@last", server=server.url)
    assert done.status == 4
    assert done.err.endswith("give the job's id\n")
