"""A key that is bound to an engine speaks for that engine alone."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from dispatcher.client import Client
from dispatcher.core.policy import Policy
from dispatcher.serving.keys import ApiKeys, Key, Role
from tests.support.farm import JOB, OUTPUT
from tests.support.servers import KEY, Running, client_of, events_in, running

pytestmark = pytest.mark.anyio

SECRET: Final = "the secret of farm-7"
NEWER: Final = "the newer secret of farm-7"
ALONE: Final = "Forbidden: the key 'seven' speaks for engine farm-7 alone, and this request "
NOT_ITS_JOB: Final = (
    "Forbidden: this key speaks for engine farm-7 alone, and the newest attempt at this job is not "
    "that engine's."
)


def keys() -> ApiKeys:
    return ApiKeys(
        [
            Key.of("olga", Role.OPERATOR, KEY),
            Key.of("seven", Role.ENGINE, SECRET, "farm-7"),
            Key.of("seven-2", Role.ENGINE, NEWER, "farm-7"),
        ]
    )


@pytest.fixture
async def server(db: Path) -> AsyncIterator[Running]:
    async with running(db, keys=keys(), policy=Policy(lease_s=600)) as dispatcher:
        yield dispatcher


@pytest.fixture
async def olga(server: Running) -> AsyncIterator[httpx2.AsyncClient]:
    """May do everything."""
    async with client_of(server) as client:
        yield client


@pytest.fixture
async def seven(server: Running) -> AsyncIterator[httpx2.AsyncClient]:
    """Has the key of farm-7; both engines are known."""
    async with client_of(server, SECRET) as client, client_of(server) as olga:
        for engine in ("farm-7", "farm-8"):
            await olga.post("/engines/heartbeat", json={"engine_id": engine})
        yield client


async def held_by(olga: httpx2.AsyncClient, engine_id: str) -> str:
    """Submit a job and give it to an engine; returns the job's id."""
    job_id: str = (await olga.post("/jobs", json=JOB)).json()["job_id"]
    given = await olga.post("/assign_job", json={"engine_id": engine_id})
    assert given.json()["job_id"] == job_id
    return job_id


async def state_of(olga: httpx2.AsyncClient, job_id: str) -> tuple[str, int]:
    job = (await olga.get(f"/jobs/{job_id}")).json()
    return job["status"], job["attempt"]


ABOUT_ANOTHER: Final[list[tuple[str, dict[str, Any]]]] = [
    ("/engines/heartbeat", {"engine_id": "farm-8", "status": "busy"}),
    ("/engines/heartbeat", {"engine_id": "farm-70"}),
    ("/engines/heartbeat", {"engine_id": ""}),
    ("/engines/benchmark_result", {"engine_id": "farm-8", "benchmark_time": 1}),
    ("/engines/benchmark_result", {"engine_id": "nobody", "benchmark_time": 1}),
    ("/assign_job", {"engine_id": "farm-8"}),
    ("/assign_job/", {"engine_id": "farm-8", "resume": True, "wait_s": 5}),
    ("/assign_job", {"engine_id": "nobody"}),
]


@pytest.mark.parametrize(("path", "body"), ABOUT_ANOTHER)
async def test_it_says_nothing_for_another_engine(
    server: Running, seven: httpx2.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    before = events_in(server.db)
    answer = await seven.post(path, json=body)
    assert (answer.status_code, answer.text) == (403, ALONE + "names another.")
    assert events_in(server.db) == before


@pytest.mark.parametrize("body", [None, {}, {"wait_s": 0}, {"resume": False}])
async def test_it_does_not_ask_for_work_for_whichever_engine_fits(
    seven: httpx2.AsyncClient, olga: httpx2.AsyncClient, body: dict[str, Any] | None
) -> None:
    job_id = (await olga.post("/jobs", json=JOB)).json()["job_id"]
    answer = await seven.post("/assign_job", json=body)
    assert answer.status_code == 403
    assert answer.text == ALONE + "names none; name it in 'engine_id'."
    assert await state_of(olga, job_id) == ("pending", 0)


async def test_for_its_own_engine_it_does_all_that_an_engine_does(
    seven: httpx2.AsyncClient, olga: httpx2.AsyncClient
) -> None:
    me = {"engine_id": "farm-7"}
    job_id = (await olga.post("/jobs", json=JOB)).json()["job_id"]
    assert (await seven.post("/engines/heartbeat", json=me)).status_code == 200
    timed = me | {"benchmark_time": 1}
    assert (await seven.post("/engines/benchmark_result", json=timed)).status_code == 200
    assert (await seven.post("/assign_job", json=me)).json()["job_id"] == job_id
    failure = me | {"error_message": "broke", "attempt": 1}
    assert (await seven.post(f"/jobs/{job_id}/fail", json=failure)).status_code == 200
    await olga.delete("/engines/farm-8")  # or the job would be kept for that one
    assert (await seven.post("/assign_job", json=me)).json()["attempt"] == 2
    for _ in range(2):  # a repetition is no error
        done = await seven.post(f"/jobs/{job_id}/complete", json=OUTPUT | me | {"attempt": 2})
        assert done.status_code == 200
    assert await state_of(olga, job_id) == ("completed", 2)


REPORTS: Final = [("complete", OUTPUT), ("fail", {"error_message": "broke"})]


@pytest.mark.parametrize(("end", "report"), REPORTS)
@pytest.mark.parametrize(
    ("named", "status", "text"),
    [
        ({}, 403, NOT_ITS_JOB),
        ({"attempt": 1}, 403, NOT_ITS_JOB),
        ({"engine_id": "farm-8"}, 403, ALONE + "names another."),
        ({"engine_id": "farm-8", "attempt": 1}, 403, ALONE + "names another."),
        ({"engine_id": "farm-7"}, 409, ""),
        ({"engine_id": "farm-7", "attempt": 1}, 409, ""),
    ],
)
async def test_it_ends_no_job_of_another_engine(
    seven: httpx2.AsyncClient,
    olga: httpx2.AsyncClient,
    end: str,
    report: dict[str, str],
    named: dict[str, Any],
    status: int,
    text: str,
) -> None:
    job_id = await held_by(olga, "farm-8")
    answer = await seven.post(f"/jobs/{job_id}/{end}", json=report | named)
    assert answer.status_code == status
    assert text in answer.text
    assert await state_of(olga, job_id) == ("assigned", 1)


@pytest.mark.parametrize(("end", "report"), REPORTS)
async def test_it_ends_no_job_that_nobody_has_had(
    server: Running,
    seven: httpx2.AsyncClient,
    olga: httpx2.AsyncClient,
    end: str,
    report: dict[str, str],
) -> None:
    job_id = (await olga.post("/jobs", json=JOB)).json()["job_id"]
    before = events_in(server.db)
    answer = await seven.post(f"/jobs/{job_id}/{end}", json=report)
    assert (answer.status_code, answer.text) == (403, NOT_ITS_JOB)
    assert events_in(server.db) == before


@pytest.mark.parametrize(("end", "report"), REPORTS)
async def test_a_report_that_names_no_engine_is_its_engines(
    seven: httpx2.AsyncClient, olga: httpx2.AsyncClient, end: str, report: dict[str, str]
) -> None:
    job_id = await held_by(olga, "farm-7")
    assert (await seven.post(f"/jobs/{job_id}/{end}", json=report)).status_code == 200


async def test_finished_work_counts_after_the_engine_lost_the_job(
    seven: httpx2.AsyncClient, olga: httpx2.AsyncClient
) -> None:
    job_id = await held_by(olga, "farm-7")
    await olga.delete("/engines/farm-7")
    assert await state_of(olga, job_id) == ("pending", 1)
    assert (await seven.post(f"/jobs/{job_id}/complete", json=OUTPUT)).status_code == 200


async def test_but_not_once_another_engine_has_it(
    seven: httpx2.AsyncClient, olga: httpx2.AsyncClient
) -> None:
    job_id = await held_by(olga, "farm-7")
    await olga.delete("/engines/farm-7")
    await olga.post("/assign_job", json={"engine_id": "farm-8"})
    answer = await seven.post(f"/jobs/{job_id}/complete", json=OUTPUT)
    assert (answer.status_code, answer.text) == (403, NOT_ITS_JOB)
    assert await state_of(olga, job_id) == ("assigned", 2)


async def test_what_breaks_a_rule_of_the_body_is_told_so_first(seven: httpx2.AsyncClient) -> None:
    for path, body in (
        ("/engines/heartbeat", b"{"),
        ("/engines/heartbeat", b"{}"),
        ("/engines/benchmark_result", b'{"benchmark_time": 1}'),
        ("/assign_job", b'{"engine_id": 7}'),
    ):
        assert (await seven.post(path, content=body)).status_code == 400


async def test_a_job_that_is_not_there_is_not_found(seven: httpx2.AsyncClient) -> None:
    for end, report in REPORTS:
        answer = await seven.post(f"/jobs/nothing/{end}", json=report)
        assert (answer.status_code, answer.text) == (404, "Job not found")


async def test_paths_that_are_spelt_oddly_go_round_nothing(
    seven: httpx2.AsyncClient, olga: httpx2.AsyncClient
) -> None:
    job_id = await held_by(olga, "farm-8")
    for path in (f"/jobs/{job_id}/complete/", f"/jobs/{job_id}//complete", f"//jobs/{job_id}/fail"):
        await seven.post(path, json=OUTPUT | {"error_message": "broke"})
    for path in ("/engines/heartbeat/", "//engines/heartbeat", "/engines//heartbeat"):
        await seven.post(path, json={"engine_id": "farm-8", "hostname": "evil"})
    assert await state_of(olga, job_id) == ("assigned", 1)
    assert "evil" not in (await olga.get("/engines")).text


async def test_two_keys_may_be_bound_to_one_engine(
    server: Running, seven: httpx2.AsyncClient, olga: httpx2.AsyncClient
) -> None:
    job_id = await held_by(olga, "farm-7")
    async with client_of(server, NEWER) as newer:
        assert (await newer.post(f"/jobs/{job_id}/complete", json=OUTPUT)).status_code == 200
    assert (await seven.post("/engines/heartbeat", json={"engine_id": "farm-7"})).is_success


async def test_it_reads_what_any_key_may_read(server: Running, seven: httpx2.AsyncClient) -> None:
    assert seven.base_url == server.url
    async with Client(server.url, SECRET) as client:
        assert [engine.engine_id for engine in await client.engines()] == ["farm-7", "farm-8"]
