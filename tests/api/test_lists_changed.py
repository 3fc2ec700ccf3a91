"""What a list shows is what a filter changes; searches through many jobs, and of the past."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import httpx2
import pytest

from tests.support.farm import submitted
from tests.support.kinds import Kinds, kinds_of, made
from tests.support.servers import Running, client_of, running

pytestmark = pytest.mark.anyio


# Many jobs


async def test_a_search_through_many_jobs_finds_all(client: httpx2.AsyncClient) -> None:
    lines = [b'{"source_url": "http://m/%d", "target_codec": "h264"}' % n for n in range(2_000)]
    assert (await client.post("/jobs/batch", content=b"\n".join(lines))).status_code == 200
    found = (await client.get("/jobs/", params={"text": "m/77", "order": "newest"})).json()
    expected = [n for n in range(1_999, -1, -1) if str(n).startswith("77")]
    assert [job["source_url"] for job in found] == [f"http://m/{n}" for n in expected]
    first = (await client.get("/jobs/", params={"text": "m/77 /77", "limit": 2})).json()
    assert [job["source_url"] for job in first] == ["http://m/77", "http://m/770"]


# The same for what is done with many


async def test_what_a_list_shows_is_what_a_filter_changes(server: Running) -> None:
    async with client_of(server) as http:
        farm = await kinds_of(http, await made(http))
        for query in (
            "text=moov",
            "since=2020-01-01T00:00:00Z&status=cancelled,failed_permanently",
        ):
            counted = await http.post(f"/jobs/retry?{query}&dry_run=true")
            assert counted.json() == {"count": len(await farm.listed(**dict(parse_qsl(query))))}
        response = await http.post("/jobs/retry?text=MOOV%20atom")
        assert response.json() == {"count": 1, "done": 1, "not_done": 0, "reasons": {}}
        assert await farm.listed(status="pending") == ["failed", "first", "last"]
        response = await http.post("/jobs/cancel?status=pending&order=newest&limit=1")
        assert response.json()["done"] == 1
        assert await farm.listed(status="pending") == ["failed", "first"]
        for query in ("text=", "text=%20", "order=newest"):
            response = await http.post(f"/jobs/cancel?{query}")
            assert response.status_code == 400


async def test_many_waiting_jobs_are_given_another_priority(server: Running) -> None:
    async with client_of(server) as http:
        farm = await kinds_of(http, await made(http))
        path = "/jobs/priority?codec=h264"
        assert (await http.post(f"{path}&dry_run=true", json={"priority": 9})).json() == {
            "count": 6
        }
        assert await priorities(farm) == [0] * 6
        response = await http.post(path, json={"priority": 9})
        conflict = "Conflict: the job is {}, and only one that waits has a priority."
        finished = ("completed", "failed permanently", "cancelled", "assigned")
        assert response.json() == {
            "count": 6,
            "done": 2,
            "not_done": 4,
            "reasons": {conflict.format(it): 1 for it in finished},
        }
        assert await priorities(farm) == [0, 0, 0, 0, 9, 9]


async def priorities(farm: Kinds) -> list[int]:
    return [job["priority"] for job in (await farm.http.get("/jobs/")).json()]


@pytest.mark.parametrize(
    ("query", "body", "text"),
    [
        ("?codec=h264", {}, "'priority' is missing."),
        ("?codec=h264", {"priority": 101}, "'priority' must be at most 100."),
        ("", {"priority": 5}, "it needs one of 'codec', "),
        ("?text=", {"priority": 5}, "'text' must have a word."),
        ("?codec=h264&priority=5", {"priority": 5}, "there is no parameter 'priority' here"),
    ],
)
async def test_without_a_priority_or_a_filter_nothing_is_changed(
    client: httpx2.AsyncClient, query: str, body: object, text: str
) -> None:
    await submitted(client)
    response = await client.post(f"/jobs/priority{query}", json=body)
    assert response.status_code == 400
    assert response.text.startswith(f"Bad Request: {text}")
    assert [job["priority"] for job in (await client.get("/jobs/")).json()] == [0]


# The past

ASKED: Final[list[dict[str, Any]]] = [
    *({}, {"order": "newest"}, {"text": "übung"}, {"text": "farm-07", "order": "newest"}),
    *({"status": "completed,cancelled"}, {"status": "failed_permanently"}, {"text": "moov"}),
    *({"order": "newest", "limit": 2}, {"since": "2020-01-01T00:00:00Z"}),
]


async def test_of_a_past_moment_is_shown_what_was_shown_then(db: Path) -> None:
    async with running(db) as server, client_of(server) as http:
        ids = await made(http)
        then = await kinds_of(http, ids)
        shown = [await then.listed(**query) for query in ASKED]
    async with running(db) as server, client_of(server) as http:
        await submitted(http)
        await http.post(f"/jobs/{ids[1]}/retry")
        await http.post(f"/jobs/{ids[2]}/retry")
        now = Kinds(http, then.jobs, then.seq)
        assert [await now.listed(**query, as_of=then.seq) for query in ASKED] == shown
