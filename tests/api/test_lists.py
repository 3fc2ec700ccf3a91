"""What can be asked of the list of jobs: words, several statuses, a span of time, the newest first.

Each is asked while the jobs are in memory, and when they have left it.
"""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from dispatcher.index.file import index_path
from tests.support.kinds import NAMES, Kinds, kinds_of, made
from tests.support.servers import client_of, running

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=["in memory", "in the index"])
async def farm(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, anyio_backend: object
) -> AsyncIterator[Kinds]:
    assert anyio_backend
    db: Path = tmp_path_factory.mktemp("lists") / "events.db"
    async with running(db) as server, client_of(server) as http:
        ids = await made(http)
        if request.param == "in memory":
            yield await kinds_of(http, ids)
            return
    async with running(db) as server, client_of(server) as http:
        assert index_path(db).exists()
        yield await kinds_of(http, ids)


# Words


@pytest.mark.parametrize(
    ("text", "names"),
    [
        *(("übung", ["done"]), ("%C3%9Cbung", ["done"]), ("ferien ÜBUNG", ["done"])),
        *(("holiday", ["done"]), ("mp4", ["done"]), ("STRASSE", ["failed"])),
        *(("moov", ["failed"]), ("moov farm", ["failed"]), ("moov holiday", [])),
        *(("farm-07", ["done", "failed", "running"]), ("nothing", []), ("http://m/e", ["first"])),
        *(("", list(NAMES)), ("  ", list(NAMES)), ("h264", [])),
    ],
)
async def test_jobs_are_found_by_their_words(farm: Kinds, text: str, names: list[str]) -> None:
    assert await farm.listed(text=text) == names
    assert await farm.listed(text=text, order="newest") == names[::-1]


async def test_a_job_is_found_by_its_id(farm: Kinds) -> None:
    for name, job in farm.jobs.items():
        assert await farm.listed(text=job["job_id"]) == [name]


# Statuses


@pytest.mark.parametrize(
    ("status", "names"),
    [
        ("completed", ["done"]),
        ("completed,cancelled", ["done", "cancelled"]),
        ("cancelled,completed,cancelled", ["done", "cancelled"]),
        ("pending,assigned", ["running", "first", "last"]),
        ("failed_permanently,pending", ["failed", "first", "last"]),
        ("pending,assigned,completed,cancelled,failed_permanently", list(NAMES)),
    ],
)
async def test_several_statuses_are_asked_for_at_once(
    farm: Kinds, status: str, names: list[str]
) -> None:
    assert await farm.listed(status=status) == names
    assert await farm.listed(status=status, order="newest") == names[::-1]


# Time


async def test_a_span_is_of_the_end_of_what_is_finished_and_else_of_the_submission(
    farm: Kinds,
) -> None:
    failed, last = farm.jobs["failed"]["finished_at"], farm.jobs["last"]["submitted_at"]
    assert failed > last
    assert await farm.listed(since=failed) == ["failed", "cancelled"]
    assert await farm.listed(until=failed) == ["done", "running", "first", "last"]
    assert await farm.listed(since=last, until=failed) == ["done", "last"]
    assert await farm.listed(since=failed, until=failed) == []
    assert await farm.listed(since="2020-01-01T00:00:00+01:00") == list(NAMES)


# Order and pages


async def test_the_newest_come_first(farm: Kinds) -> None:
    assert await farm.listed(order="newest") == list(NAMES[::-1])
    assert await farm.listed(order="oldest") == list(NAMES)


@pytest.mark.parametrize("order", ["oldest", "newest"])
@pytest.mark.parametrize("limit", [1, 2, 4, 6, 7])
@pytest.mark.parametrize(
    "filters", [{}, {"text": "farm-07"}, {"status": "completed,pending,cancelled"}], ids=str
)
async def test_pages_lead_from_one_to_the_next(
    farm: Kinds, order: str, limit: int, filters: Mapping[str, str]
) -> None:
    everything = await farm.listed(order=order, **filters)
    found, query = [], {"order": order, "limit": str(limit), **filters}
    while query:
        response = await farm.http.get("/jobs/", params=query)
        page = farm.names_in(response)
        assert len(page) <= limit
        found += page
        link = response.headers.get("Link", "")
        assert (link != "") == (len(found) < len(everything))
        query = dict(parse_qsl(urlsplit(link.partition(">")[0][1:]).query))
    assert found == everything


async def test_a_list_begins_after_a_job_in_its_own_order(farm: Kinds) -> None:
    after = farm.jobs["cancelled"]["job_id"]
    assert await farm.listed(after=after) == ["running", "first", "last"]
    assert await farm.listed(after=after, order="newest") == ["failed", "done"]
    assert await farm.listed(after=after, order="newest", text="farm-07", limit=1) == ["failed"]


# Errors


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("status=", "'status' must be one of "),
        ("status=pending,", "'status' must be one of "),
        ("status=pending,failed", "'status' must be one of "),
        ("status=pending, assigned", "'status' must be one of "),
        ("order=best", "'order' must be 'oldest' or 'newest'."),
        ("since=yesterday", "'since' must be a time of RFC 3339, such as 2026-11-22T09:30:00Z."),
        ("until=5", "'until' must be a time of RFC 3339, such as 2026-11-22T09:30:00Z."),
        ("until=", "'until' must be a time of RFC 3339, such as 2026-11-22T09:30:00Z."),
        (f"text={'x' * 201}", "'text' must be at most 200 characters."),
        ("order=newest&after=nobody", "'after' must be the id of a job."),
    ],
)
async def test_what_can_not_be_asked_is_400(farm: Kinds, query: str, text: str) -> None:
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    response = await farm.http.get("/jobs/", params=parameters)
    assert response.status_code == 400
    assert response.text.startswith(f"Bad Request: {text}")
