"""Films in parts and jobs that wait for others, over HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from tests.support.farm import JOB, OUTPUT, assigned, beat, happened, submitted
from tests.support.servers import Running, client_of, running

pytestmark = pytest.mark.anyio

SHA: Final = "0" * 64
SEGMENTS: Final = [
    {
        "kind": "segment",
        "number": number,
        "begins": 900_000 * number,
        "lasts": 900_000,
        "frames": frames,
        "time_base": "1/90000",
        "times_sha256": SHA,
    }
    for number, frames in enumerate((300, 100))
]
REST: Final = {"kind": "rest"}
PLAN: Final[dict[str, Any]] = {
    "engine_id": "e",
    "attempt": 1,
    "parts": [*SEGMENTS, REST],
    "needs": ["build:1"],
}


@pytest.fixture
async def server(db: Path, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(db, store=tmp_path / "store") as dispatcher:
        yield dispatcher


async def a_held_film(client: httpx2.AsyncClient, **fields: Any) -> str:
    film = await submitted(client, job_size=40.0, recipe={"quality": 60.0}, priority=5, **fields)
    await beat(client, "e", abilities=["recipes", "split", "build:1"])
    await assigned(client, "e")
    return film


async def split(client: httpx2.AsyncClient, film: str, **fields: Any) -> httpx2.Response:
    return await client.post(f"/jobs/{film}/split", json={**PLAN, **fields})


async def shown(client: httpx2.AsyncClient, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = (await client.get(f"/jobs/{job_id}")).json()
    return job


async def parts_of(client: httpx2.AsyncClient, film: str) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = (await client.get("/jobs/", params={"parent": film})).json()
    return jobs


async def test_a_film_is_split_into_jobs_and_joined_when_they_are_done(
    client: httpx2.AsyncClient, server: Running
) -> None:
    film = await a_held_film(client)
    response = await split(client, film)
    assert (response.status_code, response.text) == (200, f"Job {film} split into 3 parts")
    again = await split(client, film)
    assert (again.status_code, again.text) == (200, response.text)
    parts = await parts_of(client, film)
    waiting = await shown(client, film)
    assert (waiting["status"], waiting["progress"]) == ("pending", 0.0)
    assert waiting["parts"] == [part["job_id"] for part in parts]
    assert [part["part"] for part in parts] == [REST, *SEGMENTS]  # what takes longest comes first
    assert [part["job_size"] for part in parts] == [40.0, 30.0, 10.0]
    assert {part["priority"] for part in parts} == {5}
    assert {part["parent"] for part in parts} == {film}
    assert [part["recipe"] for part in parts] == [{"quality": 60.0}] * 3
    for number, part in enumerate(parts, start=1):
        await client.post(f"/jobs/{part['job_id']}/complete", json={"output_url": f"o{number}"})
        progress = (await shown(client, film))["progress"]
        assert progress == pytest.approx(100 * number / 3, abs=0.01)
    job = await client.post("/assign_job/", json={"engine_id": "e"})
    assert (job.json()["job_id"], job.json()["attempt"]) == (film, 2)
    assert job.json()["parts"] == waiting["parts"]
    done = {**OUTPUT, "engine_id": "e", "attempt": 2}
    assert (await client.post(f"/jobs/{film}/complete", json=done)).status_code == 200
    assert "job_split" in happened(server)


async def test_only_an_engine_of_the_same_build_is_given_a_part(
    client: httpx2.AsyncClient,
) -> None:
    film = await a_held_film(client)
    await split(client, film)
    await beat(client, "other", abilities=["recipes", "split", "build:2"])
    assert (await client.post("/assign_job/", json={"engine_id": "other"})).status_code == 204
    part = (await parts_of(client, film))[0]
    why = (await client.get(f"/jobs/{part['job_id']}/why")).json()
    told = {it["engine_id"]: it["because"] for it in why["engines"]}
    assert "build:1" in told["other"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"parts": []}, "'parts'"),
        ({"parts": None}, "'parts'"),
        ({"parts": [REST]}, "'parts' must have segments, numbered from 0 in order"),
        ({"parts": [REST, *SEGMENTS]}, "'parts' may have one rest, after the segments"),
        ({"parts": [SEGMENTS[0]] * 2}, "numbered from 0"),
        ({"parts": [SEGMENTS[0], {**SEGMENTS[1], "begins": 5}]}, "without a gap"),
        ({"parts": [SEGMENTS[0], {**SEGMENTS[1], "time_base": "1/25"}]}, "one time base"),
        ({"parts": [{**SEGMENTS[0], "from_s": 5.0, "to_s": 1.0}]}, "'from_s' before 'to_s'"),
        ({"parts": [{**SEGMENTS[0], "from_s": 1.0, "to_s": 1.0}]}, "'from_s' before 'to_s'"),
        ({"parts": [{**SEGMENTS[0], "to_s": 9.9}, {**SEGMENTS[1], "from_s": 9.0}]}, "no gap"),
        ({"parts": [{**SEGMENTS[0], "to_s": 9.0}, {**SEGMENTS[1], "from_s": 9.9}]}, "no gap"),
        ({"parts": [{**SEGMENTS[0], "to_s": 9.0}, SEGMENTS[1]]}, "no gap"),
        ({"parts": [SEGMENTS[0], {**SEGMENTS[1], "from_s": 9.0}]}, "no gap"),
        ({"parts": [{**SEGMENTS[0], "frames": 0}]}, "frames"),
        ({"parts": [{**SEGMENTS[0], "times_sha256": "x"}]}, "times_sha256"),
        ({"parts": [{"kind": "sound"}]}, "parts"),
        ({"parts": [*SEGMENTS, *[REST] * 2_000]}, "parts"),
        ({"needs": ["x"] * 17}, "needs"),
        ({"needs": [1]}, "needs"),
        ({"engine_id": 1}, "'engine_id' must be a string."),
        ({"attempt": "1"}, "'attempt' must be an integer."),
    ],
)
async def test_what_is_no_plan_is_refused_and_nothing_happens(
    client: httpx2.AsyncClient, server: Running, fields: dict[str, Any], told: str
) -> None:
    film = await a_held_film(client)
    before = happened(server)
    response = await split(client, film, **fields)
    assert response.status_code == 400
    assert response.text.startswith("Bad Request: ")
    assert told in response.text
    assert happened(server) == before


async def test_a_plan_of_a_job_that_is_not_there_or_not_held_is_refused(
    client: httpx2.AsyncClient,
) -> None:
    film = await a_held_film(client)
    assert (await split(client, "nothing")).status_code == 404
    late = await split(client, film, attempt=7)
    assert late.status_code == 409
    assert "comes too late: engine e holds it now (attempt 1)" in late.text
    await client.delete(f"/jobs/{film}")
    assert "it is cancelled" in (await split(client, film)).text


async def test_another_plan_for_a_film_that_was_split_is_refused(
    client: httpx2.AsyncClient, server: Running
) -> None:
    film = await a_held_film(client)
    await split(client, film)
    before = happened(server)
    other = await split(client, film, parts=SEGMENTS)
    assert other.status_code == 409
    assert other.text == (
        f"Conflict: job {film} can't be split: it was split before, into 3 parts, and this plan "
        "has 2."
    )
    assert happened(server) == before


async def test_a_film_is_not_split_without_a_store(db: Path) -> None:
    async with running(db) as server, client_of(server) as client:
        film = await a_held_film(client)
        response = await split(client, film)
        assert response.status_code == 409
        assert "serve --store DIR" in response.text


async def test_a_cancelled_film_takes_its_parts_along(client: httpx2.AsyncClient) -> None:
    film = await a_held_film(client)
    await split(client, film)
    await client.delete(f"/jobs/{film}")
    assert {part["status"] for part in await parts_of(client, film)} == {"cancelled"}
    await client.post(f"/jobs/{film}/retry")
    again = await shown(client, film)
    assert (again["status"], again["progress"], "parts" in again) == ("pending", None, False)
    part = (await parts_of(client, film))[0]["job_id"]
    assert "retry that instead" in (await client.post(f"/jobs/{part}/retry")).text


async def test_a_film_that_can_not_be_cut_says_why(client: httpx2.AsyncClient) -> None:
    film = await a_held_film(client)
    await split(client, film)
    part = await assigned(client, "e")
    failure = {"error_message": "3 of 300", "engine_id": "e", "attempt": 1, "cause": "inexact"}
    response = await client.post(f"/jobs/{part['job_id']}/fail", json=failure)
    assert response.text == f"Job {part['job_id']} failed permanently"
    whole = await shown(client, film)
    assert (whole["status"], whole["whole"]) == ("pending", "3 of 300")
    assert "parts" not in whole


async def test_jobs_that_are_no_parts_can_be_listed(client: httpx2.AsyncClient) -> None:
    film = await a_held_film(client)
    await split(client, film)
    other = await submitted(client)
    listed = (await client.get("/jobs/", params={"parent": ""})).json()
    assert [job["job_id"] for job in listed] == [film, other]


async def test_a_job_waits_for_others_and_says_so(client: httpx2.AsyncClient) -> None:
    first = await submitted(client)
    await beat(client, "e")
    second = await submitted(client, after=[first, first])
    assert (await shown(client, second))["after"] == [first]
    why = (await client.get(f"/jobs/{second}/why")).json()
    assert why["because"] == (
        f"it waits for other jobs: 1 of 1 are not completed, {first} (pending)"
    )
    assert (await assigned(client, "e"))["job_id"] == first
    assert (await client.post("/assign_job/", json={"engine_id": "e"})).status_code == 204
    await client.post(f"/jobs/{first}/complete", json=OUTPUT)
    assert (await assigned(client, "e"))["job_id"] == second


@pytest.mark.parametrize(
    ("after", "status", "told"),
    [
        ("1_0", 400, "'after' must be an array of strings, the ids of jobs."),
        ([1], 400, "'after' must be an array of strings, the ids of jobs."),
        (["x"] * 101, 400, "'after' must have at most 100 ids."),
        (["nothing"], 400, "'after' names job nothing, which is not known."),
    ],
)
async def test_what_can_not_be_waited_for_is_refused(
    client: httpx2.AsyncClient, after: object, status: int, told: str
) -> None:
    response = await client.post("/jobs/", json={**JOB, "after": after})
    assert (response.status_code, response.text) == (status, f"Bad Request: {told}")


async def test_nothing_waits_for_a_cancelled_job(client: httpx2.AsyncClient) -> None:
    first = await submitted(client)
    await client.delete(f"/jobs/{first}")
    response = await client.post("/jobs/", json={**JOB, "after": [first]})
    assert response.status_code == 409
    assert response.text == (
        f"Conflict: 'after' names job {first}, which is cancelled; retry that first."
    )
