"""What clients and engines do over HTTP, in a word each."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Self, TypeVar

import httpx2

from tests.support.servers import Running, events_in

__all__ = [
    "JOB",
    "OUTPUT",
    "Farm",
    "assigned",
    "beat",
    "engine_shown",
    "eventually",
    "happened",
    "job_shown",
    "orders",
    "submitted",
]

JOB = {"source_url": "http://media/in.mp4", "target_codec": "h264"}
OUTPUT = {"output_url": "http://media/out.mp4"}
PATIENCE_S = 90

T = TypeVar("T")


class Farm(NamedTuple):
    """A dispatcher with a job in each state that matters here, and an engine."""

    server: Running
    http: httpx2.AsyncClient
    stranger: httpx2.AsyncClient
    jobs: dict[str, str]

    @classmethod
    async def settled(
        cls, server: Running, http: httpx2.AsyncClient, stranger: httpx2.AsyncClient
    ) -> Self:
        jobs = {
            name: await submitted(http, source_url=name, max_retries=1)
            for name in ("done", "lost", "pending")
        }
        await beat(http, "known", hostname="rack")
        await http.post(f"/jobs/{jobs['done']}/complete", json={"output_url": "o"})
        await http.post(f"/jobs/{jobs['lost']}/fail", json={"error_message": "broke"})
        return cls(server, http, stranger, jobs)

    async def ask(
        self, method: str, path: str, body: bytes | str = b"", **headers: str
    ) -> httpx2.Response:
        content = body if isinstance(body, bytes) else body.encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.request(
            method, path.format(**self.jobs), content=content, headers=named
        )

    async def shown(self) -> tuple[bytes, bytes, object]:
        """Everything that anybody could see, and the log itself."""
        jobs, engines = await self.http.get("/jobs/"), await self.http.get("/engines/")
        return jobs.content, engines.content, events_in(self.server.db)


async def submitted(client: httpx2.AsyncClient, **fields: Any) -> str:
    """Submit a job and give its id."""
    response = await client.post("/jobs/", json=JOB | fields)
    assert response.status_code == 200
    job_id: str = response.json()["job_id"]
    return job_id


async def beat(client: httpx2.AsyncClient, engine_id: str, **fields: Any) -> httpx2.Response:
    """Send a heartbeat; its answer is the protocol's, whatever rides on it."""
    response = await client.post("/engines/heartbeat", json={"engine_id": engine_id} | fields)
    assert (response.status_code, response.text) == (
        200,
        f"Heartbeat received from engine {engine_id}",
    )
    return response


async def orders(client: httpx2.AsyncClient, engine_id: str, **fields: Any) -> str | None:
    """Send a heartbeat and give the orders that ride back on it."""
    order: str | None = (await beat(client, engine_id, **fields)).headers.get("X-Dispatcher-Order")
    return order


async def assigned(client: httpx2.AsyncClient, engine_id: str) -> dict[str, Any]:
    """Have an engine ask for a job, which must be there."""
    response = await client.post("/assign_job/", json={"engine_id": engine_id})
    assert response.status_code == 200
    job: dict[str, Any] = response.json()
    return job


async def job_shown(client: httpx2.AsyncClient, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = (await client.get(f"/jobs/{job_id}")).json()
    return job


async def engine_shown(client: httpx2.AsyncClient, engine_id: str) -> dict[str, Any]:
    engines = {e["engine_id"]: e for e in (await client.get("/engines/")).json()}
    engine: dict[str, Any] = engines[engine_id]
    return engine


def happened(server: Running) -> list[str]:
    """Name the events in the log, in order."""
    return [name for _, name, _ in events_in(server.db)]


async def eventually(look: Callable[[], Awaitable[T | None]]) -> T:
    """Look until there is something to see: for what no event tells of."""
    async with asyncio.timeout(PATIENCE_S):
        while (seen := await look()) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return seen
