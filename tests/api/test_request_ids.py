"""Who did what, and by which request: `X-Request-ID` and the names of keys, in answer and log."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx2
import pytest

from dispatcher.core import dispatcher as dispatcher_module
from dispatcher.core.policy import Policy
from dispatcher.core.waiting import Waiting
from dispatcher.log import LogError
from dispatcher.log.sqlite import SqliteLog
from dispatcher.serving.service import Service
from tests.support.callers import SECRETS, Callers, Done, callers_of, done_in, keys_of_all
from tests.support.farm import JOB, OUTPUT, beat, eventually
from tests.support.in_flight import until
from tests.support.servers import client_of, running

pytestmark = pytest.mark.anyio

ID: Final = "X-Request-ID"
MADE: Final = re.compile(r"[0-9a-f]{32}")
REFUSAL: Final = "Bad Request: 'X-Request-ID' must be 1 to 128 printable ASCII characters."


@pytest.fixture
async def callers(db: Path) -> AsyncIterator[Callers]:
    async with running(db, keys=keys_of_all()) as server, callers_of(server) as callers:
        yield callers


# In the answer


ANSWERS: Final = [
    (200, "GET", "/health", b""),
    (200, "GET", "/jobs/", b""),
    (200, "GET", "/schema", b""),
    (204, "POST", "/assign_job/", b""),
    (400, "POST", "/jobs/", b"{"),
    (403, "POST", "/engines/e/drain", b""),
    (404, "GET", "/jobs/nothing", b""),
    (404, "GET", "/nothing", b""),
    (405, "PUT", "/jobs/", b""),
    (413, "POST", "/jobs/", b"x" * 2_000_000),
]


@pytest.mark.parametrize(("status", "method", "path", "body"), ANSWERS)
async def test_every_answer_carries_the_id_of_its_request(
    callers: Callers, status: int, method: str, path: str, body: bytes
) -> None:
    client = callers.rack if path == "/assign_job/" else callers.anna
    for given in (
        "a",
        "%~ !",
        "x" * 128,
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ):
        response = await client.request(method, path, content=body, headers={ID: given})
        assert (response.status_code, response.headers[ID]) == (status, given)
    made = set()
    for headers in ({}, {ID: ""}):
        response = await client.request(method, path, content=body, headers=headers)
        assert response.status_code == status
        assert MADE.fullmatch(response.headers[ID])
        made.add(response.headers[ID])
    assert len(made) == 2


@pytest.mark.parametrize("key", ["", "a wrong one"])
async def test_a_401_carries_the_id_too_and_comes_before_a_bad_one(
    callers: Callers, key: str
) -> None:
    async with client_of(callers.server, key) as stranger:
        response = await stranger.get("/jobs/", headers={ID: "mine"})
        assert (response.status_code, response.headers[ID]) == (401, "mine")
        response = await stranger.get("/jobs/", headers={ID: "x" * 129})
        assert response.status_code == 401
        assert MADE.fullmatch(response.headers[ID])


async def test_a_defect_and_a_fault_carry_it_too(
    callers: Callers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    async def fail(*_: object, **__: object) -> None:
        raise LogError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Service, "execute", break_down)
        response = await callers.anna.post("/jobs/", json=JOB, headers={ID: "one"})
        assert (response.status_code, response.headers[ID]) == (500, "one")
        assert "POST /jobs/ failed, request one" in caplog.messages
    with monkeypatch.context() as patched:
        patched.setattr(SqliteLog, "append", fail)
        response = await callers.anna.post("/jobs/", json=JOB, headers={ID: "two"})
        assert (response.status_code, response.headers[ID]) == (503, "two")


@pytest.mark.parametrize("given", [b"x" * 129, b"a\tb", "ключ".encode(), b"a\xa0b"])
@pytest.mark.parametrize("path", ["/jobs/", "/nothing", "/health"])
async def test_what_can_be_no_id_is_refused(callers: Callers, path: str, given: bytes) -> None:
    response = await callers.anna.post(path, json=JOB, headers={ID.encode(): given})
    assert (response.status_code, response.text) == (400, REFUSAL)
    assert response.headers["content-type"].startswith("text/plain")
    assert MADE.fullmatch(response.headers[ID])
    assert done_in(callers.server.db) == []


async def test_of_several_ids_the_first_counts(callers: Callers) -> None:
    response = await callers.anna.get("/jobs/", headers=[(ID, "first"), (ID, "second")])
    assert response.headers.get_list(ID) == ["first"]


# In the log


async def test_the_history_of_a_job_names_who_did_each_step_and_by_which_request(
    callers: Callers,
) -> None:
    _, anna, rack, olga, _ = callers

    async def ask(client: httpx2.AsyncClient, request_id: str, path: str, **body: object) -> None:
        method = "DELETE" if path == "/engines/e" else "POST"
        await client.request(method, path, json=body, headers={ID: request_id})

    await ask(rack, "beat", "/engines/heartbeat", engine_id="e")
    job_id = (
        await anna.post("/jobs", json=JOB | {"max_retries": 1}, headers={ID: "submit"})
    ).json()["job_id"]
    await ask(rack, "assign", "/assign_job", engine_id="e")
    await ask(rack, "fail", f"/jobs/{job_id}/fail", error_message="broke", attempt=1)
    await ask(anna, "retry", f"/jobs/{job_id}/retry")
    await ask(rack, "assign again", "/assign_job", engine_id="e")
    await ask(rack, "late", f"/jobs/{job_id}/complete", **OUTPUT, attempt=1)
    await ask(olga, "drain", "/engines/e/drain")
    await ask(rack, "complete", f"/jobs/{job_id}/complete", **OUTPUT, attempt=2)
    await ask(anna, "once more", "/jobs", **JOB)
    await ask(olga, "resume", "/engines/e/resume")
    await ask(rack, "take", "/assign_job", engine_id="e")
    await ask(olga, "forget", "/engines/e")
    assert done_in(callers.server.db) == [
        Done("engine_reported", "rack-1", "beat"),
        Done("job_submitted", "anna", "submit"),
        Done("job_assigned", "rack-1", "assign"),
        Done("job_failed_permanently", "rack-1", "fail"),
        Done("job_retried", "anna", "retry"),
        Done("job_assigned", "rack-1", "assign again"),
        Done("answer_refused", "rack-1", "late"),
        Done("engine_drained", "olga", "drain"),
        Done("job_completed", "rack-1", "complete"),
        Done("job_submitted", "anna", "once more"),
        Done("engine_resumed", "olga", "resume"),
        Done("job_assigned", "rack-1", "take"),
        Done("job_requeued", "olga", "forget"),
        Done("engine_forgotten", "olga", "forget"),
    ]


async def test_an_id_that_was_made_is_the_one_that_is_recorded(callers: Callers) -> None:
    response = await callers.anna.post("/jobs/", json=JOB)
    assert done_in(callers.server.db) == [Done("job_submitted", "anna", response.headers[ID])]


async def test_a_job_that_was_waited_for_is_recorded_with_the_request_that_waited(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiters = Waiting()
    monkeypatch.setattr(dispatcher_module, "Waiting", lambda: waiters)
    async with running(db, keys=keys_of_all()) as server, callers_of(server) as callers:
        await beat(callers.rack, "e")
        asking = {"engine_id": "e", "wait_s": 60}
        waiting = asyncio.create_task(
            callers.rack.post("/assign_job/", json=asking, headers={ID: "waited"})
        )
        await until(lambda: len(waiters.by_ticket) == 1)
        await callers.anna.post("/jobs/", json=JOB, headers={ID: "came"})
        assert (await waiting).headers[ID] == "waited"
    assert done_in(db)[1:] == [
        Done("job_submitted", "anna", "came"),
        Done("job_assigned", "rack-1", "waited"),
    ]


async def test_what_a_timer_does_is_no_requests_doing(db: Path) -> None:
    policy = Policy(lease_s=0.2)
    async with (
        running(db, keys=keys_of_all(), policy=policy) as server,
        callers_of(server) as callers,
    ):
        await beat(callers.rack, "e")

        async def lost() -> Done | None:
            return next((done for done in done_in(db) if done.type == "engine_lost"), None)

        assert await eventually(lost) == Done("engine_lost", "dispatcher", None)


# Nobody sees a key


async def test_no_key_is_in_the_log_in_an_answer_or_in_what_is_said(
    db: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    heard: list[str] = []

    async def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    wrong = "the secret of nobody"
    async with running(db, keys=keys_of_all()) as server, callers_of(server) as callers:
        await beat(callers.rack, "e")
        async with client_of(server, wrong) as stranger:
            for client in (*callers[1:], stranger):
                for method, path in (
                    *(("POST", "/jobs"), ("GET", "/jobs"), ("POST", "/engines/heartbeat")),
                    *(("POST", "/engines/e/drain"), ("GET", "/events"), ("GET", "/schema")),
                    *(("GET", "/jobs/nothing"), ("PUT", "/jobs"), ("GET", "/health")),
                ):
                    response = await client.request(method, path, json=JOB | {"engine_id": "e"})
                    heard += [response.text, str(response.headers.raw)]
        monkeypatch.setattr(Service, "execute", break_down)
        assert (await callers.anna.post("/jobs", json=JOB)).status_code == 500
    heard += [*server.said, caplog.text]
    files = [path.read_bytes() for path in db.parent.rglob("*") if path.is_file()]
    assert "a defect" in caplog.text
    assert any(b"rack-1" in content for content in files)
    for secret in (*SECRETS.values(), wrong):
        assert not any(secret in words for words in heard)
        assert not any(secret.encode() in content for content in files)
