"""Whose key a request carries, and how its holder signs in to the board."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from dispatcher.api.app import create_app
from dispatcher.log.checkpoints import Signer
from dispatcher.serving.keys import ApiKeys, Key, Role
from dispatcher.serving.service import Service
from tests.support.callers import NAMES, SECRETS, Callers, callers_of, done_in, keys_of_all
from tests.support.servers import client_of, running

pytestmark = pytest.mark.anyio

UNKNOWN = (
    "Sign-in token not found: it was used, or is older than a minute; `dispatcher board` makes "
    "another"
)


@pytest.fixture(scope="module")
async def shared(
    tmp_path_factory: pytest.TempPathFactory, anyio_backend: object
) -> AsyncIterator[Callers]:
    assert anyio_backend
    db = tmp_path_factory.mktemp("keys") / "events.db"
    async with running(db, keys=keys_of_all()) as server, callers_of(server) as callers:
        yield callers


@pytest.fixture
async def stranger(shared: Callers) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(shared.server, "") as http:
        yield http


@pytest.mark.parametrize("role", Role)
async def test_a_key_learns_its_name_and_role(shared: Callers, role: Role) -> None:
    response = await shared.of(role).get("/key")
    if role is Role.MONITOR:
        assert response.status_code == 403
        return
    assert response.json() == {"name": NAMES[role], "role": role, "engine_id": None}
    assert response.headers["cache-control"] == "no-store"


def caller_of(service: Service, keys: ApiKeys | None, folder: Path) -> httpx2.AsyncClient:
    """Call an application with other keys, without a server."""
    app = create_app(service, keys, Signer.load_or_create(folder / "signing.key"))
    transport = httpx2.ASGITransport(app)  # type: ignore[arg-type]
    return httpx2.AsyncClient(transport=transport, base_url="http://x")


async def test_a_bound_key_learns_its_engine(service: Service, tmp_path: Path) -> None:
    keys = ApiKeys([Key.of("seven", Role.ENGINE, "s", "farm-7")])
    async with caller_of(service, keys, tmp_path) as engine:
        told = {"name": "seven", "role": "engine", "engine_id": "farm-7"}
        assert (await engine.get("/key", headers={"X-API-Key": "s"})).json() == told


async def test_where_auth_is_off_everybody_is_anonymous(service: Service, tmp_path: Path) -> None:
    async with caller_of(service, None, tmp_path) as anybody:
        told = {"name": "anonymous", "role": "operator", "engine_id": None}
        # A key that somebody sends all the same is not looked at, and not given to others.
        for headers in ({}, {"X-API-Key": "mine"}):
            assert (await anybody.get("/key", headers=headers)).json() == told
            token = (await anybody.post("/sign_in", headers=headers)).json()["token"]
            redeemed = await anybody.post("/sign_in/redeem", json={"token": token})
            assert redeemed.json() == {"key": None}


@pytest.mark.parametrize("role", [Role.CLIENT, Role.OPERATOR])
async def test_a_token_is_redeemed_for_the_key_once_and_by_anybody(
    shared: Callers, stranger: httpx2.AsyncClient, role: Role
) -> None:
    response = await shared.of(role).post("/sign_in")
    assert response.headers["cache-control"] == "no-store"
    signed_in = response.json()
    assert signed_in["expires_s"] == 60
    redeemed = await stranger.post("/sign_in/redeem", json={"token": signed_in["token"]})
    assert (redeemed.status_code, redeemed.json()) == (200, {"key": SECRETS[role]})
    assert redeemed.headers["cache-control"] == "no-store"
    again = await stranger.post("/sign_in/redeem", json={"token": signed_in["token"]})
    assert (again.status_code, again.text) == (404, UNKNOWN)


async def test_the_redeemed_key_is_the_same_key(
    shared: Callers, stranger: httpx2.AsyncClient
) -> None:
    token = (await shared.anna.post("/sign_in")).json()["token"]
    key = (await stranger.post("/sign_in/redeem", json={"token": token})).json()["key"]
    assert (await stranger.get("/key", headers={"X-API-Key": key})).json()["name"] == "anna"


async def test_an_engine_does_not_sign_in(shared: Callers) -> None:
    response = await shared.rack.post("/sign_in")
    assert response.status_code == 403
    assert response.text.startswith("Forbidden: this needs the role 'client';")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "Invalid JSON: the body is empty"),
        (b"{}", "Bad Request: 'token' must be a string."),
        (b"[]", "Bad Request: 'token' must be a string."),
        (b'{"token": null}', "Bad Request: 'token' must be a string."),
        (b'{"token": 5}', "Bad Request: 'token' must be a string."),
    ],
)
async def test_what_is_no_token_is_refused(
    stranger: httpx2.AsyncClient, body: bytes, text: str
) -> None:
    response = await stranger.post("/sign_in/redeem", content=body)
    assert (response.status_code, response.text) == (400, text)


@pytest.mark.parametrize("token", ["", "x", "é", "../..", "x" * 800])
async def test_an_unknown_token_is_not_found(stranger: httpx2.AsyncClient, token: str) -> None:
    response = await stranger.post("/sign_in/redeem", json={"token": token})
    assert (response.status_code, response.text) == (404, UNKNOWN)


async def test_a_stranger_can_send_no_long_body(stranger: httpx2.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1_000

    for body in (b'{"token": "%b"}' % (b"x" * 5_000), pieces()):
        response = await stranger.post("/sign_in/redeem", content=body)
        assert response.status_code == 413


async def test_signing_in_leaves_no_trace_in_the_log(
    shared: Callers, stranger: httpx2.AsyncClient
) -> None:
    before = done_in(shared.server.db)
    token = (await shared.anna.post("/sign_in")).json()["token"]
    await stranger.post("/sign_in/redeem", json={"token": token})
    assert done_in(shared.server.db) == before
    assert not any(token in line or SECRETS[Role.CLIENT] in line for line in shared.server.said)
