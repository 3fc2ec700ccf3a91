"""Orders, fencing, and what an operator can do about an engine."""

import json
from typing import Any

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
    orders,
    submitted,
)
from tests.support.servers import Running, events_in

pytestmark = pytest.mark.anyio

BROKE = {"error_message": "broke"}


# Orders


async def test_an_engine_that_holds_its_job_or_none_gets_no_order(
    client: httpx2.AsyncClient,
) -> None:
    assert await orders(client, "e") is None
    job_id = await submitted(client)
    await assigned(client, "e")
    for said in ({}, {"current_job": job_id}, {"current_job": job_id, "attempt": 1}):
        assert await orders(client, "e", **said) is None


async def test_an_engine_is_ordered_to_cancel_what_was_cancelled(
    client: httpx2.AsyncClient,
) -> None:
    await beat(client, "e")
    job_id = await submitted(client)
    await assigned(client, "e")
    await client.delete(f"/jobs/{job_id}")
    for _ in range(2):
        assert await orders(client, "e", current_job=job_id, attempt=1) == f"cancel {job_id}"
    assert await orders(client, "e") is None


async def test_an_engine_is_ordered_to_cancel_what_was_given_to_another(
    client: httpx2.AsyncClient,
) -> None:
    await beat(client, "e")
    await beat(client, "f")
    job_id = await submitted(client)
    await assigned(client, "e")
    await client.post(f"/jobs/{job_id}/fail", json=BROKE)
    assert (await assigned(client, "f"))["job_id"] == job_id
    assert await orders(client, "e", current_job=job_id) == f"cancel {job_id}"
    assert await orders(client, "f", current_job=job_id, attempt=2) is None
    assert await orders(client, "f", current_job=job_id, attempt=1) == f"cancel {job_id}"


async def test_an_engine_is_ordered_to_cancel_what_is_done_or_was_never_there(
    client: httpx2.AsyncClient,
) -> None:
    done = await submitted(client)
    await client.post(f"/jobs/{done}/complete", json=OUTPUT)
    assert await orders(client, "e", current_job=done) == f"cancel {done}"
    assert await orders(client, "e", current_job="a, b\nü") == "cancel a%2C%20b%0A%C3%BC"


async def test_a_drained_engine_is_told_so_until_it_is_resumed(client: httpx2.AsyncClient) -> None:
    await beat(client, "e")
    job_id = await submitted(client)
    await assigned(client, "e")
    drained = await client.post("/engines/e/drain")
    assert (drained.status_code, drained.text) == (200, "Engine e drained")
    assert await orders(client, "e", current_job=job_id) == "drain"
    await client.delete(f"/jobs/{job_id}")
    assert await orders(client, "e", current_job=job_id) == f"cancel {job_id}, drain"
    resumed = await client.post("/engines/e/resume")
    assert (resumed.status_code, resumed.text) == (200, "Engine e resumed")
    assert await orders(client, "e") is None


# Progress and instance


async def test_progress_rides_on_the_heartbeat(client: httpx2.AsyncClient) -> None:
    await beat(client, "e")
    job_id = await submitted(client)
    await assigned(client, "e")
    await beat(client, "e", current_job=job_id, attempt=1, progress=12.5)
    assert (await job_shown(client, job_id))["progress"] == 12.5
    await beat(client, "e", current_job=job_id, attempt=2, progress=99)
    await beat(client, "f", current_job=job_id, attempt=1, progress=99)
    assert (await job_shown(client, job_id))["progress"] == 12.5
    await client.post(f"/jobs/{job_id}/fail", json=BROKE)
    assert (await job_shown(client, job_id))["progress"] is None


async def test_a_restarted_engine_without_its_job_has_lost_it(client: httpx2.AsyncClient) -> None:
    await beat(client, "e", instance="1")
    job_id = await submitted(client)
    await assigned(client, "e")
    await beat(client, "e", instance="2", current_job=job_id)
    assert (await job_shown(client, job_id))["status"] == "assigned"
    await beat(client, "e", instance="3")
    job = await job_shown(client, job_id)
    assert (job["status"], job["retries"]) == ("pending", 0)
    assert job["error_message"] == "engine e was restarted and no longer has the job"


# Fencing


@pytest.mark.parametrize(
    "stale", [{"engine_id": "e"}, {"attempt": 1}, {"engine_id": "f", "attempt": 1}]
)
@pytest.mark.parametrize(("path", "body"), [("complete", OUTPUT), ("fail", BROKE)])
async def test_a_late_answer_is_409_changes_nothing_and_is_in_the_history(
    client: httpx2.AsyncClient,
    server: Running,
    path: str,
    body: dict[str, str],
    stale: dict[str, Any],
) -> None:
    await beat(client, "e")
    await beat(client, "f")
    job_id = await submitted(client)
    await assigned(client, "e")
    await client.post(f"/jobs/{job_id}/fail", json=BROKE | {"engine_id": "e", "attempt": 1})
    await assigned(client, "f")
    before = [(await client.get(listing)).content for listing in ("/jobs/", "/engines/")]

    refused = await client.post(f"/jobs/{job_id}/{path}", json=body | stale)
    told = (
        f"Conflict: this answer to job {job_id} comes too late: engine f holds it now (attempt 2)."
    )
    assert (refused.status_code, refused.text) == (409, told)
    assert refused.headers["content-type"].startswith("text/plain")
    after = [(await client.get(listing)).content for listing in ("/jobs/", "/engines/")]
    assert after == before
    _, name, data = events_in(server.db)[-1]
    assert name == "answer_refused"
    assert json.loads(data) == {
        "job_id": job_id,
        "engine_id": stale.get("engine_id"),
        "attempt": stale.get("attempt"),
        "answer": path,
        "reason": told,
    }
    mine = body | {"engine_id": "f", "attempt": 2}
    assert (await client.post(f"/jobs/{job_id}/{path}", json=mine)).status_code == 200


@pytest.mark.parametrize(
    ("state", "now"),
    [
        ("pending", "it waits for attempt 2"),
        ("completed", "it is completed"),
        ("cancelled", "it is cancelled"),
        ("failed_permanently", "it is failed permanently"),
    ],
)
async def test_a_late_answer_is_told_what_has_become_of_the_job(
    client: httpx2.AsyncClient, state: str, now: str
) -> None:
    await beat(client, "e")
    job_id = await submitted(client, max_retries=1 if state == "failed_permanently" else 3)
    await assigned(client, "e")
    if state == "completed":
        await client.post(f"/jobs/{job_id}/complete", json={"output_url": "elsewhere"})
    elif state == "cancelled":
        await client.delete(f"/jobs/{job_id}")
    else:
        await client.post(f"/jobs/{job_id}/fail", json=BROKE)
    mine = OUTPUT | {"engine_id": "e", "attempt": 1}
    refused = await client.post(f"/jobs/{job_id}/complete", json=mine)
    assert (refused.status_code, refused.text) == (
        409,
        f"Conflict: this answer to job {job_id} comes too late: {now}.",
    )


async def test_an_answer_that_names_nobody_is_taken_as_the_protocol_says(
    client: httpx2.AsyncClient,
) -> None:
    job_id = await submitted(client)
    done = await client.post(f"/jobs/{job_id}/complete", json=OUTPUT)
    assert (done.status_code, done.text) == (200, f"Job {job_id} marked as completed")


# Drain, resume, forget


async def test_a_drained_engine_finishes_its_job_and_gets_no_more(
    client: httpx2.AsyncClient, server: Running
) -> None:
    await beat(client, "e", benchmark_time=1)
    first = await submitted(client)
    await assigned(client, "e")
    second = await submitted(client)
    for _ in range(2):
        assert (await client.post("/engines/e/drain")).text == "Engine e drained"
    assert (await engine_shown(client, "e"))["drained"] is True
    done = await client.post(f"/jobs/{first}/complete", json=OUTPUT)
    assert done.status_code == 200
    for body in ({}, {"engine_id": "e"}):
        assert (await client.post("/assign_job/", json=body)).status_code == 204
    await client.post("/engines/e/resume")
    assert (await engine_shown(client, "e"))["drained"] is False
    assert (await assigned(client, "e"))["job_id"] == second
    assert happened(server).count("engine_drained") == 1


async def test_an_engine_that_fails_three_jobs_in_a_row_is_blocked_until_it_is_resumed(
    client: httpx2.AsyncClient,
) -> None:
    await beat(client, "bad")
    await beat(client, "good")
    job_ids = [await submitted(client) for _ in range(4)]
    for _ in range(3):
        job = await assigned(client, "bad")
        await client.post(f"/jobs/{job['job_id']}/fail", json=BROKE)
    shown = await engine_shown(client, "bad")
    assert shown["blocked"] == (
        f"failed 3 different jobs in a row: {job_ids[0]}, {job_ids[1]}, {job_ids[2]}"
    )
    assert (await client.post("/assign_job/", json={"engine_id": "bad"})).status_code == 204
    why = (await client.get(f"/jobs/{job_ids[3]}/why")).json()
    told = {e["engine_id"]: (e["obstacle"], e["because"]) for e in why["engines"]}
    assert told["bad"][0] == "blocked"
    assert shown["blocked"] in told["bad"][1]
    await client.post("/engines/bad/resume")
    assert (await engine_shown(client, "bad"))["blocked"] is None
    assert (await assigned(client, "bad"))["job_id"] == job_ids[3]


async def test_a_forgotten_engine_is_gone_and_its_job_is_requeued_at_no_cost(
    client: httpx2.AsyncClient,
) -> None:
    await beat(client, "e")
    await beat(client, "f")
    job_id = await submitted(client)
    await assigned(client, "e")
    gone = await client.delete("/engines/e")
    assert (gone.status_code, gone.text) == (200, "Engine e forgotten")
    assert [e["engine_id"] for e in (await client.get("/engines/")).json()] == ["f"]
    job = await job_shown(client, job_id)
    assert (job["status"], job["assigned_engine"], job["retries"]) == ("pending", None, 0)
    again = await client.delete("/engines/e")
    assert (again.status_code, again.text) == (404, "Engine not found")
    poll = await client.post("/assign_job/", json={"engine_id": "e"})
    assert (poll.status_code, poll.text) == (404, "Engine not found")
    assert await orders(client, "e", current_job=job_id) == f"cancel {job_id}"
    assert (await assigned(client, "f"))["job_id"] == job_id


async def test_an_engines_name_in_a_path_may_be_any_text(client: httpx2.AsyncClient) -> None:
    await beat(client, "é & 50 %")
    path = "/engines/%C3%A9%20%26%2050%20%25"
    assert (await client.post(f"{path}/drain")).text == "Engine é & 50 % drained"
    assert (await client.post(f"{path}/resume")).text == "Engine é & 50 % resumed"
    assert (await client.delete(path)).text == "Engine é & 50 % forgotten"


async def test_a_job_goes_back_to_the_engine_that_failed_it_only_if_no_other_could_take_it(
    client: httpx2.AsyncClient,
) -> None:
    await beat(client, "e")
    await beat(client, "f")
    job_id = (await client.post("/jobs/", json=JOB)).json()["job_id"]
    await assigned(client, "e")
    await client.post(f"/jobs/{job_id}/fail", json=BROKE)
    assert (await client.post("/assign_job/", json={"engine_id": "e"})).status_code == 204
    await client.post("/engines/f/drain")
    assert (await assigned(client, "e"))["job_id"] == job_id
