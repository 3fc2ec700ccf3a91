"""`X-Dispatcher-Seq` of requests: nobody is answered with less than he has seen."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from dispatcher.serving import catching_up
from dispatcher.serving.quotas import KeyLimits
from tests.support.servers import Running, client_of, running

pytestmark = pytest.mark.anyio

SEQ = "X-Dispatcher-Seq"
JOB = {"source_url": "http://media/in.mp4", "target_codec": "h264"}


@pytest.fixture
async def http(server: Running) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(server) as client:
        yield client


async def submitted(http: httpx2.AsyncClient, seen: int | None = None) -> httpx2.Response:
    headers = {} if seen is None else {SEQ: str(seen)}
    return await http.post("/jobs/", json=JOB, headers=headers)


async def test_whoever_sends_it_is_told_how_far_the_answer_is(http: httpx2.AsyncClient) -> None:
    assert (await submitted(http, 0)).headers[SEQ] == "1"
    job = (await submitted(http, 1)).json()["job_id"]
    for ask in (
        http.get("/jobs/", headers={SEQ: "2"}),
        http.get(f"/jobs/{job}", headers={SEQ: "0"}),
        http.get("/events", headers={SEQ: "2"}),
        http.get("/log/checkpoint", headers={SEQ: "2"}),
        http.get("/jobs/nowhere", headers={SEQ: "2"}),
        http.get("/nowhere", headers={SEQ: "2"}),
        http.post("/jobs/", json={}, headers={SEQ: "2"}),
        http.post("/assign_job/", json={"engine_id": "x"}, headers={SEQ: "2"}),
        http.post(f"/jobs/{job}/retry", headers={SEQ: "2"}),
        http.post("/jobs/batch", json=[], headers={SEQ: "2"}),
    ):
        assert (await ask).headers.get_list(SEQ) == ["2"]
    async with http.stream("GET", "/events/stream", headers={SEQ: "2"}) as stream:
        assert stream.headers[SEQ] == "2"


async def test_an_answer_about_the_past_tells_the_seq_of_the_past(http: httpx2.AsyncClient) -> None:
    for _ in range(3):
        await submitted(http)
    answer = await http.get("/jobs/", params={"as_of": 1}, headers={SEQ: "3"})
    assert (len(answer.json()), answer.headers.get_list(SEQ)) == (1, ["1"])


async def test_without_it_answers_are_as_they_always_were(http: httpx2.AsyncClient) -> None:
    assert SEQ not in (await submitted(http)).headers
    assert SEQ not in (await http.get("/events")).headers
    assert SEQ in (await http.get("/jobs/")).headers
    answer = await http.post("/jobs/", json=JOB, headers={SEQ: ""})
    assert answer.status_code == 200
    assert SEQ not in answer.headers


async def test_a_request_waits_for_what_its_client_has_seen(
    http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catching_up, "WAIT_S", 60)
    reading = asyncio.create_task(http.get("/jobs/", headers={SEQ: "1"}))
    writing = asyncio.create_task(submitted(http, 1))
    done, _ = await asyncio.wait({reading, writing}, timeout=0.1)
    assert not done
    assert (await submitted(http)).status_code == 200
    assert len((await reading).json()) >= 1
    assert (await writing).status_code == 200


async def test_what_does_not_come_is_a_503_and_nothing_is_done(http: httpx2.AsyncClient) -> None:
    await submitted(http)
    loop = asyncio.get_running_loop()
    begin_s = loop.time()
    answers = await asyncio.gather(
        submitted(http, 7),
        http.get("/jobs/", headers={SEQ: "7"}),
        http.get("/x", headers={SEQ: "7"}),
    )
    assert loop.time() - begin_s >= 1.9
    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        assert answer.headers["X-Dispatcher-Undone"] == "true"
        assert answer.headers.get_list(SEQ) == ["1"]
        assert answer.headers["X-Request-ID"]
        told = "this dispatcher's log is at seq 1, and its client has seen seq 7, "
        assert answer.text.startswith(f"Service Unavailable: {told}")
    assert len((await http.get("/jobs/")).json()) == 1


@pytest.mark.parametrize("seen", ["-1", "x", "1.0", "0x1", "1 2", "9223372036854775808", "9" * 30])
async def test_what_is_no_seq_is_refused(seen: str, http: httpx2.AsyncClient) -> None:
    for method, path in (("GET", "/jobs/"), ("POST", "/jobs/"), ("POST", "/assign_job/")):
        answer = await http.request(method, path, headers={SEQ: seen})
        assert answer.status_code == 400
        assert answer.text == "Bad Request: 'X-Dispatcher-Seq' must be a non-negative integer."


async def test_a_stranger_makes_nobody_wait(server: Running) -> None:
    async with client_of(server, "wrong") as stranger:
        assert (await stranger.get("/jobs/", headers={SEQ: "7"})).status_code == 401
        assert (await stranger.get("/jobs/", headers={SEQ: "x"})).status_code == 401
        for path in ("/health", "/"):
            answer = await stranger.get(path, headers={SEQ: "7"})
            assert answer.status_code == 200
            assert SEQ not in answer.headers


async def test_one_key_has_no_more_that_wait_than_for_work(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catching_up, "WAIT_S", 60)
    limits = KeyLimits(polls=2)
    async with running(db, key_limits=limits) as server, client_of(server) as http:
        waiting = [asyncio.create_task(http.get("/jobs/", headers={SEQ: "1"})) for _ in range(2)]
        await asyncio.wait(waiting, timeout=0.2)
        refused = await http.get("/jobs/", headers={SEQ: "1"})
        assert refused.status_code == 429
        assert "Retry-After" in refused.headers
        assert (await http.get("/jobs/", headers={SEQ: "0"})).status_code == 200
        await submitted(http)
        assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200, 200]


async def test_a_dispatcher_that_stops_lets_nobody_wait(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catching_up, "WAIT_S", 600)
    async with running(db) as server, client_of(server) as http:
        waiting = asyncio.create_task(http.get("/jobs/", headers={SEQ: "7"}))
        await asyncio.wait({waiting}, timeout=0.1)
        assert not waiting.done()
        os.kill(os.getpid(), signal.SIGTERM)
        assert (await waiting).status_code == 503
