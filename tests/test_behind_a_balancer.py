"""Clients and engines that know one URL, that of HAProxy, which has one dispatcher that lives.

Two dispatchers of a test can't share an embedded log, so the other one is dead, or both are lines
to the same. HAProxy chooses a server by the client's address; the one that lives is tried in either
place, so that the dead one is chosen first in one of them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Final

import httpx2
import pytest

from dispatcher.client import Client, DispatcherAwayError
from tests.support.engines import eventually
from tests.support.haproxy import HAPROXY, balanced
from tests.support.servers import KEY, Running
from tests.support.web import Answer, Asked, forwarding_to, web

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(HAPROXY is None, reason="there is no haproxy; scripts/setup installs it"),
    pytest.mark.parametrize("mode", ["http", "tcp"]),
]

SOURCE: Final = "http://media/in.mp4"
OUTPUT: Final = "http://media/out.mp4"
PLACES: Final = range(2)


async def hang_up(_: Asked) -> None:
    return None


async def nobody() -> str:
    async with web(hang_up) as gone:
        return gone.url


@pytest.fixture(params=PLACES)
async def balancer(
    request: pytest.FixtureRequest, mode: str, server: Running, tmp_path: Path
) -> AsyncIterator[str]:
    """HAProxy before two servers, of which one is a dispatcher and the other is dead."""
    urls = [server.url if place == request.param else await nobody() for place in PLACES]
    async with balanced(urls, tmp_path, mode) as url:
        yield url


@pytest.mark.usefixtures("mode")
async def test_a_foreign_engine_works_unchanged(balancer: str) -> None:
    """As one that knows nothing but the protocol, and makes a connection for each request."""

    async def ask(method: str, path: str, body: object = None) -> httpx2.Response:
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
            headers = {"X-API-Key": KEY}
            return await http.request(method, balancer + path, json=body, headers=headers)

    job = {"source_url": SOURCE, "target_codec": "h264"}
    job_id = (await ask("POST", "/jobs/", job)).json()["job_id"]
    engine = {"engine_id": "foreign", "supported_codecs": ["h264"], "status": "idle"}
    for _ in range(3):
        beat = await ask("POST", "/engines/heartbeat", engine)
        assert (beat.status_code, beat.text) == (200, "Heartbeat received from engine foreign")
    assigned = await ask("POST", "/assign_job/", {"engine_id": "foreign"})
    assert assigned.json()["job_id"] == job_id
    done = await ask("POST", f"/jobs/{job_id}/complete", {"output_url": OUTPUT})
    assert done.text == f"Job {job_id} marked as completed"
    assert (await ask("GET", f"/jobs/{job_id}")).json()["status"] == "completed"
    assert (await ask("POST", "/assign_job/", {"engine_id": "foreign"})).status_code == 204


@pytest.mark.usefixtures("mode")
async def test_a_request_waits_for_work_through_it(balancer: str, dispatcher: Client) -> None:
    async with Client(balancer, KEY) as engine:
        await engine.heartbeat("e")
        assert await engine.assign("e", wait_s=0.2) is None
        waiting = asyncio.create_task(engine.assign("e", wait_s=60))
        await asyncio.wait({waiting}, timeout=0.2)
        assert not waiting.done()
        job = await dispatcher.submit(SOURCE, "h264")
        assigned = await waiting
    assert assigned is not None
    assert assigned.job_id == job.job_id


@pytest.mark.usefixtures("mode")
async def test_events_stream_through_it_as_they_happen(balancer: str, dispatcher: Client) -> None:
    async with Client(balancer, KEY) as client, aclosing(client.stream(after=0)) as events:
        for seq in range(1, 6):
            await dispatcher.submit(SOURCE, "h264")
            assert (await anext(events)).seq == seq


async def test_a_client_goes_on_when_its_dispatcher_fails_behind_it(
    mode: str, server: Running, tmp_path: Path
) -> None:
    failed = set[str]()

    async def line(name: str, asked: Asked) -> Answer | None:
        return None if name in failed else await forwarding_to(server.url, asked)

    async with (
        web(partial(line, "first")) as first,
        web(partial(line, "second")) as second,
        balanced([first.url, second.url], tmp_path, mode) as url,
        Client(url, KEY) as client,
    ):
        await client.submit(SOURCE, "h264")
        failed.add("first" if "/jobs/" in {it.target for it in first.asked} else "second")

        async def look() -> int | None:
            try:
                return len(await client.jobs())
            except DispatcherAwayError:  # the checks have not seen it yet
                return None

        assert await eventually(look) == 1
