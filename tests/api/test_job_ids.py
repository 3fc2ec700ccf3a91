"""`GET /jobs/ids`: ids by their beginning, of jobs in memory and of those that have left it."""

from pathlib import Path

import httpx2
import pytest

from dispatcher.client import Client
from dispatcher.index.file import index_path
from tests.support.farm import submitted
from tests.support.servers import KEY, client_of, running

pytestmark = pytest.mark.anyio


async def found(client: httpx2.AsyncClient, **query: str | int) -> list[str]:
    answer = await client.get("/jobs/ids", params=query)
    assert answer.status_code == 200
    ids: list[str] = answer.json()
    return ids


async def test_ids_are_found_by_their_beginning_wherever_the_jobs_are(db: Path) -> None:
    async with running(db) as server, client_of(server) as client:
        old = [await submitted(client) for _ in range(3)]
        for job_id in old[:2]:
            await client.post(f"/jobs/{job_id}/complete", json={"output_url": "o"})
    async with running(db) as server, client_of(server) as client:
        assert index_path(db).exists()
        every = sorted([*old, await submitted(client)])
        assert await found(client, prefix=old[0][0]) == every
        assert await found(client, prefix=old[0][0], limit=2) == every[:2]
        for job_id in every:
            assert job_id in await found(client, prefix=job_id)
            alike = [it for it in every if it.startswith(job_id[:-1])]
            assert await found(client, prefix=job_id[:-1]) == alike
        assert await found(client, prefix=f"{old[0]}0") == []
        assert await found(client, prefix="%") == []
        assert await found(client, prefix="*") == []
        async with Client(server.url, KEY) as asking:
            assert await asking.ids(old[0]) == [old[0]]


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("", "'prefix' is missing or empty."),
        ("?prefix=", "'prefix' is missing or empty."),
        (f"?prefix={'1' * 201}", "'prefix' must be at most 200 characters."),
        ("?prefix=1&limit=0", "'limit' must be a positive integer."),
        ("?prefix=1&limit=x", "'limit' must be an integer."),
        ("?prefix=1&limit=1001", "'limit' must be at most 1000."),
    ],
)
async def test_what_is_wrong_is_named(client: httpx2.AsyncClient, query: str, fault: str) -> None:
    answer = await client.get(f"/jobs/ids{query}")
    assert (answer.status_code, answer.text) == (400, f"Bad Request: {fault}")
