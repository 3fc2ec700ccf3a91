"""Leases over real time: who falls silent loses its job, and nobody for any other cause.

Nothing here is said to happen soon. Where something must not happen too early, that is measured
with a clock that a slow machine can only put further on.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dispatcher.core.policy import Policy
from tests.support.farm import (
    OUTPUT,
    assigned,
    beat,
    engine_shown,
    eventually,
    happened,
    job_shown,
    orders,
    submitted,
)
from tests.support.servers import client_of, events_in, running

pytestmark = pytest.mark.anyio

LEASE_S = 1.5
POLICY = Policy(lease_s=LEASE_S, max_losses=2)


@pytest.fixture
async def client(db: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a dispatcher with short leases."""
    async with running(db, policy=POLICY) as server, client_of(server) as http:
        yield http


async def offline(client: httpx2.AsyncClient, engine_id: str, *beating: str) -> dict[str, Any]:
    """Wait until an engine is offline, and let others beat meanwhile."""

    async def look() -> dict[str, Any] | None:
        for other in beating:
            await beat(client, other)
        shown = await engine_shown(client, engine_id)
        return None if shown["online"] else shown

    return await eventually(look)


# Over HTTP


async def test_a_silent_engines_job_runs_elsewhere_and_its_late_answer_is_refused(
    client: httpx2.AsyncClient, db: Path
) -> None:
    await beat(client, "silent")
    job_id = await submitted(client)
    await assigned(client, "silent")
    await beat(client, "other")
    await offline(client, "silent", "other")
    job = await job_shown(client, job_id)
    assert (job["status"], job["assigned_engine"], job["retries"]) == ("pending", None, 0)
    assert job["error_message"] == "engine silent has been silent for 1.5 s"
    assert (await assigned(client, "other"))["attempt"] == 2

    late = await client.post(
        f"/jobs/{job_id}/complete", json=OUTPUT | {"engine_id": "silent", "attempt": 1}
    )
    assert late.status_code == 409
    assert "engine other holds it now (attempt 2)" in late.text
    _, name, data = events_in(db)[-1]
    assert (name, json.loads(data)["engine_id"]) == ("answer_refused", "silent")
    assert (await engine_shown(client, "silent"))["online"] is False
    await beat(client, "other")
    order = await orders(client, "silent", current_job=job_id, attempt=1)
    assert order == f"cancel {job_id}"
    assert (await engine_shown(client, "silent"))["online"] is True
    mine = OUTPUT | {"engine_id": "other", "attempt": 2}
    assert (await client.post(f"/jobs/{job_id}/complete", json=mine)).status_code == 200
    assert [name for _, name, _ in events_in(db)].count("job_completed") == 1


async def test_heartbeats_keep_the_lease(client: httpx2.AsyncClient, db: Path) -> None:
    await beat(client, "steady")
    job_id = await submitted(client)
    await assigned(client, "steady")
    for round_ in range(3):  # a lease runs out each time, but not this engine's
        await beat(client, f"silent {round_}")
        await offline(client, f"silent {round_}", "steady")
    job = await job_shown(client, job_id)
    assert (job["status"], job["assigned_engine"], job["attempt"]) == ("assigned", "steady", 1)
    assert (await engine_shown(client, "steady"))["online"] is True
    lost = [json.loads(data)["engine_id"] for _, name, data in events_in(db) if "lost" in name]
    assert lost == ["silent 0", "silent 1", "silent 2"]


async def test_a_job_whose_engines_all_fall_silent_comes_to_an_end(
    client: httpx2.AsyncClient,
) -> None:
    job_id = await submitted(client, max_retries=1)
    for engine_id in ("e", "f"):
        await beat(client, engine_id)
        await assigned(client, engine_id)
        await offline(client, engine_id)
    job = await job_shown(client, job_id)
    assert (job["status"], job["retries"]) == ("failed_permanently", 0)
    why = (await client.get(f"/jobs/{job_id}/why")).json()["because"]
    assert why.startswith("its engines were lost 2 times (--max-losses); the last was: engine f")
    assert job["error_message"] == "engine f has been silent for 1.5 s"


async def test_an_engine_that_is_offline_is_not_picked_but_may_ask(
    client: httpx2.AsyncClient,
) -> None:
    await beat(client, "e", benchmark_time=1)
    await offline(client, "e")
    job_id = await submitted(client)
    assert (await client.post("/assign_job/")).status_code == 204
    why = (await client.get(f"/jobs/{job_id}/why")).json()
    assert [e["obstacle"] for e in why["engines"]] == ["offline"]
    assert (await assigned(client, "e"))["job_id"] == job_id
    assert (await engine_shown(client, "e"))["online"] is True


async def test_after_a_restart_a_whole_lease_passes_before_anything_expires(db: Path) -> None:
    async with running(db, policy=POLICY) as server, client_of(server) as client:
        await beat(client, "e")
        job_id = await submitted(client)
        await assigned(client, "e")
    await asyncio.sleep(LEASE_S)  # the dispatcher is down for as long as a lease
    started = asyncio.get_running_loop().time()
    async with running(db, policy=POLICY) as server, client_of(server) as client:
        assert (await job_shown(client, job_id))["status"] == "assigned"
        await offline(client, "e")
        assert asyncio.get_running_loop().time() - started >= LEASE_S
        assert happened(server)[-2:] == ["engine_lost", "job_requeued"]


async def test_an_attempt_that_takes_too_long_ends_although_its_engine_beats(db: Path) -> None:
    policy = Policy(lease_s=60, job_timeout_s=LEASE_S)
    async with running(db, policy=policy) as server, client_of(server) as client:
        await beat(client, "e")
        job_id = await submitted(client)
        await assigned(client, "e")

        async def look() -> dict[str, Any] | None:
            await beat(client, "e", current_job=job_id, attempt=1)
            job = await job_shown(client, job_id)
            return job if job["status"] == "pending" else None

        job = await eventually(look)
        assert job["error_message"] == "attempt 1 on engine e took longer than 1.5 s"


async def test_a_job_in_its_pause_is_released_also_after_a_restart(db: Path) -> None:
    policy = Policy(lease_s=60, retry_backoff_s=4)
    async with running(db, policy=policy) as server, client_of(server) as client:
        await beat(client, "e")
        job_id = await submitted(client)
        await client.post(f"/jobs/{job_id}/fail", json={"error_message": "broke"})
        assert (await job_shown(client, job_id))["not_before"] is not None
        assert (await client.post("/assign_job/", json={"engine_id": "e"})).status_code == 204
        why = (await client.get(f"/jobs/{job_id}/why")).json()
        assert [e["obstacle"] for e in why["engines"]] == ["backoff"]
    async with running(db, policy=policy) as server, client_of(server) as client:
        wait = {"engine_id": "e", "wait_s": 20}
        assert (await client.post("/assign_job/", json=wait)).json()["job_id"] == job_id
