"""Webhooks and callbacks: real posts to real receivers, that fail, are slow, or are away."""

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from dispatcher.serving.callbacks import Callbacks
from dispatcher.webhooks import running as at_work
from dispatcher.webhooks.opening import WebhookSettings, secret_path
from dispatcher.webhooks.outbox import Outbox
from dispatcher.webhooks.settings import ENDS, Webhook
from dispatcher.webhooks.signing import Secret, new_secret
from tests.support.commands import command
from tests.support.farm import JOB, eventually, submitted
from tests.support.servers import Child, Running, child, client_of, running
from tests.support.web import Answer, Asked, Web, web

pytestmark = pytest.mark.anyio

SECRET: Final = new_secret()
LOOPBACK: Final = Callbacks.parse("loopback")


class Receiver:
    """Takes messages, and answers as it is told to."""

    def __init__(self) -> None:
        self.status = 200
        self.fails: set[str] = set()
        self.tried = 0
        self.taken: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.called_back = set[str]()

    async def __call__(self, asked: Asked) -> Answer:
        self.tried += 1
        message = json.loads(asked.body)
        if self.status != 200 or message["data"].get("job_id") in self.fails:
            return Answer(500 if self.status == 200 else self.status)
        if asked.target == "/back":
            self.called_back.add(message["data"]["job_id"])
            return Answer(204)
        self.taken.append(message)
        self.ids.append(asked.headers["webhook-id"])
        return Answer(204)

    async def has(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many different messages were taken."""

        async def look() -> bool | None:
            return True if len(set(self.ids)) >= count else None

        await eventually(look)
        return self.taken

    def in_order(self) -> bool:
        """Tell whether the events of each job came in order, whatever came twice."""
        seqs: dict[str, list[int]] = defaultdict(list)
        for message in self.taken:
            data = message["data"]
            if data["seq"] not in (seen := seqs[data["job_id"]]):
                seen.append(data["seq"])
        return all(a < b for it in seqs.values() for a, b in itertools.pairwise(it))


@pytest.fixture(autouse=True)
def _haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_work, "FIRST_S", 0.02)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def origin(receiver: Receiver) -> AsyncIterator[Web]:
    async with web(receiver) as here:
        yield here


def hook(url: str, *events: str, give_up_hours: float = 24.0) -> WebhookSettings:
    chosen = frozenset(events) or ENDS
    return WebhookSettings([Webhook("chat", url, Secret(SECRET), chosen, give_up_hours)])


async def ended(client: httpx2.AsyncClient, **fields: Any) -> str:
    """Submit a job, and complete it."""
    job_id = await submitted(client, **fields)
    await client.post(f"/jobs/{job_id}/complete", json={"output_url": "http://media/out.mp4"})
    return job_id


async def shown(client: httpx2.AsyncClient, name: str = "chat") -> dict[str, Any]:
    found = {it["name"]: it for it in (await client.get("/webhooks")).json()}
    return dict(found[name])


# What is sent


async def test_a_message_has_the_event_and_a_signature_that_its_receiver_can_check(
    db: Path, receiver: Receiver, origin: Web
) -> None:
    settings = hook(f"{origin.url}/farm")
    async with running(db, webhooks=settings) as server, client_of(server) as client:
        job_id = await ended(client)
        (message,) = await receiver.has(1)
        events = (await client.get(f"/jobs/{job_id}/events")).json()
        assert (await shown(client))["state"] == "ok"
    (asked,) = origin.asked
    assert message == {"type": "job_completed", "timestamp": events[1]["time"], "data": events[1]}
    assert asked.target == "/farm"
    assert asked.headers["content-type"] == "application/json"
    # As standardwebhooks.com tells a receiver to check it.
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    told = f"{asked.headers['webhook-id']}.{asked.headers['webhook-timestamp']}.".encode()
    digest = base64.b64encode(hmac.new(key, told + asked.body, hashlib.sha256).digest()).decode()
    assert asked.headers["webhook-signature"] == f"v1,{digest}"
    assert "." not in asked.headers["webhook-id"]


async def test_only_the_chosen_events_are_sent_and_nothing_of_the_past(
    db: Path, receiver: Receiver, origin: Web
) -> None:
    async with running(db) as server, client_of(server) as client:
        await ended(client)
    settings = hook(origin.url, "job_submitted", "engine_drained")
    async with running(db, webhooks=settings) as server, client_of(server) as client:
        await client.post("/engines/heartbeat", json={"engine_id": "e"})
        await ended(client)
        await client.post("/engines/e/drain")
        taken = await receiver.has(2)
    assert [it["type"] for it in taken] == ["job_submitted", "engine_drained"]


async def test_a_redirect_is_not_followed(db: Path) -> None:
    async def answer(asked: Asked) -> Answer:
        assert asked.target == "/from"
        return Answer(302, headers={"Location": "/to"})

    async with (
        web(answer) as origin,
        running(db, webhooks=hook(f"{origin.url}/from")) as server,
        client_of(server) as client,
    ):
        await ended(client)

        async def error() -> str | None:
            told: str | None = (await shown(client))["error"]
            return told

        assert await eventually(error) == "it answered 302, and webhooks follow no redirect"


# What does not arrive at once


async def test_all_arrives_in_order_a_job_when_the_receiver_fails_and_is_back(
    db: Path, receiver: Receiver, origin: Web
) -> None:
    receiver.status = 500
    settings = hook(origin.url, "job_submitted", "job_cancelled", "job_retried")
    async with running(db, webhooks=settings) as server, client_of(server) as client:
        jobs = [await submitted(client) for _ in range(5)]
        for job_id in jobs:
            await client.delete(f"/jobs/{job_id}")
            await client.post(f"/jobs/{job_id}/retry")

        async def is_failing() -> bool | None:
            now = await shown(client)
            return True if now["state"] == "failing" and now["waiting"] == 15 else None

        await eventually(is_failing)
        assert (await shown(client))["error"] == "it answered 500"
        receiver.status = 200
        await receiver.has(15)
        assert receiver.in_order()

        async def is_well() -> bool | None:
            now = await shown(client)
            return True if (now["state"], now["waiting"]) == ("ok", 0) else None

        await eventually(is_well)


async def test_all_arrives_when_the_receiver_was_away(db: Path, receiver: Receiver) -> None:
    async with web(receiver) as origin:
        port = int(origin.url.rpartition(":")[2])
    async with running(db, webhooks=hook(origin.url)) as server, client_of(server) as client:
        jobs = {await ended(client) for _ in range(5)}

        async def is_failing() -> bool | None:
            return True if (await shown(client))["state"] == "failing" else None

        await eventually(is_failing)
        async with web(receiver, port=port):
            taken = await receiver.has(5)
    assert {it["data"]["job_id"] for it in taken} == jobs


async def test_a_slow_receiver_keeps_nobody_waiting(db: Path, receiver: Receiver) -> None:
    go_on = asyncio.Event()

    async def slow(asked: Asked) -> Answer:
        await go_on.wait()
        return await receiver(asked)

    async with (
        web(slow) as origin,
        running(db, webhooks=hook(origin.url)) as server,
        client_of(server) as client,
    ):
        jobs = [await ended(client) for _ in range(10)]
        assert receiver.taken == []
        go_on.set()
        await receiver.has(10)
    assert sorted(it["data"]["job_id"] for it in receiver.taken) == sorted(jobs)


async def test_a_message_that_is_not_taken_holds_up_its_own_job_only(
    db: Path, receiver: Receiver, origin: Web
) -> None:
    settings = hook(origin.url, "job_submitted", "job_cancelled")
    async with running(db, webhooks=settings) as server, client_of(server) as client:
        receiver.status = 500
        bad, good = await submitted(client), await submitted(client)
        receiver.fails = {bad}
        receiver.status = 200
        for job_id in (bad, good):
            await client.delete(f"/jobs/{job_id}")
        await receiver.has(2)
        assert {it["data"]["job_id"] for it in receiver.taken} == {good}
        receiver.fails = set()
        await receiver.has(4)
    assert receiver.in_order()


async def test_what_was_given_up_is_shown_and_sent_by_hand(
    db: Path, receiver: Receiver, origin: Web, tmp_path: Path
) -> None:
    receiver.status = 410
    settings = hook(origin.url, give_up_hours=0)
    async with running(db, webhooks=settings) as server, client_of(server) as client:
        await ended(client)

        async def is_dead() -> bool | None:
            return True if (await shown(client))["dead"] == 1 else None

        await eventually(is_dead)
        health = (await client.get("/health")).json()
        assert health["status"] == "ok"
        assert health["warning"] == (
            "webhooks: messages to chat were given up; `dispatcher webhooks list` says why, and "
            "`dispatcher webhooks retry NAME` sends them"
        )
    # Also after a restart.
    async with running(db, webhooks=settings) as server, client_of(server) as client:
        assert "given up" in (await client.get("/health")).json()["warning"]
        listed = await command(tmp_path, "webhooks", "list", server=server.url)
        assert listed.out.split("\t")[:4] == ["chat", "dead", "1", "1"]
        assert "it answered 410" in listed.out
        receiver.status = 200
        retried = await command(tmp_path, "webhooks", "retry", "chat", server=server.url)
        assert retried.out == "Webhook chat: 1 messages are tried again\n"
        await receiver.has(1)
        assert "warning" not in (await client.get("/health")).json()
        missing = await command(tmp_path, "webhooks", "retry", "nobody", server=server.url)
        assert (missing.status, "Webhook not found" in missing.err) == (4, True)


# The dispatcher is killed


def served(url: str, folder: Path) -> tuple[str, ...]:
    file = folder / "webhooks.toml"
    events = '["job_submitted", "job_cancelled"]'
    file.write_text(
        f'[[webhook]]\nname = "chat"\nurl = "{url}"\nsecret = "{SECRET}"\nevents = {events}\n'
    )
    return ("--webhooks", str(file), "--callback-allow", "loopback")


async def cancelled(server: Child, count: int, **fields: Any) -> set[str]:
    async with client_of(server) as client:
        jobs = [await submitted(client, **fields) for _ in range(count)]
        for job_id in jobs:
            await client.delete(f"/jobs/{job_id}")
    return set(jobs)


async def test_all_arrives_in_order_a_job_though_the_dispatcher_is_killed(
    db: Path, receiver: Receiver, origin: Web, tmp_path: Path
) -> None:
    options, jobs = served(origin.url, tmp_path), set[str]()
    for status in (200, 500, 200):
        receiver.status = status
        async with child(db, *options) as server:
            jobs |= await cancelled(server, 20, callback_url=f"{origin.url}/back")
            if status == 500:
                await eventually(_tried(receiver))
        # It was killed with -9, in the midst of it.
    async with child(db, *options):
        taken = await receiver.has(60 * 2)

        async def are_called_back() -> bool | None:
            return True if receiver.called_back == jobs else None

        await eventually(are_called_back)
    kinds = {(it["data"]["job_id"], it["type"]) for it in taken}
    assert kinds == {(job, kind) for job in jobs for kind in ("job_submitted", "job_cancelled")}
    assert receiver.in_order()


def _tried(receiver: Receiver) -> Any:
    before = receiver.tried

    async def look() -> bool | None:
        return True if receiver.tried > before else None

    return look


# Callbacks


@pytest.fixture
async def open_server(db: Path) -> AsyncIterator[Running]:
    async with running(db, webhooks=WebhookSettings(callbacks=LOOPBACK)) as server:
        yield server


async def test_a_job_is_called_back_when_it_is_over_and_only_then(
    open_server: Running, receiver: Receiver, origin: Web, db: Path
) -> None:
    async with client_of(open_server) as client:
        url = f"{origin.url}/back?token=1"
        job_id = await submitted(client, callback_url=url)
        await ended(client)
        assert (await client.get(f"/jobs/{job_id}")).json()["callback_url"] == url
        await client.delete(f"/jobs/{job_id}")
        await client.post(f"/jobs/{job_id}/retry")
        await client.post(f"/jobs/{job_id}/complete", json={"output_url": "o"})
        taken = await receiver.has(2)
    assert [(it["type"], it["data"]["job_id"]) for it in taken] == [
        ("job_cancelled", job_id),
        ("job_completed", job_id),
    ]
    assert {it.target for it in origin.asked} == {"/back?token=1"}
    secret = secret_path(db)
    assert secret.stat().st_mode & 0o077 == 0
    asked = origin.asked[0]
    signed = Secret(secret.read_text().strip()).headers(
        asked.headers["webhook-id"], int(asked.headers["webhook-timestamp"]), asked.body
    )
    assert signed["webhook-signature"] == asked.headers["webhook-signature"]


async def test_a_job_is_called_back_though_the_outbox_was_lost(
    db: Path, receiver: Receiver, origin: Web
) -> None:
    settings = WebhookSettings(callbacks=LOOPBACK)
    async with running(db, webhooks=settings) as server, client_of(server) as client:
        job_id = await submitted(client, callback_url=f"{origin.url}/done")
    for left in db.parent.glob(f"{db.name}.webhooks*"):
        left.unlink()
    async with running(db, webhooks=settings) as server, client_of(server) as client:
        await client.delete(f"/jobs/{job_id}")
        (message,) = await receiver.has(1)
    assert message["type"] == "job_cancelled"


async def test_nothing_is_lost_while_the_outbox_can_not_be_written(
    db: Path, receiver: Receiver, origin: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, full = Outbox.add, True

    async def add_if_there_is_room(self: Outbox, *args: Any) -> None:
        if full:
            raise sqlite3.OperationalError("database or disk is full")
        await add(self, *args)

    monkeypatch.setattr(Outbox, "add", add_if_there_is_room)
    async with running(db, webhooks=hook(origin.url)) as server, client_of(server) as client:
        jobs = [await ended(client) for _ in range(3)]

        async def is_told() -> str | None:
            told: str | None = (await client.get("/health")).json().get("warning")
            return told

        assert await eventually(is_told) == "webhooks: database or disk is full"
        full = False
        taken = await receiver.has(3)
        assert {it["data"]["job_id"] for it in taken} == {*jobs}

        async def is_well() -> bool | None:
            return None if "warning" in (await client.get("/health")).json() else True

        await eventually(is_well)


async def test_a_callback_is_refused_where_the_operator_permits_none(
    client: httpx2.AsyncClient,
) -> None:
    response = await client.post("/jobs/", json=JOB | {"callback_url": "http://media/back"})
    assert (response.status_code, response.text) == (
        400,
        "Bad Request: 'callback_url' is not taken: this dispatcher runs without --callback-allow.",
    )


async def test_a_batch_may_have_callbacks_and_a_key_stands_for_one(open_server: Running) -> None:
    job = JOB | {"callback_url": "http://127.0.0.1:9/a", "idempotency_key": "k"}
    lines = [
        job,
        job,
        job | {"callback_url": "http://127.0.0.1:9/b"},
        JOB | {"callback_url": "ftp://x"},
    ]
    async with client_of(open_server) as client:
        answers = (await client.post("/jobs/batch", json=lines)).json()
    assert [it["status"] for it in answers] == [200, 200, 409, 400]


@pytest.mark.parametrize(
    ("allowed", "url", "fault"),
    [
        ("hooks.example.com", "https://hooks.example.com/x", None),
        ("hooks.example.com", "https://HOOKS.example.com.:8443/x", None),
        ("*.example.com", "http://a.b.example.com", None),
        ("*.example.com", "http://example.com", "may not be at"),
        ("example.com", "http://evil-example.com", "may not be at"),
        ("example.com", "http://example.com.evil.net", "may not be at"),
        ("example.com", "http://example.com@evil.net", "must have no name and no password"),
        ("example.com", "ftp://example.com", "must be a URL"),
        ("example.com", "http://[::1", "must be a URL"),
        ("example.com", "http://example.com:99999", "must be a URL"),
        ("example.com", "not a url", "must be a URL"),
        ("public", "http://anything.example.com", None),
        ("public", "http://10.0.0.1/", "may not be at '10.0.0.1'"),
        ("public", "http://[::ffff:10.0.0.1]/", "may not be at"),
        ("10.1.0.0/16", "http://10.1.2.3/", None),
        ("10.1.0.0/16", "http://10.2.2.3/", "may not be at"),
        ("private", "http://169.254.169.254/latest", "may not be at"),
    ],
)
def test_a_callback_goes_only_where_the_operator_permits(
    allowed: str, url: str, fault: str | None
) -> None:
    found = Callbacks.parse(allowed).fault(url)
    assert (found is None) == (fault is None)
    assert fault is None or fault in str(found)


async def test_a_name_that_stands_for_a_private_address_is_not_connected_to() -> None:
    with pytest.raises(OSError, match="localhost is a loopback address"):
        await Callbacks.parse("localhost").addresses_of("localhost", 80)
    assert await Callbacks.parse("localhost,loopback").addresses_of("localhost", 80)
