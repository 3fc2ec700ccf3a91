"""`/schema` says what is really served, and what is really answered."""

from typing import Any, Final

import httpx2
import pytest

pytestmark = pytest.mark.anyio

JSON: Final = "application/json"
TEXT: Final = "text/plain"
FILE: Final = "application/octet-stream"
EVENTS: Final = "text/event-stream"
KEYED: Final = {"400": TEXT, "401": TEXT, "403": TEXT}
NO_BODY: Final = {**KEYED, "503": TEXT}
BODY: Final = {**NO_BODY, "413": TEXT}
AS_OF: Final = {"429": TEXT, "503": TEXT}
TRANSFER: Final = {
    **KEYED,
    **dict.fromkeys(("404", "408", "411", "413", "429", "503", "507"), TEXT),
}
RANGED: Final = {"416": TEXT, "429": TEXT}

OPERATIONS: Final[dict[tuple[str, str], dict[str, str | None]]] = {
    ("post", "/jobs"): {"200": JSON, "409": TEXT, **BODY},
    ("get", "/jobs"): {"200": JSON, **KEYED, **AS_OF},
    ("get", "/jobs/ids"): {"200": JSON, **KEYED, "503": TEXT},
    ("get", "/jobs/{job_id}"): {"200": JSON, "404": TEXT, **KEYED, **AS_OF},
    ("delete", "/jobs/{job_id}"): {"200": TEXT, "404": TEXT, **NO_BODY},
    ("get", "/jobs/{job_id}/why"): {"200": JSON, "404": TEXT, **KEYED, **AS_OF},
    ("post", "/jobs/{job_id}/retry"): {"200": TEXT, "404": TEXT, **NO_BODY},
    ("post", "/jobs/{job_id}/priority"): {"200": TEXT, "404": TEXT, "409": TEXT, **BODY},
    ("get", "/metrics"): {"200": TEXT, **KEYED},
    ("get", "/webhooks"): {"200": JSON, **KEYED},
    ("post", "/webhooks/{name}/retry"): {"200": TEXT, "404": TEXT, **KEYED},
    ("post", "/reload"): {"200": TEXT, "409": TEXT, **KEYED},
    ("post", "/jobs/batch"): {"200": JSON, "409": JSON, "429": TEXT, **BODY},
    ("post", "/jobs/cancel"): {"200": JSON, "429": TEXT, **NO_BODY},
    ("post", "/jobs/retry"): {"200": JSON, "429": TEXT, **NO_BODY},
    ("post", "/jobs/priority"): {"200": JSON, "429": TEXT, **BODY},
    ("post", "/jobs/{job_id}/complete"): {"200": TEXT, "404": TEXT, "409": TEXT, **BODY},
    ("post", "/jobs/{job_id}/fail"): {"200": TEXT, "404": TEXT, "409": TEXT, **BODY},
    ("post", "/jobs/{job_id}/split"): {"200": TEXT, "404": TEXT, "409": TEXT, **BODY},
    ("post", "/assign_job"): {
        "200": JSON,
        "204": None,
        "404": TEXT,
        "409": TEXT,
        "429": TEXT,
        **BODY,
    },
    ("post", "/engines/heartbeat"): {"200": TEXT, "409": TEXT, **BODY},
    ("get", "/engines"): {"200": JSON, **KEYED, **AS_OF},
    ("delete", "/engines/{engine_id}"): {"200": TEXT, "404": TEXT, **NO_BODY},
    ("post", "/engines/{engine_id}/drain"): {"200": TEXT, "404": TEXT, **NO_BODY},
    ("post", "/engines/{engine_id}/resume"): {"200": TEXT, "404": TEXT, **NO_BODY},
    ("post", "/engines/benchmark_result"): {"200": TEXT, "404": TEXT, **BODY},
    ("get", "/jobs/{job_id}/events"): {"200": JSON, "404": TEXT, **KEYED, **AS_OF},
    ("get", "/engines/{engine_id}/events"): {"200": JSON, "404": TEXT, **KEYED, **AS_OF},
    ("get", "/events"): {"200": JSON, **KEYED, "429": TEXT, "503": TEXT},
    ("get", "/events/stream"): {"200": EVENTS, **KEYED, **AS_OF},
    ("get", "/recipes"): {"200": JSON, **KEYED},
    ("get", "/statistics/now"): {"200": JSON, **KEYED, **AS_OF},
    ("get", "/statistics/series"): {"200": JSON, **KEYED, **AS_OF},
    ("get", "/statistics/speeds"): {"200": JSON, **KEYED, **AS_OF},
    ("get", "/statistics/forecast"): {"200": JSON, **KEYED, **AS_OF},
    ("get", "/store"): {"200": JSON, **KEYED},
    ("post", "/store"): {"201": JSON, "202": JSON, **TRANSFER},
    ("put", "/store/{name}"): {"200": JSON, "201": JSON, "202": None, "409": TEXT, **TRANSFER},
    ("head", "/store/{name}"): {"200": None, "204": None, "404": None, "429": None, **KEYED},
    ("get", "/store/{name}"): {
        "200": FILE,
        "206": FILE,
        "307": None,
        "404": TEXT,
        "503": TEXT,
        **RANGED,
        **KEYED,
    },
    ("get", "/jobs/{job_id}/output"): {
        "200": FILE,
        "206": FILE,
        "307": None,
        "404": TEXT,
        "409": TEXT,
        "503": TEXT,
        **RANGED,
        **KEYED,
    },
    ("head", "/jobs/{job_id}/output"): {
        "200": None,
        "404": None,
        "409": None,
        "503": None,
        **KEYED,
    },
    ("get", "/log/checkpoint"): {"200": TEXT, **KEYED},
    ("get", "/log/key"): {"200": TEXT, **KEYED},
    ("get", "/log/proof"): {"200": JSON, **KEYED, "503": TEXT},
    ("get", "/log/consistency"): {"200": JSON, **KEYED, "503": TEXT},
    ("get", "/key"): {"200": JSON, **KEYED},
    ("post", "/sign_in"): {"200": JSON, **KEYED},
    ("post", "/sign_in/redeem"): {"200": JSON, "400": TEXT, "404": TEXT, "413": TEXT},
    ("get", "/"): {"200": TEXT, "400": TEXT},
    ("get", "/board/{file}"): {"200": TEXT, "404": TEXT, "400": TEXT},
    ("get", "/health"): {"200": JSON, "400": TEXT, "503": JSON},
}
"""Every route, and every status that the tests over HTTP get out of it."""


async def described(client: httpx2.AsyncClient) -> dict[tuple[str, str], dict[str, Any]]:
    paths = (await client.get("/schema")).json()["paths"]
    return {(m, path): op for path, methods in paths.items() for m, op in methods.items()}


async def test_the_schema_lists_exactly_the_routes_that_are_served(
    shared_client: httpx2.AsyncClient,
) -> None:
    assert set(await described(shared_client)) == set(OPERATIONS)


@pytest.mark.parametrize("route", OPERATIONS)
async def test_a_route_is_described_with_the_statuses_that_it_answers(
    shared_client: httpx2.AsyncClient, route: tuple[str, str]
) -> None:
    responses = (await described(shared_client))[route]["responses"]
    told = {
        status: next(iter(answer.get("content") or {}), None)
        for status, answer in responses.items()
    }
    assert told == OPERATIONS[route]


async def test_what_the_schema_lists_is_served_and_no_other_method_is(
    shared_client: httpx2.AsyncClient,
) -> None:
    for path in {path for _, path in OPERATIONS}:
        for method in ("get", "post", "put", "patch", "delete"):
            async with shared_client.stream(method, path, content=b"not json") as response:
                assert (response.status_code == 405) == ((method, path) not in OPERATIONS)
                if response.status_code == 404:
                    assert not (await response.aread()).startswith(b"Not Found: there is no")


@pytest.mark.parametrize("path", ["/schema", "/schema/", "/schema/openapi.json"])
async def test_the_schema_is_json_behind_the_key(
    shared_client: httpx2.AsyncClient, path: str
) -> None:
    schema = (await shared_client.get(path)).json()
    assert schema["components"]["securitySchemes"]["api_key"]["name"] == "X-API-Key"
    assert schema["security"] == [{"api_key": []}]
    assert (await shared_client.get(path, headers={"X-API-Key": ""})).status_code == 401


async def test_the_answers_have_the_fields_that_the_schema_names(
    shared_client: httpx2.AsyncClient,
) -> None:
    schemas = (await shared_client.get("/schema")).json()["components"]["schemas"]
    assert set(schemas["BatchLine"]["properties"]) == {"status", "job", "error", "warning"}
    assert set(schemas["Count"]["properties"]) == {"count", "done", "not_done", "reasons"}
    job = (await shared_client.post("/jobs", json={"source_url": "u", "target_codec": "c"})).json()
    await shared_client.post("/engines/heartbeat", json={"engine_id": "e"})
    (engine,) = (await shared_client.get("/engines")).json()
    health = (await shared_client.get("/health")).json()
    not_always = {"recipe", "output_name", "result", "parent", "part", "parts", "whole", "after"}
    not_always |= {"tags", "callback_url"}
    assert set(schemas["JobView"]["properties"]) == set(job) | not_always
    assert not_always.isdisjoint(job)
    assert set(schemas["EngineFields"]["properties"]) == set(engine)
    assert set(schemas["Health"]["properties"]) == set(health)
