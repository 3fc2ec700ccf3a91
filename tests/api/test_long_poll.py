"""`wait_s`: a request that waits is answered with a job as soon as there is one, and not before.

Who waits is known from the service itself, so that no test has to guess when a request has come in.
"""

import asyncio
from asyncio import FIRST_COMPLETED
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dispatcher.core import dispatcher as dispatcher_module
from dispatcher.core.waiting import Waiting
from tests.support.farm import OUTPUT, assigned, beat, happened, job_shown, submitted
from tests.support.in_flight import until
from tests.support.servers import KEY, Running, client_of, running

pytestmark = pytest.mark.anyio

Answer = asyncio.Task[httpx2.Response]


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[Waiting]:
    """The waiters of every service that is made from now on."""
    made: list[Waiting] = []

    def make() -> Waiting:
        made.append(Waiting())
        return made[-1]

    monkeypatch.setattr(dispatcher_module, "Waiting", make)
    return made


@pytest.fixture
def waiters(made: list[Waiting], server: Running) -> Waiting:
    """Everybody who waits at the test's server."""
    assert server.port
    return made[-1]


@pytest.fixture
async def many(server: Running) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that opens as many connections as it takes."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(
        base_url=server.url,
        headers={"X-API-Key": KEY},
        timeout=60,
        trust_env=False,
        limits=limits,
    ) as http:
        yield http


def waiting(client: httpx2.AsyncClient, engine_id: str | None, wait_s: float = 30) -> Answer:
    body: dict[str, Any] = {"wait_s": wait_s}
    if engine_id is not None:
        body["engine_id"] = engine_id
    return asyncio.create_task(client.post("/assign_job/", json=body))


async def joined(
    client: httpx2.AsyncClient, waiters: Waiting, *engine_ids: str | None
) -> list[Answer]:
    """Have engines wait, one after the other."""
    requests = []
    for engine_id in engine_ids:
        if engine_id is not None:
            await beat(client, engine_id)
        before = len(waiters.by_ticket)
        requests.append(waiting(client, engine_id))
        await until(lambda before=before: len(waiters.by_ticket) > before)  # type: ignore[misc]
    return requests


def job_of(answer: httpx2.Response) -> str:
    assert answer.status_code == 200
    job_id: str = answer.json()["job_id"]
    return job_id


async def test_a_job_goes_to_who_waits_for_it_without_another_request(
    client: httpx2.AsyncClient, server: Running, waiters: Waiting
) -> None:
    (request,) = await joined(client, waiters, "e")
    job_id = await submitted(client)
    answer = await request
    assert (job_of(answer), answer.json()["assigned_engine"]) == (job_id, "e")
    assert len(waiters.by_ticket) == 0
    assert happened(server) == ["engine_reported", "job_submitted", "job_assigned"]


async def test_waiters_are_served_in_the_order_in_which_they_came(
    many: httpx2.AsyncClient, waiters: Waiting
) -> None:
    requests = await joined(many, waiters, "c", "a", "b")
    job_ids = [await submitted(many) for _ in range(3)]
    assert [job_of(await request) for request in requests] == job_ids


async def test_a_waiter_that_may_not_have_the_job_is_passed_over(
    many: httpx2.AsyncClient, waiters: Waiting
) -> None:
    await beat(many, "other", supported_codecs=["av1"])
    await beat(many, "drained")
    await many.post("/engines/drained/drain")
    requests = await joined(many, waiters, "other", "drained", "e")
    job_id = await submitted(many)
    assert job_of(await requests[2]) == job_id
    assert len(waiters.by_ticket) == 2
    await many.post("/engines/drained/resume")
    assert job_of(await answered_after(many, requests[1])) != job_id
    av1 = await submitted(many, target_codec="av1")
    assert job_of(await requests[0]) == av1


async def answered_after(client: httpx2.AsyncClient, request: Answer) -> httpx2.Response:
    await submitted(client)
    return await request


async def test_of_two_hundred_waiters_one_gets_the_job_and_the_others_still_wait(
    many: httpx2.AsyncClient, server: Running, waiters: Waiting
) -> None:
    await asyncio.gather(*(beat(many, f"e{n}") for n in range(200)))
    requests = [waiting(many, f"e{n}") for n in range(200)]
    await until(lambda: len(waiters.by_ticket) == 200)
    job_id = await submitted(many)
    done, others = await asyncio.wait(requests, return_when=FIRST_COMPLETED)
    assert [job_of(request.result()) for request in done] == [job_id]
    assert len(waiters.by_ticket) == len(others) == 199
    assert happened(server).count("job_assigned") == 1
    job_ids = {await submitted(many) for _ in range(199)}
    assert {job_of(await request) for request in others} == job_ids


async def test_nobody_waits_when_there_is_a_job(
    client: httpx2.AsyncClient, waiters: Waiting
) -> None:
    await beat(client, "e")
    job_id = await submitted(client)
    assert job_of(await waiting(client, "e", 60)) == job_id
    assert len(waiters.by_ticket) == 0


async def test_an_engine_that_resumes_its_job_does_not_wait(
    client: httpx2.AsyncClient, waiters: Waiting
) -> None:
    await beat(client, "e")
    job_id = await submitted(client)
    await assigned(client, "e")
    body = {"engine_id": "e", "resume": True, "wait_s": 60}
    assert job_of(await client.post("/assign_job/", json=body)) == job_id
    assert len(waiters.by_ticket) == 0


async def test_a_waiter_in_whose_time_nothing_comes_gets_204(
    client: httpx2.AsyncClient, server: Running, waiters: Waiting
) -> None:
    await beat(client, "e")
    answer = await waiting(client, "e", 0.05)
    assert (answer.status_code, answer.content) == (204, b"")
    assert len(waiters.by_ticket) == 0
    await submitted(client)
    assert happened(server) == ["engine_reported", "job_submitted"]


@pytest.mark.parametrize("what", ["complete", "fail", "cancel", "forget", "beat", "retry"])
async def test_whatever_makes_a_job_ready_ends_the_wait(
    many: httpx2.AsyncClient, waiters: Waiting, what: str
) -> None:
    await beat(many, "holder")
    first = await submitted(many)
    await assigned(many, "holder")
    waits = "holder" if what in {"complete", "cancel"} else "waits"
    if what in {"complete", "cancel"}:
        second = await submitted(many)
    elif what == "beat":
        await beat(many, waits, status="busy")
        second = await submitted(many)
    elif what == "retry":
        second = await submitted(many, target_codec="vp9")
        await many.delete(f"/jobs/{second}")
    else:
        second = first
    before = len(waiters.by_ticket)
    if what not in {"complete", "cancel", "beat"}:
        await beat(many, waits)
    request = waiting(many, waits)
    await until(lambda: len(waiters.by_ticket) > before)
    match what:
        case "complete":
            await many.post(f"/jobs/{first}/complete", json=OUTPUT)
        case "fail":
            await many.post(f"/jobs/{first}/fail", json={"error_message": "broke"})
        case "cancel":
            await many.delete(f"/jobs/{first}")
        case "forget":
            await many.delete("/engines/holder")
        case "beat":
            await beat(many, waits, status="idle")
        case _:
            await many.post(f"/jobs/{second}/retry")
    assert job_of(await request) == second


async def test_a_waiter_without_a_name_is_given_a_job_for_the_engine_that_fits(
    many: httpx2.AsyncClient, waiters: Waiting
) -> None:
    await beat(many, "slow", benchmark_time=9)
    await beat(many, "fast", benchmark_time=1)
    (request,) = await joined(many, waiters, None)
    await submitted(many, job_size=60)
    assert (await request).json()["assigned_engine"] == "fast"


@asynccontextmanager
async def a_raw_waiter(server: Running, engine_id: str) -> AsyncIterator[asyncio.StreamWriter]:
    """Wait on a connection that can be cut off."""
    body = f'{{"engine_id":"{engine_id}","wait_s":30}}'
    head = f"POST /assign_job/ HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    await writer.drain()
    yield writer
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_waiter_whose_client_hung_up_is_given_nothing(
    client: httpx2.AsyncClient, server: Running, waiters: Waiting
) -> None:
    await beat(client, "gone")
    async with a_raw_waiter(server, "gone") as connection:
        await until(lambda: len(waiters.by_ticket) == 1)
        (request,) = await joined(client, waiters, "stays")
        connection.transport.abort()
        await until(lambda: len(waiters.by_ticket) == 1)
    job_id = await submitted(client)
    assert job_of(await request) == job_id
    assert (await job_shown(client, job_id))["assigned_engine"] == "stays"


async def test_sigterm_answers_everybody_with_204_and_the_server_stops_before_their_time_is_up(
    db: Path, made: list[Waiting]
) -> None:
    stop = AsyncExitStack()
    server = await stop.enter_async_context(running(db))
    async with client_of(server) as client:
        await asyncio.gather(*(beat(client, f"e{n}") for n in range(50)))
        requests = [waiting(client, f"e{n}", 60) for n in range(50)]
        await until(lambda: len(made[-1].by_ticket) == 50)
        async with asyncio.timeout(30):
            await stop.aclose()
            answers = await asyncio.gather(*requests)
    assert {(answer.status_code, answer.content) for answer in answers} == {(204, b"")}
