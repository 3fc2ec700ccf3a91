"""The commands that run for long: `serve`, `engine` and `submit --wait`."""

import asyncio
import signal
import socket
from pathlib import Path

import pytest

from dispatcher.client import Client
from dispatcher.engine.sources import STREAM_FROM_MB
from tests.support.commands import command, ended, said_by, started
from tests.support.engines import eventually, files_below, program
from tests.support.media import FFMPEG, Clips, found_in
from tests.support.servers import KEY, Running, events_in
from tests.support.web import Answer, Asked, answering, forwarding_to, web

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

ENGINE = (
    *("engine", "--id", "farm-1", "--work-dir", "work", "--output", "out"),
    *("--ffmpeg", str(FFMPEG), "--poll-s", "0.05", "--wait-s", "0"),
    *("--source-root", "/", "--source-networks", "loopback"),
)


# serve


async def test_serve_needs_a_key_and_says_how_to_give_one(tmp_path: Path) -> None:
    done = await command(tmp_path, "serve", "--port", "0", key=None)
    assert done.status == 2
    for way in ("--api-key", "DISPATCHER_API_KEY", "--no-auth"):
        assert way in done.err
    assert list(tmp_path.iterdir()) == []


async def test_serve_greets_serves_and_stops_at_sigterm(db: Path, tmp_path: Path) -> None:
    async with started(tmp_path, "serve", "--port", "0", "--db", str(db)) as process:
        greeting = await said_by(process, "Dispatcher ready on http://127.0.0.1:")
        url = greeting.split()[3].rstrip(",")
        assert greeting.endswith(f", log {db} at seq 0.\n")
        async with Client(url, KEY) as client:
            await client.submit("http://media/in.mp4", "h264")
        process.send_signal(signal.SIGTERM)
        done = await ended(process)
    assert (done.status, done.out) == (0, "")
    assert done.err == f"Stopped; {db} stands at seq 1.\n"
    assert len(events_in(db)) == 1


async def test_serve_without_auth_asks_nobody_for_a_key(tmp_path: Path) -> None:
    async with started(tmp_path, "serve", "--port", "0", "--no-auth", key=None) as process:
        url = (await said_by(process, "Dispatcher ready")).split()[3].rstrip(",")
        async with Client(url) as client:
            assert await client.jobs() == []


async def test_serve_on_a_port_that_is_taken_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = await command(tmp_path, "serve", "--port", str(port))
    assert done.status == 1
    assert done.err.startswith(f"dispatcher: can't listen on 127.0.0.1 port {port}: ")
    assert "Traceback" not in done.err


async def test_a_second_dispatcher_on_a_log_is_turned_away(server: Running, tmp_path: Path) -> None:
    done = await command(tmp_path, "serve", "--port", "0", "--db", str(server.db))
    assert done.status == 1
    assert done.err.startswith("dispatcher: ")
    assert str(server.db) in done.err
    assert "Traceback" not in done.err


# engine


async def test_an_engine_works_until_sigterm(
    server: Running, dispatcher: Client, clips: Clips, tmp_path: Path
) -> None:
    arguments = (clips.plain.as_uri(), "--codec", "h264", "--wait", "--json")
    async with started(tmp_path, *ENGINE, server=server.url) as engine:
        done = await command(tmp_path, "submit", *arguments, server=server.url)
        engine.send_signal(signal.SIGTERM)
        end = await ended(engine)
    assert done.status == 0
    (job,) = done.json
    assert (job["status"], job["assigned_engine"]) == ("completed", "farm-1")
    assert found_in(tmp_path / "out" / f"{clips.plain.stem}-{job['job_id']}.mp4").video == "h264"
    assert (end.status, end.out) == (0, "")
    assert "Traceback" not in end.err
    assert KEY not in end.err
    assert len(await dispatcher.engines()) == 1


async def test_an_engine_that_is_stopped_in_a_job_reports_it_and_leaves_nothing(
    server: Running, dispatcher: Client, tmp_path: Path
) -> None:
    async with web(answering(Answer(body=b"\0", then_silence=True))) as origin:
        submitted = await dispatcher.submit(f"{origin.url}/a.mp4", "h264", job_size=STREAM_FROM_MB)
        async with started(tmp_path, *ENGINE, server=server.url) as engine:
            await origin.held.wait()
            engine.send_signal(signal.SIGTERM)
            await said_by(engine, "farm-1: ending after the job in hand; again to stop it")
            assert not origin.left.is_set()
            engine.send_signal(signal.SIGTERM)
            done = await ended(engine)
        await asyncio.wait_for(origin.left.wait(), 30)
    job = await dispatcher.job(submitted.job_id)
    assert done.status == 0
    assert "farm-1: stopping the job; again to end at once" in done.err
    assert (job.status, job.retries) == ("pending", 0)
    assert job.error_message == "engine farm-1 was stopped during the job"
    assert files_below(tmp_path / "work") == []
    assert files_below(tmp_path / "out") == []


async def test_a_third_signal_ends_an_engine_that_can_not_report(
    server: Running, dispatcher: Client, tmp_path: Path
) -> None:
    reporting = asyncio.Event()

    async def answer(asked: Asked) -> Answer:
        if asked.target.endswith("/fail"):
            reporting.set()
            return Answer(503)
        return await forwarding_to(server.url, asked)

    async with (
        web(answering(Answer(body=b"\0", then_silence=True))) as origin,
        web(answer) as between,
    ):
        job = await dispatcher.submit(f"{origin.url}/a.mp4", "h264", job_size=STREAM_FROM_MB)
        async with started(tmp_path, *ENGINE, server=between.url) as engine:
            await origin.held.wait()
            engine.send_signal(signal.SIGINT)
            await said_by(engine, "ending after the job in hand")
            engine.send_signal(signal.SIGINT)
            await asyncio.wait_for(reporting.wait(), 30)
            engine.send_signal(signal.SIGINT)
            done = await ended(engine)
        await asyncio.wait_for(origin.left.wait(), 30)
    assert done.status == 1
    assert "Traceback" not in done.err
    assert (await dispatcher.job(job.job_id)).status == "assigned"  # the next process reports it


async def test_an_engine_finishes_its_job_after_the_first_signal(
    server: Running, dispatcher: Client, clips: Clips, tmp_path: Path
) -> None:
    asked_for, go_on = asyncio.Event(), asyncio.Event()

    async def answer(_: Asked) -> Answer:
        asked_for.set()
        await go_on.wait()
        return Answer(body=clips.plain.read_bytes())

    async with web(answer) as origin:
        first = await dispatcher.submit(f"{origin.url}/a.mp4", "mpeg4")
        second = await dispatcher.submit(f"{origin.url}/b.mp4", "mpeg4")
        async with started(tmp_path, *ENGINE, server=server.url) as engine:
            await asked_for.wait()
            engine.send_signal(signal.SIGTERM)
            await said_by(engine, "ending after the job in hand")
            go_on.set()
            done = await ended(engine)
    assert done.status == 0
    assert (await dispatcher.job(first.job_id)).status == "completed"
    assert (await dispatcher.job(second.job_id)).status == "pending"
    assert files_below(tmp_path / "work") == []


async def test_ffmpeg_dies_with_an_engine_that_is_killed(
    server: Running, dispatcher: Client, tmp_path: Path
) -> None:
    async with web(answering(Answer(body=b"\0", then_silence=True))) as origin:
        await dispatcher.submit(f"{origin.url}/a.mp4", "h264", job_size=STREAM_FROM_MB)
        async with started(tmp_path, *ENGINE, server=server.url) as engine:
            await origin.held.wait()
            assert not origin.left.is_set()
            engine.kill()
            await asyncio.wait_for(origin.left.wait(), 30)


async def test_a_second_engine_of_the_same_id_exits_with_1(server: Running, tmp_path: Path) -> None:
    async with started(tmp_path, *ENGINE, server=server.url) as first:
        await said_by(first, "measuring")
        done = await command(tmp_path, *ENGINE, server=server.url)
    assert done.status == 1
    assert done.err == (
        f"dispatcher: engine farm-1 runs on this machine already (process {first.pid}); "
        "give this one another --id\n"
    )


async def test_an_engine_whose_key_is_refused_exits_with_4(server: Running, tmp_path: Path) -> None:
    done = await command(tmp_path, *ENGINE, server=server.url, key="another key")
    assert done.status == 4
    assert done.err.splitlines()[-1] == "dispatcher: Unauthorized (HTTP 401)"
    assert "another key" not in done.err


async def test_an_engine_waits_for_a_dispatcher_that_is_away(tmp_path: Path) -> None:
    knocked = asyncio.Event()

    async def nobody_home(_: Asked) -> None:
        knocked.set()

    async with (
        web(nobody_home) as closed,
        started(tmp_path, *ENGINE, server=closed.url) as engine,
    ):
        await knocked.wait()
        engine.send_signal(signal.SIGTERM)
        done = await ended(engine)
    assert done.status == 0
    assert "Traceback" not in done.err


@pytest.mark.parametrize("script", [["exit 1"], ["echo no >&2", "exit 3"]])
async def test_an_engine_whose_ffmpeg_is_none_exits_with_1(
    script: list[str], tmp_path: Path
) -> None:
    stranger = program(tmp_path / "stranger", *script)
    done = await command(tmp_path, *ENGINE, "--ffmpeg", str(stranger), server="http://127.0.0.1:1")
    assert done.status == 1
    assert done.err.startswith("dispatcher: ")
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "arguments",
    [["--ffmpeg", "no-such-ffmpeg"], ["--output", "ftp://127.0.0.1/"], ["--work-dir", "/dev/null"]],
    ids=" ".join,
)
async def test_an_engine_that_can_not_work_exits_with_1(
    arguments: list[str], tmp_path: Path
) -> None:
    done = await command(tmp_path, *ENGINE, *arguments, server="http://127.0.0.1:1")
    assert done.status == 1
    assert done.err.startswith("dispatcher: ")
    assert len(done.err.splitlines()) == 1


async def test_networks_that_can_not_be_read_are_an_error_before_anything_is_made(
    tmp_path: Path,
) -> None:
    done = await command(tmp_path, *ENGINE, "--source-networks", "public,intranet")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(
        "dispatcher: --source-networks: 'intranet' is none of public, private, loopback, "
    )
    assert not (tmp_path / "work").exists()


async def test_an_engine_says_what_is_confined_and_what_may_be_meant_otherwise(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    missing = tmp_path / "missing"
    arguments = (*ENGINE, "--source-root", str(missing), "--max-memory-mb", "2000")
    async with started(tmp_path, *arguments, server=server.url) as engine:
        said = await said_by(engine, "farm-1: ffmpeg ")
        assert "uses at most 2000 MB of memory and 1000 hours of CPU time a job" in said
        await said_by(engine, f"--source-root {missing} is no directory at present")
        await said_by(engine, "sources are fetched without a proxy: HTTPS_PROXY is not used")


# submit --wait


async def test_waiting_for_a_job_that_fails_exits_with_1(
    server: Running, clips: Clips, tmp_path: Path
) -> None:
    sources = (clips.plain.as_uri(), clips.junk.as_uri())
    arguments = ("--codec", "h264", "--max-retries", "1", "--wait", "--json")
    async with started(tmp_path, *ENGINE, server=server.url):
        done = await command(tmp_path, "submit", *sources, *arguments, server=server.url)
    assert done.status == 1
    assert [job["status"] for job in done.json] == ["completed", "failed_permanently"]


async def test_waiting_goes_on_while_the_dispatcher_is_away(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    hung_up = asyncio.Event()

    async def answer(asked: Asked) -> Answer | None:
        if asked.method == "GET" and not hung_up.is_set():
            hung_up.set()
            return None
        return await forwarding_to(server.url, asked)

    async with web(answer) as between:
        arguments = ("submit", "http://media/a.mp4", "--codec", "h264", "--wait", "--json")
        async with started(tmp_path, *arguments, server=between.url) as waiting:
            await hung_up.wait()

            async def submitted() -> str | None:
                jobs = await dispatcher.jobs()
                return jobs[0].job_id if jobs else None

            await dispatcher.complete(await eventually(submitted), "http://media/out.mp4")
            done = await ended(waiting)
    assert done.status == 0
    assert [job["status"] for job in done.json] == ["completed"]
