"""What one key can use up: its share, and what it stores is bounded too. The others are served."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from dispatcher import server as server_module
from dispatcher.api.bodies import MAX_NAME, MAX_URL
from dispatcher.core.events import (
    EngineReported,
    Event,
    JobFailedPermanently,
    JobSubmitted,
    Recorded,
)
from dispatcher.core.reports import REPORT_BYTES
from dispatcher.core.texts import TEXT_BYTES
from dispatcher.log.sqlite import SqliteLog
from dispatcher.serving.keys import ApiKeys, Key, Role
from dispatcher.serving.quotas import PAGE_BYTES, KeyLimits
from tests.support.farm import JOB, beat, eventually, job_shown, submitted
from tests.support.given import START
from tests.support.log_contents import encoded
from tests.support.servers import KEY, Running, client_of, events_in, running

pytestmark = pytest.mark.anyio

OTHER: Final = "the key of another operator"
MIB: Final = 1 << 20
LONG_JOBS: Final = 12


def keys() -> ApiKeys:
    return ApiKeys([Key.of("tester", Role.OPERATOR, KEY), Key.of("other", Role.OPERATOR, OTHER)])


@asynccontextmanager
async def asked(server: Running, path: str, key: str = KEY) -> AsyncIterator[int]:
    """Ask, and read no more than the status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1_024)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n".encode())
    try:
        status = (await reader.readline()).split()[1]
        yield int(status)
    finally:
        writer.transport.abort()


async def answered(status: int, ask: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
    """Ask until the answer has this status."""

    async def look() -> httpx2.Response | None:
        answer = await ask()
        return answer if answer.status_code == status else None

    return await eventually(look)


# Texts


async def test_of_a_long_error_message_the_head_and_the_tail_are_kept(
    client: httpx2.AsyncClient, server: Running
) -> None:
    job_id = await submitted(client, max_retries=1)
    message = "at first " + "é" * 500_000 + " at last"
    response = await client.post(f"/jobs/{job_id}/fail", json={"error_message": message})
    assert response.status_code == 200
    shown: str = (await job_shown(client, job_id))["error_message"]
    assert len(shown.encode()) <= TEXT_BYTES
    assert shown.startswith("at first é")
    assert shown.endswith("é at last")
    assert " bytes cut …]" in shown
    assert len(events_in(server.db)[-1][2]) < TEXT_BYTES + 500


@pytest.mark.parametrize(
    ("path", "name", "at_most", "body"),
    [
        ("/jobs/", "source_url", MAX_URL, JOB),
        ("/jobs/", "target_codec", MAX_NAME, JOB),
        ("/jobs/{job}/complete", "output_url", MAX_URL, {}),
        ("/jobs/{job}/complete", "engine_id", MAX_NAME, {"output_url": "o"}),
        ("/jobs/{job}/fail", "engine_id", MAX_NAME, {"error_message": "broke"}),
        ("/engines/heartbeat", "engine_id", MAX_NAME, {}),
        ("/engines/heartbeat", "current_job", MAX_NAME, {"engine_id": "e"}),
        ("/engines/benchmark_result", "engine_id", MAX_NAME, {"benchmark_time": 1}),
    ],
)
async def test_what_identifies_something_is_refused_when_it_is_too_long(
    client: httpx2.AsyncClient,
    server: Running,
    path: str,
    name: str,
    at_most: int,
    body: dict[str, Any],
) -> None:
    path = path.format(job=await submitted(client))
    before = events_in(server.db)
    response = await client.post(path, json=body | {name: "x" * (at_most + 1)})
    assert (response.status_code, response.text) == (
        400,
        f"Bad Request: '{name}' must be at most {at_most} characters.",
    )
    assert events_in(server.db) == before
    response = await client.post(path, json=body | {name: "x" * at_most})
    assert response.status_code != 400


async def test_all_that_an_engine_tells_about_itself_is_bounded_together(
    client: httpx2.AsyncClient, server: Running
) -> None:
    refusal = "Bad Request: all fields of an engine together must be at most 65536 bytes."
    for field in ("hostname", "supported_codecs"):
        value = "x" * REPORT_BYTES
        body = {"engine_id": "e", field: [value] if field == "supported_codecs" else value}
        response = await client.post("/engines/heartbeat", json=body)
        assert (response.status_code, response.text) == (400, refusal)
    assert events_in(server.db) == []
    part = "x" * 1_000
    sent = 0
    while True:
        response = await client.post(
            "/engines/heartbeat", json={"engine_id": "e", f"f{sent}": part}
        )
        if response.status_code != 200:
            break
        sent += 1
    assert (response.status_code, response.text) == (400, refusal)
    assert sent == REPORT_BYTES // 1_010
    await beat(client, "e", f0="shorter")
    await beat(client, "e", **{f"f{sent}": "x" * 900})


async def test_an_engine_whose_report_in_an_older_log_is_larger_goes_on(db: Path) -> None:
    log = await SqliteLog.open(db)
    large = {"notes": "x" * 2 * REPORT_BYTES, "cpu_temperature": 1}
    await log.append(encoded(Recorded(1, START, "t", EngineReported("e", large))), 0)
    await log.close()
    async with running(db) as server, client_of(server) as client:
        await beat(client, "e", cpu_temperature=2.5)
        await beat(client, "e")
        (shown,) = (await client.get("/engines/")).json()
        assert (shown["notes"], shown["cpu_temperature"]) == (large["notes"], 2.5)


# Pages


@pytest.fixture
async def old_log(db: Path) -> Path:
    """A log from when texts were not cut: some jobs failed with a text of a MiB."""
    happened: list[Event] = []
    for n in range(LONG_JOBS):
        happened.append(JobSubmitted(f"j{n}", "u", "h264", 1.0, 1))
        happened.append(JobFailedPermanently(f"j{n}", None, 0, 1, f"{n}" + "x" * MIB))
    log = await SqliteLog.open(db)
    records = [Recorded(seq, START, "t", event) for seq, event in enumerate(happened, 1)]
    await log.append(encoded(*records), 0)
    await log.close()
    return db


async def all_pages(client: httpx2.AsyncClient, path: str | None) -> list[list[dict[str, Any]]]:
    pages = []
    while path is not None:
        response = await client.get(path)
        assert response.status_code == 200
        assert len(response.content) < PAGE_BYTES + 2 * MIB
        pages.append(response.json())
        link = response.headers.get("Link")
        path = None if link is None else link[1 : link.index(">")]
    return pages


@pytest.mark.parametrize(
    "path",
    [
        *("/jobs/?limit=100", "/jobs/?limit=12", "/jobs/?limit=100&as_of=24"),
        *("/events?limit=10000&type=job_failed_permanently", "/events?limit=9000"),
    ],
)
async def test_a_page_ends_when_it_is_large_and_links_to_the_next(old_log: Path, path: str) -> None:
    async with running(old_log) as server, client_of(server) as client:
        pages = await all_pages(client, path)
        assert len(pages) == 3
        told = [one for page in pages for one in page if "error_message" in one]
        texts = [one["error_message"] for one in told if one["error_message"] is not None]
        assert [text[:3].rstrip("x") for text in texts] == [str(n) for n in range(LONG_JOBS)]
        assert {len(text) for text in texts} == {MIB + 1, MIB + 2}


@pytest.mark.parametrize("path", ["/jobs/", "/jobs/?as_of=24", "/jobs/?status=failed_permanently"])
async def test_a_list_without_a_limit_is_whole(old_log: Path, path: str) -> None:
    async with running(old_log) as server, client_of(server) as client:
        jobs = (await client.get(path)).json()
        assert [job["job_id"] for job in jobs] == [f"j{n}" for n in range(LONG_JOBS)]


async def test_a_page_whose_end_is_the_end_links_to_none(old_log: Path) -> None:
    async with running(old_log) as server, client_of(server) as client:
        after = "j7"
        response = await client.get(f"/jobs/?limit=4&after={after}")
        assert (len(response.json()), "Link" in response.headers) == (4, False)
        response = await client.get("/events?limit=8&after=16")
        assert (len(response.json()), "Link" in response.headers) == (8, False)


@pytest.mark.parametrize("query", ["", "?job=j3", "?type=job_failed_permanently"])
async def test_a_stream_of_large_events_shows_each(old_log: Path, query: str) -> None:
    async with running(old_log) as server, client_of(server) as client:
        mark = "&" if query else "?"
        async with client.stream("GET", f"/events/stream{query}{mark}after=0") as response:
            seen = b""
            async for piece in response.aiter_bytes():
                seen += piece
                if seen.count(b"job_failed_permanently") == (1 if "job=" in query else LONG_JOBS):
                    break
        history = (await client.get("/jobs/j3/events")).json()
        assert [event["seq"] for event in history] == [7, 8]


async def test_a_long_list_of_engines_is_whole_and_in_order(client: httpx2.AsyncClient) -> None:
    names = [f"e{n}" for n in range(60)]
    for name in names:
        await beat(client, name, notes="x" * 5_000)
    engines = (await client.get("/engines/")).json()
    assert [engine["engine_id"] for engine in engines] == names
    assert {len(engine["notes"]) for engine in engines} == {5_000}


# Shares


@pytest.mark.parametrize("path", ["/events?limit=10000", "/jobs/?as_of=24", "/jobs/?limit=100"])
async def test_unread_answers_of_one_key_are_bounded_and_others_are_served(
    old_log: Path, path: str
) -> None:
    async with (
        running(old_log, keys=keys(), key_limits=KeyLimits(unread_mib=8)) as server,
        client_of(server) as client,
        AsyncExitStack() as open_ones,
    ):
        statuses = [await open_ones.enter_async_context(asked(server, path)) for _ in range(9)]
        assert set(statuses) == {200, 429}
        assert 1 <= statuses.count(200) <= 2
        refused = await client.get(path)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert refused.text == (
            "Too Many Requests: 8,388,608 bytes of answers are not read yet for the key 'tester', "
            "which is the most; try again later"
        )
        assert (await client.get("/engines/")).status_code == 200, "small answers are given"
        async with asked(server, path, OTHER) as status:
            assert status == 200
        await open_ones.aclose()
        await answered(200, lambda: client.get(path))


async def test_lists_that_are_being_sent_of_one_key_are_bounded(old_log: Path) -> None:
    limits = KeyLimits(unread_mib=4)
    async with (
        running(old_log, keys=keys(), key_limits=limits) as server,
        AsyncExitStack() as open_ones,
    ):
        for path in ("/jobs/", "/jobs/j1/events"):
            statuses = [await open_ones.enter_async_context(asked(server, path)) for _ in range(6)]
            assert statuses.count(200) <= 4
        async with asked(server, "/jobs/", OTHER) as status:
            assert status == 200


async def test_requests_for_work_of_one_key_are_bounded_and_others_may_wait(db: Path) -> None:
    async with (
        running(db, keys=keys(), key_limits=KeyLimits(polls=2)) as server,
        client_of(server) as client,
        client_of(server, OTHER) as other,
    ):
        for n in range(3):
            await beat(client, f"e{n}")
        asks = [{"engine_id": f"e{n}", "wait_s": 25} for n in range(3)]
        polls = [asyncio.create_task(client.post("/assign_job/", json=ask)) for ask in asks]
        (done,), waiting = await asyncio.wait(polls, return_when=asyncio.FIRST_COMPLETED)
        refused = done.result()
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert refused.text == (
            "Too Many Requests: 2 requests for work wait for the key 'tester', which is the most; "
            "try again later"
        )
        named = {"engine_id": "e0", "wait_s": 0.01}
        assert (await other.post("/assign_job/", json=named)).status_code == 204
        for _ in range(2):
            await submitted(client)
        assert {(await it).status_code for it in waiting} == {200}
        assert (await client.post("/assign_job/", json=named)).status_code == 204


async def test_questions_of_a_clients_key_leave_room_for_an_operator(old_log: Path) -> None:
    given = [Key.of("anna", Role.CLIENT, KEY), Key.of("other", Role.OPERATOR, OTHER)]
    limits = KeyLimits(questions=1)
    async with (
        running(old_log, keys=ApiKeys(given), key_limits=limits) as server,
        client_of(server) as client,
        client_of(server, OTHER) as operator,
    ):
        path = "/jobs/?limit=1&as_of=3"
        asked = [client.get(path) for _ in range(16)] + [operator.get(path) for _ in range(2)]
        answers = await asyncio.gather(*asked)
        assert {it.status_code for it in answers[:16]} == {200, 429}
        assert {it.status_code for it in answers[16:]} == {200}
        refused = next(it for it in answers if it.status_code == 429)
        assert refused.headers["Retry-After"] == "1"
        assert refused.text == (
            "Too Many Requests: 1 questions about the past are in hand for the key 'anna', which "
            "is the most; try again later"
        )


@pytest.mark.parametrize(("connections", "polls"), [(10_000, 5_000), (768, 691), (1, 1)])
def test_requests_that_wait_leave_connections_to_others(connections: int, polls: int) -> None:
    assert server_module._within_connections(connections, KeyLimits()).polls == polls
