"""What a client can do about a job besides submitting it: cancel, retry, ask why, list."""

from typing import Any
from urllib.parse import urljoin

import httpx2
import pytest

from tests.support.farm import (
    JOB,
    OUTPUT,
    assigned,
    beat,
    engine_shown,
    happened,
    job_shown,
    submitted,
)
from tests.support.servers import Running

pytestmark = pytest.mark.anyio


# Cancel


async def test_a_cancelled_job_is_final_and_goes_to_nobody(client: httpx2.AsyncClient) -> None:
    await beat(client, "e")
    job_id = await submitted(client)
    response = await client.delete(f"/jobs/{job_id}")
    assert (response.status_code, response.text) == (200, f"Job {job_id} cancelled")
    job = await job_shown(client, job_id)
    assert job["status"] == "cancelled"
    assert job["finished_at"] is not None
    assert (await client.post("/assign_job/", json={"engine_id": "e"})).status_code == 204
    for path, body in (("complete", OUTPUT), ("fail", {"error_message": "m"})):
        refused = await client.post(f"/jobs/{job_id}/{path}", json=body)
        assert (refused.status_code, refused.text) == (
            400,
            "Bad Request: Job is already in a final state.",
        )
    assert await job_shown(client, job_id) == job


async def test_to_cancel_twice_is_no_error_and_writes_nothing(
    client: httpx2.AsyncClient, server: Running
) -> None:
    job_id = await submitted(client)
    answers = [await client.delete(f"/jobs/{job_id}") for _ in range(3)]
    assert {(a.status_code, a.text) for a in answers} == {(200, f"Job {job_id} cancelled")}
    assert happened(server) == ["job_submitted", "job_cancelled"]


async def test_an_engine_whose_job_was_cancelled_is_idle_at_once(
    client: httpx2.AsyncClient,
) -> None:
    await beat(client, "e")
    first, second = await submitted(client), await submitted(client)
    assert (await assigned(client, "e"))["job_id"] == first
    await client.delete(f"/jobs/{first}")
    assert (await engine_shown(client, "e"))["status"] == "idle"
    assert (await assigned(client, "e"))["job_id"] == second


# Retry


@pytest.mark.parametrize("end", ["cancelled", "failed_permanently"])
async def test_a_retried_job_starts_over_with_all_its_retries(
    client: httpx2.AsyncClient, end: str
) -> None:
    await beat(client, "e")
    job_id = await submitted(client, max_retries=1)
    await assigned(client, "e")
    if end == "cancelled":
        await client.delete(f"/jobs/{job_id}")
    else:
        await client.post(f"/jobs/{job_id}/fail", json={"error_message": "broke"})
    assert (await job_shown(client, job_id))["status"] == end

    response = await client.post(f"/jobs/{job_id}/retry")
    assert (response.status_code, response.text) == (200, f"Job {job_id} re-queued")
    job = await job_shown(client, job_id)
    assert (job["status"], job["retries"], job["finished_at"]) == ("pending", 0, None)
    assert job["assigned_engine"] is None
    again = await assigned(client, "e")
    assert (again["job_id"], again["attempt"]) == (job_id, 2)


# Why


async def test_why_tells_a_pending_jobs_place_and_what_stands_in_each_engines_way(
    client: httpx2.AsyncClient,
) -> None:
    await beat(client, "other codec", supported_codecs=["av1"])
    await beat(client, "small", storage_capacity_gb=0.01)
    await beat(client, "says busy", status="busy")
    await beat(client, "drained")
    await client.post("/engines/drained/drain")
    await beat(client, "failed it")
    await beat(client, "free")
    ahead = await submitted(client, job_size=50, max_retries=5)
    job_id = await submitted(client, job_size=50, max_retries=5, priority=1)
    assert (await assigned(client, "failed it"))["job_id"] == job_id
    await client.post(f"/jobs/{job_id}/fail", json={"error_message": "broke"})

    response = await client.get(f"/jobs/{job_id}/why")
    assert response.headers["content-type"] == "application/json"
    why = response.json()
    assert (why["status"], why["place"], why["waiting"]) == ("pending", 1, 2)
    assert {e["engine_id"]: e["obstacle"] for e in why["engines"]} == {
        "other codec": "codec",
        "small": "storage",
        "says busy": "busy",
        "drained": "drained",
        "failed it": "failed_it",
        "free": None,
    }
    assert all((e["obstacle"] is None) == (e["because"] is None) for e in why["engines"])
    assert (await client.get(f"/jobs/{ahead}/why")).json()["place"] == 2


async def test_why_tells_which_rule_chose_the_engine_and_who_else_was_considered(
    client: httpx2.AsyncClient,
) -> None:
    for engine_id, time in (("slow", 30), ("fast", 10), ("middling", 20)):
        await beat(client, engine_id, benchmark_time=time)
    job_id = await submitted(client, job_size=60)
    await client.post("/assign_job/")
    why = (await client.get(f"/jobs/{job_id}/why")).json()
    assert (why["engine_id"], why["attempt"], why["rule"]) == ("fast", 1, "medium: fastest")
    assert why["considered"] == ["slow", "fast", "middling"]
    assert why["because"] == "engine fast holds it, attempt 1"


async def test_why_answers_in_every_state(client: httpx2.AsyncClient) -> None:
    await beat(client, "e")
    told = {}
    for state in ("completed", "failed_permanently", "cancelled", "pending"):
        job_id = await submitted(client, max_retries=1, target_codec=state)
        if state == "completed":
            await client.post(f"/jobs/{job_id}/complete", json=OUTPUT)
        elif state == "failed_permanently":
            await client.post(f"/jobs/{job_id}/fail", json={"error_message": "broke"})
        elif state == "cancelled":
            await client.delete(f"/jobs/{job_id}")
        why = (await client.get(f"/jobs/{job_id}/why")).json()
        assert why["status"] == state
        told[state] = why["because"]
    assert told == {
        "completed": "its output is at http://media/out.mp4",
        "failed_permanently": "its failures have used up its retries; the last was: broke",
        "cancelled": "it was cancelled",
        "pending": "it is number 1 in the queue, and an engine that could take it is free",
    }


# List


async def jobs_of_all_kinds(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    """Submit 23 jobs of two codecs; two engines hold one each, and some are done."""
    for engine_id in ("e", "f & g"):
        await beat(client, engine_id)
    job_ids = [await submitted(client, target_codec=("h264", "a+b c")[n % 2]) for n in range(23)]
    for job_id in job_ids[::5]:
        await client.post(f"/jobs/{job_id}/complete", json=OUTPUT)
    for engine_id in ("e", "f & g"):
        await assigned(client, engine_id)
    jobs: list[dict[str, Any]] = (await client.get("/jobs/")).json()
    return jobs


FILTERS: list[dict[str, str]] = [
    {},
    {"status": "completed"},
    {"status": "assigned", "codec": "a+b c"},
    {"codec": "a+b c"},
    {"engine": "f & g"},
    {"engine": "nobody"},
    {"status": "cancelled"},
]
FIELDS = {"status": "status", "codec": "target_codec", "engine": "assigned_engine"}


@pytest.mark.parametrize("asked", FILTERS)
async def test_filters_and_pages_walk_what_was_asked_for_exactly_once(
    client: httpx2.AsyncClient, asked: dict[str, str]
) -> None:
    wanted = [
        job
        for job in await jobs_of_all_kinds(client)
        if all(job[FIELDS[name]] == value for name, value in asked.items())
    ]
    whole = await client.get("/jobs/", params=asked)
    assert whole.json() == wanted
    assert "link" not in whole.headers
    for limit in (1, 5, len(wanted), 23, 1000):
        if limit > 0:
            assert await walked(client, asked | {"limit": str(limit)}, limit) == wanted


async def walked(
    client: httpx2.AsyncClient, asked: dict[str, str], limit: int
) -> list[dict[str, Any]]:
    """Follow the links from the first page to the last."""
    page = await client.get("/jobs/", params=asked)
    found: list[dict[str, Any]] = page.json()
    while (link := page.links.get("next")) is not None:
        assert link["rel"] == "next"
        assert len(page.json()) == limit, "only the last page may be short"
        page = await client.get(urljoin(str(page.url), link["url"]))
        assert page.json(), "a link leads to no empty page"
        found += page.json()
        assert len(found) <= 23
    return found


async def test_jobs_that_come_or_change_during_a_walk_are_not_shown_twice(
    client: httpx2.AsyncClient,
) -> None:
    first = [await submitted(client) for _ in range(4)]
    page = await client.get("/jobs/", params={"status": "pending", "limit": "2"})
    await client.post(f"/jobs/{first[0]}/complete", json=OUTPUT)
    await client.post(f"/jobs/{first[1]}/complete", json=OUTPUT)
    late = await submitted(client)
    rest = await client.get(page.links["next"]["url"])
    assert [job["job_id"] for job in page.json()] == first[:2]
    assert [job["job_id"] for job in rest.json()] == first[2:]
    last = await client.get(rest.links["next"]["url"])
    assert [job["job_id"] for job in last.json()] == [late]
    assert "link" not in last.headers


async def test_parameters_that_are_not_known_are_ignored(client: httpx2.AsyncClient) -> None:
    await client.post("/jobs/", json=JOB)
    whole, odd = await client.get("/jobs/"), await client.get("/jobs/?colour=red")
    assert (odd.status_code, odd.content) == (200, whole.content)


# Order


async def test_priority_goes_first_and_equals_go_in_order_also_after_a_failure(
    client: httpx2.AsyncClient,
) -> None:
    low = [await submitted(client, max_retries=9) for _ in range(2)]
    high = [await submitted(client, max_retries=9, priority=5) for _ in range(2)]
    order = [*high, *low]
    await beat(client, "e")
    assert (await assigned(client, "e"))["job_id"] == order[0]
    await client.post(f"/jobs/{order[0]}/fail", json={"error_message": "broke"})
    for job_id in order:
        assert (await assigned(client, "e"))["job_id"] == job_id
        await client.post(f"/jobs/{job_id}/complete", json=OUTPUT)
