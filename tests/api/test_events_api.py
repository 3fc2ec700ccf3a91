"""The routes of events: each shows the log's own lines, all of them and in order."""

import asyncio
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
import pytest

from dispatcher.client import Client, RequestRefusedError
from dispatcher.log import serialization
from dispatcher.log.serialization import NAMES
from dispatcher.log.sqlite import SqliteLog
from dispatcher.serving.keys import ApiKeys, Key, Role
from tests.support.farm import assigned, beat, submitted
from tests.support.flood import flood
from tests.support.servers import ACTOR, KEY, Running, client_of, running

pytestmark = pytest.mark.anyio

ROUTES: Final = ["/jobs/{job}/events", "/engines/busy/events", "/events"]
TYPES: Final = ", ".join(map(repr, sorted(NAMES.values())))


async def lines_in(db: Path, *seqs: int) -> list[str]:
    """Give the lines of events, read past the dispatcher; of all of them if none are named."""
    async with await SqliteLog.open_for_reading(db) as log:
        entries = await log.page(0, 100_000)
    return [
        serialization.line(entry).decode() for entry in entries if not seqs or entry.seq in seqs
    ]


async def shown(client: httpx2.AsyncClient, path: str, **query: Any) -> list[str]:
    """Ask for events, and give them as they came."""
    response = await client.get(path, params=query)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    return [bytes(one).decode() for one in msgspec.json.decode(response.content, type=Raws)]


Raws = list[msgspec.Raw]


def array_of(lines: list[str]) -> str:
    return f"[{','.join(lines)}]"


async def a_late_answer(client: httpx2.AsyncClient) -> str:
    """Have a job fail on one engine and be done by another, while the first answers too late.

    Gives the job's id. Its events are 3, 4, 5, 7, 8 and 9; those of `busy` 1, 4, 5 and 8.
    """
    await beat(client, "busy")
    await beat(client, "other")
    job_id = await submitted(client)
    await assigned(client, "busy")
    failure = {"error_message": "broke", "engine_id": "busy", "attempt": 1}
    assert (await client.post(f"/jobs/{job_id}/fail", json=failure)).status_code == 200
    await submitted(client)
    await assigned(client, "other")
    late = {"output_url": "late", "engine_id": "busy", "attempt": 1}
    assert (await client.post(f"/jobs/{job_id}/complete", json=late)).status_code == 409
    done = {"output_url": "done", "engine_id": "other", "attempt": 2}
    assert (await client.post(f"/jobs/{job_id}/complete", json=done)).status_code == 200
    return job_id


async def test_a_job_shows_all_its_events_as_they_stand_in_the_log(
    client: httpx2.AsyncClient, server: Running
) -> None:
    job_id = await a_late_answer(client)
    response = await client.get(f"/jobs/{job_id}/events")
    assert response.text == array_of(await lines_in(server.db, 3, 4, 5, 7, 8, 9))
    assert response.headers["X-Dispatcher-Seq"] == "9"
    events = response.json()
    assert [event["type"] for event in events] == [
        "job_submitted",
        "job_assigned",
        "job_requeued",
        "job_assigned",
        "answer_refused",
        "job_completed",
    ]
    assert {event["job_id"] for event in events} == {job_id}
    assert {event["actor"] for event in events} == {ACTOR}
    assert (events[4]["engine_id"], events[4]["attempt"], events[4]["answer"]) == (
        "busy",
        1,
        "complete",
    )


async def test_an_event_says_which_request_caused_it(client: httpx2.AsyncClient) -> None:
    await client.post("/engines/heartbeat", json={"engine_id": "e"}, headers={"X-Request-ID": "r"})
    (event,) = (await client.get("/engines/e/events")).json()
    assert list(event) == [
        *("seq", "time", "type", "version", "actor", "request_id"),
        *("engine_id", "report"),
    ]
    assert event["request_id"] == "r"


async def test_an_engine_shows_all_its_events_also_when_it_is_forgotten(
    client: httpx2.AsyncClient, server: Running
) -> None:
    await a_late_answer(client)
    assert await shown(client, "/engines/busy/events") == await lines_in(server.db, 1, 4, 5, 8)
    assert (await client.delete("/engines/busy")).status_code == 200
    after = await lines_in(server.db, 1, 4, 5, 8, 10)
    assert await shown(client, "/engines/busy/events") == after


async def test_all_events_are_listed_by_page(client: httpx2.AsyncClient, server: Running) -> None:
    await a_late_answer(client)
    found: list[str] = []
    path: str | None = "/events?limit=4"
    sizes = []
    while path is not None:
        response = await client.get(path)
        page = [bytes(one).decode() for one in msgspec.json.decode(response.content, type=Raws)]
        sizes.append(len(page))
        found += page
        path = response.links["next"]["url"] if "next" in response.links else None
    assert sizes == [4, 4, 1]
    assert found == await lines_in(server.db)


async def test_a_page_that_ends_with_the_log_leads_nowhere(client: httpx2.AsyncClient) -> None:
    await a_late_answer(client)
    assert "Link" not in (await client.get("/events?limit=9")).headers
    assert "Link" not in (await client.get("/events?after=9")).headers
    assert "Link" in (await client.get("/events?limit=8")).headers


async def test_a_page_of_a_filter_leads_to_the_next_with_the_same_filter(
    client: httpx2.AsyncClient,
) -> None:
    await a_late_answer(client)
    response = await client.get("/events?type=job_assigned&engine=busy&limit=1")
    assert [event["seq"] for event in response.json()] == [4]
    assert "next" not in response.links
    response = await client.get("/events?engine=busy&limit=2")
    link = "/events?engine=busy&limit=2&after=4"
    assert response.links["next"]["url"] == link
    assert [event["seq"] for event in (await client.get(link)).json()] == [5, 8]


@pytest.mark.parametrize(
    ("query", "seqs"),
    [
        ({"type": "job_assigned"}, [4, 7]),
        ({"engine": "busy"}, [1, 4, 5, 8]),
        ({"engine": "busy", "after": 4}, [5, 8]),
        ({"engine": "busy", "type": "answer_refused"}, [8]),
        ({"engine": "busy", "limit": 2}, [1, 4]),
        ({"after": 7}, [8, 9]),
        ({"after": 99}, []),
        ({"engine": "nobody"}, []),
        ({"type": "job_cancelled"}, []),
        ({"unknown": "parameter", "after": 8}, [9]),
    ],
)
async def test_events_are_filtered(
    client: httpx2.AsyncClient, query: dict[str, Any], seqs: list[int]
) -> None:
    await a_late_answer(client)
    assert [event["seq"] for event in (await client.get("/events", params=query)).json()] == seqs


async def test_a_history_is_cut_as_asked_for(client: httpx2.AsyncClient) -> None:
    job_id = await a_late_answer(client)
    for query, seqs in (
        ("job=other", [3, 4, 5, 7, 8, 9]),
        ("after=4&limit=2", [5, 7]),
        ("type=job_assigned", [4, 7]),
        ("type=job_assigned&limit=1", [4]),
        ("as_of=5", [3, 4, 5]),
        ("as_of=5&after=3", [4, 5]),
        ("after=100", []),
    ):
        response = await client.get(f"/jobs/{job_id}/events?{query}")
        assert [event["seq"] for event in response.json()] == seqs, query
    response = await client.get("/engines/busy/events?as_of=7&after=1")
    assert [event["seq"] for event in response.json()] == [4, 5]
    assert response.headers["X-Dispatcher-Seq"] == "7"


async def test_job_and_engine_together_are_what_concerns_both(client: httpx2.AsyncClient) -> None:
    job_id = await a_late_answer(client)
    query = {"job": job_id, "engine": "busy"}
    assert [e["seq"] for e in (await client.get("/events", params=query)).json()] == [4, 5, 8]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/jobs/nope/events", "Job not found"),
        ("/engines/nope/events", "Engine not found"),
        ("/jobs/{job}/events?as_of=2", "Job not found"),
        ("/engines/busy/events?as_of=0", "Engine not found"),
    ],
)
async def test_what_was_never_heard_of_has_no_history(
    client: httpx2.AsyncClient, path: str, text: str
) -> None:
    job_id = await a_late_answer(client)
    response = await client.get(path.format(job=job_id))
    assert (response.status_code, response.text) == (404, text)


@pytest.mark.parametrize("route", [*ROUTES, "/events/stream"])
async def test_a_query_that_breaks_a_rule_is_told_which(
    client: httpx2.AsyncClient, route: str
) -> None:
    job_id = await submitted(client)
    await beat(client, "busy")
    for query, rule in (
        ("after=x", "'after' must be an integer."),
        ("after=1.0", "'after' must be an integer."),
        ("after=", "'after' must be an integer."),
        ("after=9223372036854775808", "'after' must be an integer."),
        ("after=-1", "'after' must be a non-negative integer."),
        ("type=job", f"'type' must be one of {TYPES}."),
        ("type=", f"'type' must be one of {TYPES}."),
    ):
        response = await client.get(f"{route.format(job=job_id)}?{query}")
        assert (response.status_code, response.text) == (400, f"Bad Request: {rule}")


@pytest.mark.parametrize("route", ROUTES)
async def test_a_limit_is_a_positive_integer(client: httpx2.AsyncClient, route: str) -> None:
    job_id = await submitted(client)
    await beat(client, "busy")
    for limit, rule in (
        ("x", "must be an integer."),
        ("0", "must be a positive integer."),
        ("-1", "must be a positive integer."),
    ):
        response = await client.get(f"{route.format(job=job_id)}?limit={limit}")
        assert (response.status_code, response.text) == (400, f"Bad Request: 'limit' {rule}")


async def test_a_page_has_an_end(client: httpx2.AsyncClient) -> None:
    response = await client.get("/events?limit=10001")
    assert response.status_code == 400
    assert response.text == "Bad Request: 'limit' must be at most 10000."
    assert (await client.get("/events?limit=10000")).status_code == 200


async def test_a_long_history_comes_whole_and_holds_nobody_up(
    client: httpx2.AsyncClient, server: Running
) -> None:
    await flood(server, 2500)
    history = asyncio.create_task(shown(client, "/engines/busy/events"))
    await beat(client, "another")
    found = await history
    assert found == (await lines_in(server.db))[:2500]
    assert len(await shown(client, "/events")) == 1_000  # without a limit, too, there is one
    assert await shown(client, "/events", limit=10_000) == await lines_in(server.db)


async def test_a_log_without_events_shows_none(client: httpx2.AsyncClient) -> None:
    response = await client.get("/events")
    assert (response.status_code, response.text) == (200, "[]")


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.CLIENT, [200, 200, 200, 400]),
        (Role.ENGINE, [403, 403, 403, 403]),
        (Role.OPERATOR, [200, 200, 200, 400]),
    ],
)
async def test_events_are_for_clients_and_operators_and_not_for_engines(
    db: Path, role: Role, may: list[int]
) -> None:
    keys = ApiKeys([Key.of("op", Role.OPERATOR, KEY), Key.of("one", role, "of a role")])
    async with running(db, keys=keys) as server, client_of(server) as operator:
        job_id = await submitted(operator)
        await beat(operator, "e")
        async with client_of(server, "of a role") as client:
            paths = [
                *(f"/jobs/{job_id}/events", "/engines/e/events", "/events"),
                "/events/stream?after=99",  # what may be asked for is looked at afterwards
            ]
            assert [(await client.get(path)).status_code for path in paths] == may


async def test_the_client_gives_events_that_have_the_same_lines(
    client: httpx2.AsyncClient, server: Running, dispatcher: Client
) -> None:
    job_id = await a_late_answer(client)
    everything = [serialization.line(entry).decode() for entry in await dispatcher.events()]
    assert everything == await lines_in(server.db)
    page = await dispatcher.events(after=3, limit=2, event_type="job_assigned", job=job_id)
    assert [entry.seq for entry in page] == [4, 7]
    assert [e.seq for e in await dispatcher.events(engine="busy", after=1)] == [4, 5, 8]
    assert [e.seq for e in await dispatcher.job_events(job_id)] == [3, 4, 5, 7, 8, 9]
    assert [e.seq for e in await dispatcher.engine_events("busy")] == [1, 4, 5, 8]
    with pytest.raises(RequestRefusedError, match="Job not found"):
        await dispatcher.job_events("nope")
