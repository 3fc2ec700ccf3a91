"""Each key may do what its role is for, and an operator everything."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from litestar import Litestar, get
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp

from dispatcher.api.app import BODY_LIMIT_BYTES, create_app, create_routes
from dispatcher.api.auth import ANY_KEY, NO_KEY, Needs, check_role
from dispatcher.api.errors import HANDLERS
from dispatcher.api.front import Front
from dispatcher.log.checkpoints import Signer
from dispatcher.serving.keys import ApiKeys, Key, Role
from dispatcher.serving.service import Service
from tests.support.callers import NAMES, SECRETS, Callers, callers_of, done_in, keys_of_all
from tests.support.farm import JOB, beat
from tests.support.servers import client_of, running

pytestmark = pytest.mark.anyio

CLIENT, ENGINE, OPERATOR, MONITOR = Role

ROUTES: Final[dict[tuple[str, str], Needs]] = {
    ("POST", "/jobs"): CLIENT,
    ("GET", "/jobs"): ANY_KEY,
    ("GET", "/jobs/ids"): ANY_KEY,
    ("GET", "/jobs/{job_id}"): ANY_KEY,
    ("GET", "/jobs/{job_id}/why"): CLIENT,
    ("DELETE", "/jobs/{job_id}"): CLIENT,
    ("POST", "/jobs/{job_id}/retry"): CLIENT,
    ("POST", "/jobs/{job_id}/priority"): CLIENT,
    ("POST", "/jobs/batch"): CLIENT,
    ("POST", "/jobs/cancel"): CLIENT,
    ("POST", "/jobs/retry"): CLIENT,
    ("POST", "/jobs/priority"): CLIENT,
    ("POST", "/jobs/{job_id}/complete"): ENGINE,
    ("POST", "/jobs/{job_id}/fail"): ENGINE,
    ("POST", "/jobs/{job_id}/split"): ENGINE,
    ("POST", "/assign_job"): ENGINE,
    ("POST", "/engines/heartbeat"): ENGINE,
    ("POST", "/engines/benchmark_result"): ENGINE,
    ("GET", "/engines"): ANY_KEY,
    ("GET", "/recipes"): ANY_KEY,
    ("GET", "/statistics/now"): ANY_KEY,
    ("GET", "/statistics/series"): ANY_KEY,
    ("GET", "/statistics/speeds"): ANY_KEY,
    ("GET", "/statistics/forecast"): ANY_KEY,
    ("DELETE", "/engines/{engine_id}"): OPERATOR,
    ("POST", "/engines/{engine_id}/drain"): OPERATOR,
    ("POST", "/engines/{engine_id}/resume"): OPERATOR,
    ("GET", "/jobs/{job_id}/events"): CLIENT,
    ("GET", "/engines/{engine_id}/events"): CLIENT,
    ("GET", "/events"): CLIENT,
    ("GET", "/events/stream"): CLIENT,
    ("GET", "/log/checkpoint"): ANY_KEY,
    ("GET", "/log/key"): ANY_KEY,
    ("GET", "/log/proof"): ANY_KEY,
    ("GET", "/log/consistency"): ANY_KEY,
    ("GET", "/store"): ANY_KEY,
    ("POST", "/store"): ANY_KEY,
    ("PUT", "/store/{name}"): ANY_KEY,
    ("HEAD", "/store/{name}"): ANY_KEY,
    ("GET", "/store/{name}"): ANY_KEY,
    ("GET", "/jobs/{job_id}/output"): ANY_KEY,
    ("HEAD", "/jobs/{job_id}/output"): ANY_KEY,
    ("GET", "/schema"): ANY_KEY,
    ("GET", "/schema/openapi.json"): ANY_KEY,
    ("GET", "/schema/openapi.yaml"): ANY_KEY,
    ("GET", "/schema/openapi.yml"): ANY_KEY,
    ("POST", "/reload"): OPERATOR,
    ("GET", "/webhooks"): OPERATOR,
    ("POST", "/webhooks/{name}/retry"): OPERATOR,
    ("GET", "/metrics"): MONITOR,
    ("GET", "/key"): ANY_KEY,
    ("POST", "/sign_in"): CLIENT,
    ("POST", "/sign_in/redeem"): NO_KEY,
    ("GET", "/"): NO_KEY,
    ("HEAD", "/"): NO_KEY,
    ("GET", "/board/{file}"): NO_KEY,
    ("HEAD", "/board/{file}"): NO_KEY,
    ("GET", "/health"): NO_KEY,
}
"""Every route, and what it needs."""
SCHEMAS: Final = {f"/schema/openapi.{ending}" for ending in ("json", "yaml", "yml")}
"""Other forms of `/schema`, which the manual does not list."""


@pytest.fixture(scope="module")
async def shared(
    tmp_path_factory: pytest.TempPathFactory, anyio_backend: object
) -> AsyncIterator[Callers]:
    """One dispatcher for all that leave no trace."""
    assert anyio_backend
    db = tmp_path_factory.mktemp("roles") / "events.db"
    async with running(db, keys=keys_of_all()) as server, callers_of(server) as callers:
        yield callers


def transport_to(app: ASGIApp) -> httpx2.ASGITransport:
    # Both speak ASGI, but Litestar has a type for each message where httpx2 has a mapping.
    return httpx2.ASGITransport(app)  # type: ignore[arg-type]


async def asked(client: httpx2.AsyncClient, method: str, path: str) -> tuple[int, str]:
    """Ask with no body for what is not there; of an answer that goes on for ever, its status."""
    path = path.format(job_id="nothing", engine_id="nobody", file="main.js", name="0" * 64)
    async with client.stream(method, path) as response:
        if response.status_code < 400:
            return response.status_code, ""
        return response.status_code, (await response.aread()).decode()


# Every route


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
async def test_a_route_is_for_its_role_and_for_operators(
    shared: Callers, route: tuple[str, str], role: Role
) -> None:
    needs = ROUTES[route]
    status, text = await asked(shared.of(role), *route)
    has = f"; the key '{NAMES[role]}' has the role '{role}'."
    if isinstance(needs, Role) and role not in {needs, OPERATOR}:
        assert (status, text) == (403, f"Forbidden: this needs the role '{needs}'{has}")
    elif needs == ANY_KEY and role is MONITOR:
        told = "" if route[0] == "HEAD" else f"Forbidden: this needs any role but 'monitor'{has}"
        assert (status, text) == (403, told)
    else:
        assert status not in {401, 403}


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
async def test_without_a_key_a_route_is_nobodys_save_one(
    shared: Callers, route: tuple[str, str]
) -> None:
    async with client_of(shared.server, "") as stranger:
        status, text = await asked(stranger, *route)
    if ROUTES[route] == NO_KEY:
        assert status not in {401, 403}
    else:
        missing = "" if route[0] == "HEAD" else "Unauthorized: Missing 'X-API-Key' header."
        assert (status, text) == (401, missing)


async def test_no_key_is_not_an_empty_key(service: Service, tmp_path: Path) -> None:
    empty = ApiKeys([Key.of("empty", OPERATOR, "")])
    app = create_app(service, empty, Signer.load_or_create(tmp_path / "signing.key"))
    transport = transport_to(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://x") as stranger:
        for headers in ({}, {"X-API-Key": ""}):
            assert (await stranger.get("/jobs", headers=headers)).status_code == 401


@pytest.fixture
async def application(service: Service, tmp_path: Path) -> Litestar:
    signer = Signer.load_or_create(tmp_path / "signing.key")
    return create_routes(service, signer, BODY_LIMIT_BYTES)


def handlers_of(app: Litestar) -> Iterator[tuple[str, str, Any]]:
    """Give each method and path that is served, with its handler."""
    for route in app.routes:
        assert isinstance(route, HTTPRoute), "what is no HTTP route is not looked at here"
        for handler in route.route_handlers:
            for method in handler.http_methods - {"OPTIONS"}:
                yield method, route.path.replace(":str}", "}"), handler


async def test_no_route_forgets_to_say_what_it_needs(application: Litestar) -> None:
    said = {(method, path): h.opt.get("needs") for method, path, h in handlers_of(application)}
    assert said == ROUTES


async def test_every_route_is_checked(application: Litestar) -> None:
    for _, _, handler in handlers_of(application):
        check: Any = handler.resolve_before_request()
        assert getattr(check, "func", check) is check_role


async def test_a_route_that_says_nothing_is_the_operators(service: Service) -> None:
    @get("/forgotten")
    async def forgotten() -> str:
        return "here"

    app = Litestar(
        [forgotten],
        before_request=check_role,
        exception_handlers=HANDLERS,
        logging_config=None,
    )
    transport = transport_to(Front(app, service, keys_of_all(), BODY_LIMIT_BYTES))
    for role, status in ((CLIENT, 403), (ENGINE, 403), (MONITOR, 403), (OPERATOR, 200)):
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://x", headers={"X-API-Key": SECRETS[role]}
        ) as client:
            assert (await client.get("/forgotten")).status_code == status


async def test_the_schema_says_which_routes_a_role_may_be_refused(shared: Callers) -> None:
    schema = (await shared.anna.get("/schema")).json()
    for (method, path), needs in ROUTES.items():
        if not path.startswith("/schema") and method != "HEAD":
            answers = schema["paths"][path][method.lower()]["responses"]
            assert ("403" in answers) == ("401" in answers) == (needs != NO_KEY)


async def test_the_manual_says_what_each_route_needs() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    rows = re.findall(r"^\| `(\w+) (/[^`]*)` \| ([a-z ]+) \|$", manual, re.MULTILINE)
    told = {(method, path): needs for method, path, needs in rows}
    assert told == {route: str(needs) for route, needs in ROUTES.items() if route[1] not in SCHEMAS}


# What comes first


async def test_a_wrong_role_learns_neither_whether_the_body_nor_whether_the_job_is_right(
    shared: Callers,
) -> None:
    job_id = (await shared.anna.post("/jobs", json=JOB)).json()["job_id"]
    for path in (f"/jobs/{job_id}/complete", "/jobs/nothing/complete", "/jobs/%00/fail"):
        for body in (b"", b"{", b"[]", b'{"output_url": "o"}', b"x" * 2_000_000):
            assert (await shared.anna.post(path, content=body)).status_code == 403


async def test_a_route_or_method_that_is_not_there_comes_before_the_role(shared: Callers) -> None:
    for role in Role:
        assert (await asked(shared.of(role), "GET", "/nothing"))[0] == 404
        assert (await asked(shared.of(role), "PUT", "/engines/e/drain"))[0] == 405


async def test_nothing_that_is_refused_to_a_role_leaves_a_trace(shared: Callers) -> None:
    await beat(shared.rack, "e")
    before = done_in(shared.server.db)
    for (method, path), needs in ROUTES.items():
        for role in {CLIENT, ENGINE, MONITOR} - {needs}:
            if isinstance(needs, Role):
                concrete = path.format(job_id="j", engine_id="e", name="0" * 64)
                response = await shared.of(role).request(method, concrete, json={"engine_id": "f"})
                assert response.status_code == 403
    assert done_in(shared.server.db) == before


async def test_where_auth_is_off_anybody_may_do_everything(
    service: Service, tmp_path: Path
) -> None:
    app = create_app(service, None, Signer.load_or_create(tmp_path / "signing.key"))
    transport = transport_to(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://x") as anybody:
        await anybody.post("/engines/heartbeat", json={"engine_id": "e"})
        assert (await anybody.post("/jobs", json=JOB)).status_code == 200
        assert (await anybody.post("/engines/e/drain")).status_code == 200
