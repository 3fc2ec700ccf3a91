"""An engine that says little comes back from each of its misfortunes, and so does its job."""

import asyncio
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from dispatcher.core.policy import Policy
from tests.support.farm import eventually, job_shown, submitted
from tests.support.foreign import ForeignEngine
from tests.support.servers import client_of, running
from tests.support.web import Answer, Asked, forwarding_to, web

pytestmark = pytest.mark.anyio

POLICY: Final = Policy(lease_s=1.0)


class Workplace:
    """Where the engine does a job: it begins, and ends when it is let go."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()

    async def __call__(self, job: dict[str, Any]) -> str:
        self.begun.set()
        await self.may_end.wait()
        return f"http://media/{job['job_id']}.mp4"


async def at_once(job: dict[str, Any]) -> str:
    return f"http://media/{job['job_id']}.mp4"


async def completed(http: httpx2.AsyncClient, job_id: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        job = await job_shown(http, job_id)
        return job if job["status"] == "completed" else None

    return await eventually(look)


async def does_another(http: httpx2.AsyncClient) -> None:
    """The engine is as good as new: it gets and does a further job."""
    await completed(http, await submitted(http, max_retries=1))


async def told_why(http: httpx2.AsyncClient, job_id: str) -> str:
    because: str = (await http.get(f"/jobs/{job_id}/why")).json()["because"]
    return because


async def test_it_is_killed_in_a_job_and_started_again(db: Path) -> None:
    async with running(db, policy=POLICY) as server, client_of(server) as http:
        job_id, held = await submitted(http, max_retries=1), Workplace()
        async with ForeignEngine(server.url, held):
            await held.begun.wait()
        async with ForeignEngine(server.url, at_once):

            async def wondered() -> bool | None:
                return "asked for other work" in await told_why(http, job_id) or None

            await eventually(wondered)
            job = await completed(http, job_id)
            assert (job["attempt"], job["retries"], job["assigned_engine"]) == (2, 0, "origin")
            assert "asked for other work" in job["error_message"]
            (engine,) = (await http.get("/engines/")).json()
            assert engine["blocked"] is None
            await does_another(http)


async def test_the_dispatcher_is_down_when_it_completes(db: Path) -> None:
    held = Workplace()
    async with running(db, policy=POLICY) as server, client_of(server) as http:
        job_id, port = await submitted(http, max_retries=1), server.port
        engine = ForeignEngine(server.url, held)
        await engine.__aenter__()
        await held.begun.wait()
    held.may_end.set()
    await engine.report_lost.wait()
    async with running(db, policy=POLICY, port=port) as server, client_of(server) as http:
        job = await completed(http, job_id)
        assert (job["attempt"], job["retries"]) == (2, 0)
        await does_another(http)
        await engine.kill()


async def test_it_is_answered_503_when_it_completes(db: Path) -> None:
    refusals = 0

    async def answer(asked: Asked) -> Answer:
        nonlocal refusals
        if asked.target.endswith("/complete") and not refusals:
            refusals += 1
            return Answer(503, b"Service Unavailable: the disk is full")
        return await forwarding_to(server.url, asked)

    async with running(db, policy=POLICY) as server, client_of(server) as http, web(answer) as way:
        job_id = await submitted(http, max_retries=1)
        async with ForeignEngine(way.url, at_once) as engine:
            await engine.report_lost.wait()
            job = await completed(http, job_id)
            assert (job["attempt"], job["retries"]) == (2, 0)
            await does_another(http)


async def test_the_dispatcher_restarts_twice_in_its_job(db: Path) -> None:
    held = Workplace()

    async with running(db, policy=POLICY) as server, client_of(server) as http:
        job_id, port = await submitted(http, max_retries=1), server.port
        engine = ForeignEngine(server.url, held)
        await engine.__aenter__()
        await held.begun.wait()
    async with running(db, policy=POLICY, port=port):
        pass
    async with running(db, policy=POLICY, port=port) as server, client_of(server) as http:
        assert (await job_shown(http, job_id))["status"] == "assigned"
        held.may_end.set()
        job = await completed(http, job_id)
        assert (job["attempt"], job["retries"]) == (1, 0)
        (shown,) = (await http.get("/engines/")).json()
        assert shown["supported_codecs"] == ["h264", "h265"]
        await does_another(http)
        await engine.kill()


async def test_it_works_on_for_longer_than_a_lease_and_keeps_its_job(db: Path) -> None:
    async with running(db, policy=Policy(lease_s=0.3)) as server, client_of(server) as http:
        job_id, held = await submitted(http), Workplace()
        async with ForeignEngine(server.url, held):
            await held.begun.wait()
            await asyncio.sleep(1.0)  # three leases, in which it beats and does not poll
            held.may_end.set()
            assert (await completed(http, job_id))["attempt"] == 1
