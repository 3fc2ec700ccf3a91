"""`Idempotency-Key`: a submission that is sent again is the first one again, for ever."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.farm import JOB, OUTPUT, assigned, beat, happened
from tests.support.servers import Running, client_of, running

pytestmark = pytest.mark.anyio

BODY = JOB | {"job_size": 12.5, "max_retries": 2, "priority": 3}
REUSED = (409, "Conflict: this Idempotency-Key was used for another job.")


async def send(
    client: httpx2.AsyncClient, key: str | bytes, body: dict[str, Any] = BODY
) -> httpx2.Response:
    as_sent = key if isinstance(key, bytes) else key.encode()
    return await client.post("/jobs/", json=body, headers={b"Idempotency-Key": as_sent})


async def test_the_first_answer_comes_again_whatever_became_of_the_job(
    client: httpx2.AsyncClient, server: Running
) -> None:
    first = await send(client, "k")
    assert first.status_code == 200
    job_id = first.json()["job_id"]
    await beat(client, "e")
    for step in ("assign", "fail", "assign", "complete"):
        if step == "assign":
            await assigned(client, "e")
        elif step == "fail":
            await client.post(f"/jobs/{job_id}/fail", json={"error_message": "broke"})
        else:
            await client.post(f"/jobs/{job_id}/complete", json=OUTPUT)
        before = happened(server)
        again = await send(client, "k")
        assert (again.status_code, again.content) == (200, first.content)
        assert happened(server) == before
    assert len((await client.get("/jobs/")).json()) == 1


async def test_the_first_answer_comes_again_after_a_restart(db: Path) -> None:
    async with running(db) as server, client_of(server) as client:
        first = await send(client, "k")
        await client.post(f"/jobs/{first.json()['job_id']}/complete", json=OUTPUT)
    async with running(db) as server, client_of(server) as client:
        assert (await send(client, "k")).content == first.content
        other = await send(client, "k", BODY | {"priority": 4})
        assert (other.status_code, other.text) == REUSED
        assert happened(server) == ["job_submitted", "job_completed"]


async def test_fifty_submissions_that_race_are_one(
    client: httpx2.AsyncClient, server: Running
) -> None:
    answers = await asyncio.gather(*(send(client, "k") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert happened(server) == ["job_submitted"]


@pytest.mark.parametrize(
    "change",
    [
        {"source_url": "http://media/other.mp4"},
        {"target_codec": "vp9"},
        {"job_size": 12.6},
        {"max_retries": 3},
        {"priority": 0},
    ],
)
async def test_another_job_under_the_same_key_is_409_and_leaves_no_trace(
    client: httpx2.AsyncClient, server: Running, change: dict[str, Any]
) -> None:
    first = await send(client, "k")
    refused = await send(client, "k", BODY | change)
    assert (refused.status_code, refused.text) == REUSED
    assert refused.headers["content-type"].startswith("text/plain")
    assert (await send(client, "k")).content == first.content
    assert happened(server) == ["job_submitted"]


async def test_a_key_is_not_taken_by_what_was_refused(client: httpx2.AsyncClient) -> None:
    refused = await send(client, "k", {"source_url": "u"})
    assert refused.status_code == 400
    assert (await send(client, "k")).status_code == 200


async def test_the_defaults_of_the_protocol_are_the_same_job_as_their_values(
    client: httpx2.AsyncClient,
) -> None:
    first = await send(client, "k", JOB)
    again = await send(client, "k", JOB | {"job_size": 0, "max_retries": 3, "priority": 0})
    assert again.content == first.content


@pytest.mark.parametrize("key", ["", None])
async def test_no_key_and_an_empty_one_make_a_new_job_each_time(
    client: httpx2.AsyncClient, key: str | None
) -> None:
    headers = {} if key is None else {"Idempotency-Key": key}
    answers = [await client.post("/jobs/", json=BODY, headers=headers) for _ in range(2)]
    assert len({answer.json()["job_id"] for answer in answers}) == 2


@pytest.mark.parametrize("key", ["k" * 255, 'a key, "so"', "☃".encode(), b"\xff"])
async def test_any_key_of_up_to_255_characters_serves(
    client: httpx2.AsyncClient, key: str | bytes
) -> None:
    first = await send(client, key)
    assert first.status_code == 200
    assert (await send(client, key)).content == first.content
