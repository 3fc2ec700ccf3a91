"""Logs as JSON: every line is an object, with what it is about."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from dispatcher.client import Client
from tests.support.commands import command, said_by, started
from tests.support.engines import final
from tests.support.media import FFMPEG, Clips
from tests.support.servers import KEY, Running

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def test_a_dispatcher_logs_objects_and_each_request_with_its_id(tmp_path: Path) -> None:
    options = ("serve", "--port", "0", "--log-format", "json", "--log-requests")
    async with started(tmp_path, *options) as serving:
        greeting = json.loads(await said_by(serving, "Dispatcher ready"))
        assert (greeting["level"], greeting["logger"]) == ("info", "dispatcher.said")
        url = greeting["message"].split()[3].rstrip(",")
        async with Client(url, KEY) as client:
            job = await client.submit("http://media/in.mp4?token=secret", "h264")
        serving.send_signal(signal.SIGTERM)
        _, err = await asyncio.wait_for(serving.communicate(), 60)
    logged = objects(err.decode())
    (request,) = [it for it in logged if it["logger"] == "dispatcher.requests"]
    assert (request["method"], request["path"], request["status"]) == ("POST", "/jobs/", 200)
    assert (request["key"], len(request["request_id"])) == ("operator", 32)
    assert request["ms"] >= 0
    assert "secret" not in err.decode()
    assert job.job_id


async def test_an_error_at_the_start_is_an_object_too(tmp_path: Path) -> None:
    (tmp_path / "events.db").write_text("no log")
    done = await command(tmp_path, "serve", "--port", "0", "--log-format", "json")
    (told,) = objects(done.err)
    assert (done.status, told["level"]) == (1, "error")
    assert "events.db" in told["message"]


async def test_an_engine_logs_objects_with_its_job_and_the_request(
    server: Running, dispatcher: Client, clips: Clips, tmp_path: Path
) -> None:
    options = ("--id", "e", "--work-dir", "work", "--source-root", "/", "--ffmpeg", str(FFMPEG))
    async with started(
        tmp_path, "engine", *options, "--log-format", "json", server=server.url
    ) as engine:
        job = await dispatcher.submit(clips.plain.as_uri(), "mpeg4")
        await final(dispatcher, job.job_id)
        engine.send_signal(signal.SIGTERM)
        _, err = await asyncio.wait_for(engine.communicate(), 90)
    logged = objects(err.decode())
    (completed,) = [it for it in logged if f"{job.job_id}: completed" in it["message"]]
    assert (completed["engine"], completed["job"]) == ("e", job.job_id)
    (event,) = [it for it in await events_of(dispatcher, job.job_id) if it[0] == "job_completed"]
    assert completed["request_id"] == event[1]


async def events_of(client: Client, job_id: str) -> list[tuple[str, str | None]]:
    return [(it.type, it.request_id) for it in await client.job_events(job_id)]
