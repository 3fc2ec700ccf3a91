"""`POST /jobs/cancel` and `POST /jobs/retry` by filters, and `POST /jobs/{id}/priority`."""

from typing import Any, Final

import httpx2
import pytest

from dispatcher.core.commands import Caller, CancelJob
from dispatcher.log import LogError
from dispatcher.serving import matching
from dispatcher.serving.listing import ListJobs
from dispatcher.serving.matching import carry_out
from dispatcher.serving.service import Service
from projections.filters import JobFilter
from tests.support.farm import assigned, beat, happened, job_shown, submitted
from tests.support.in_flight import asking, submit
from tests.support.servers import Running
from tests.support.watched_log import DISK_FULL, WatchedLog

pytestmark = pytest.mark.anyio

NEEDS_A_FILTER: Final = (
    "it needs one of 'codec', 'engine', 'parent', 'since', 'status', 'text', 'until', not to be "
    "for every job."
)
NO_SUCH_PARAMETER: Final = (
    "there is no parameter 'codc' here, only after, codec, dry_run, engine, limit, order, parent, "
    "since, status, text, until."
)


@pytest.fixture
async def jobs(client: httpx2.AsyncClient) -> dict[str, str]:
    """One job of each kind: failed, cancelled, waiting, assigned, completed."""
    made = {}
    for name in ("failed", "other codec", "cancelled", "completed", "assigned", "waiting"):
        codec = "vp9" if name == "other codec" else "h264"
        made[name] = await submitted(client, source_url=name, target_codec=codec, max_retries=1)
    for name in ("failed", "other codec"):
        await client.post(f"/jobs/{made[name]}/fail", json={"error_message": "broke"})
    await client.delete(f"/jobs/{made['cancelled']}")
    await client.post(f"/jobs/{made['completed']}/complete", json={"output_url": "o"})
    await beat(client, "e")
    assert (await assigned(client, "e"))["job_id"] == made["assigned"]
    return made


async def statuses(client: httpx2.AsyncClient) -> list[str]:
    return [job["status"] for job in (await client.get("/jobs/")).json()]


async def told(client: httpx2.AsyncClient, path: str) -> dict[str, Any]:
    response = await client.post(path)
    assert response.status_code == 200, response.text
    counted: dict[str, Any] = response.json()
    return counted


async def test_a_count_comes_first_and_changes_nothing(
    client: httpx2.AsyncClient, server: Running, jobs: dict[str, str]
) -> None:
    assert jobs
    before = happened(server)
    for query, count in (
        ("status=failed_permanently", 2),
        ("codec=vp9", 1),
        ("codec=h264", 5),
        ("engine=e", 1),
        ("engine=nobody", 0),
        ("status=failed_permanently&codec=h264", 1),
        ("codec=h264&limit=2", 2),
        (f"codec=h264&after={jobs['completed']}", 2),
    ):
        for action in ("retry", "cancel"):
            assert await told(client, f"/jobs/{action}?{query}&dry_run=true") == {"count": count}
    assert happened(server) == before


async def test_all_jobs_that_failed_are_put_back(
    client: httpx2.AsyncClient, jobs: dict[str, str]
) -> None:
    answer = await told(client, "/jobs/retry?status=failed_permanently")
    assert answer == {"count": 2, "done": 2, "not_done": 0, "reasons": {}}
    assert (await job_shown(client, jobs["failed"]))["status"] == "pending"
    assert (await job_shown(client, jobs["cancelled"]))["status"] == "cancelled"
    assert await told(client, "/jobs/retry?status=failed_permanently") == {
        "count": 0,
        "done": 0,
        "not_done": 0,
        "reasons": {},
    }


async def test_what_can_not_be_done_is_counted_by_its_reason(
    client: httpx2.AsyncClient, jobs: dict[str, str]
) -> None:
    assert jobs
    assert await told(client, "/jobs/cancel?codec=h264") == {
        "count": 5,
        "done": 3,  # to cancel what is cancelled is granted
        "not_done": 2,
        "reasons": {"Bad Request: Job is already in a final state.": 2},
    }
    assert await statuses(client) == [
        *("failed_permanently", "failed_permanently", "cancelled", "completed"),
        *("cancelled", "cancelled"),
    ]


async def test_more_jobs_than_fit_in_one_step_are_all_done(
    client: httpx2.AsyncClient, server: Running
) -> None:
    line = b'{"source_url": "u", "target_codec": "h264"}'
    await client.post("/jobs/batch", content=b"\n".join([line] * 1_234))
    answer = await told(client, "/jobs/cancel?status=pending")
    assert (answer["count"], answer["done"]) == (1_234, 1_234)
    assert set(await statuses(client)) == {"cancelled"}
    assert happened(server).count("job_cancelled") == 1_234


@pytest.mark.parametrize("action", ["retry", "cancel"])
@pytest.mark.parametrize(
    ("query", "text"),
    [
        (
            "",
            NEEDS_A_FILTER,
        ),
        (
            "?limit=5",
            NEEDS_A_FILTER,
        ),
        (
            "?dry_run=true",
            NEEDS_A_FILTER,
        ),
        (
            "?status=pending&codc=h264",
            NO_SUCH_PARAMETER,
        ),
        ("?status=pending&dry_run=1", "'dry_run' must be 'true' or 'false'."),
        ("?codec=h264&limit=0", "'limit' must be a positive integer."),
        ("?codec=h264&after=nothing", "'after' must be the id of a job."),
    ],
)
async def test_without_a_filter_or_with_one_that_is_wrong_nothing_is_done(
    client: httpx2.AsyncClient, server: Running, action: str, query: str, text: str
) -> None:
    await submitted(client)
    response = await client.post(f"/jobs/{action}{query}")
    assert (response.status_code, response.text) == (400, f"Bad Request: {text}")
    assert happened(server) == ["job_submitted"]


async def test_a_wrong_status_is_400(client: httpx2.AsyncClient) -> None:
    response = await client.post("/jobs/cancel?status=failed")
    assert response.status_code == 400
    assert response.text.startswith("Bad Request: 'status' must be one of ")


async def test_a_job_that_changed_meanwhile_is_left_alone(service: Service) -> None:
    await asking(service, submit("a"))
    await asking(service, submit("b"))
    view = ListJobs(JobFilter(frozenset({"pending"})))
    found = await matching.matching(service, view)
    await asking(service, CancelJob("a"))
    done, reasons, _ = await carry_out(service, view, found, CancelJob, Caller("c"))
    assert (done, reasons) == (1, {matching.CHANGED: 1})


async def test_a_log_that_fails_in_the_middle_is_told_with_what_was_done(
    service: Service, log: WatchedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "PART", 1)
    for name in ("a", "b", "c"):
        await asking(service, submit(name))
    view = ListJobs(JobFilter(codec="h264"))
    found = await matching.matching(service, view)
    append = log.append

    async def append_and_fail_next(*batch: Any, **more: Any) -> None:
        await append(*batch, **more)
        log.append_faults = [LogError(DISK_FULL)]

    monkeypatch.setattr(log, "append", append_and_fail_next)
    done, _, fault = await carry_out(service, view, found, CancelJob, Caller("c"))
    assert (done, fault) == (1, DISK_FULL)


# Priority


async def test_a_waiting_job_is_given_another_priority_and_place(
    client: httpx2.AsyncClient, server: Running
) -> None:
    first, second = await submitted(client), await submitted(client)
    response = await client.post(f"/jobs/{second}/priority", json={"priority": 7})
    assert (response.status_code, response.text) == (200, f"Job {second} has priority 7")
    assert (await job_shown(client, second))["priority"] == 7
    again = await client.post(f"/jobs/{second}/priority", json={"priority": 7})
    assert again.status_code == 200
    assert happened(server) == ["job_submitted", "job_submitted", "job_reprioritized"]
    await beat(client, "e")
    assert (await assigned(client, "e"))["job_id"] == second
    assert (await job_shown(client, first))["status"] == "pending"


@pytest.mark.parametrize("name", ["assigned", "completed", "failed", "cancelled"])
async def test_a_job_that_does_not_wait_keeps_its_priority(
    client: httpx2.AsyncClient, server: Running, jobs: dict[str, str], name: str
) -> None:
    before, job_id = happened(server), jobs[name]
    response = await client.post(f"/jobs/{job_id}/priority", json={"priority": 7})
    status = "failed permanently" if name == "failed" else name
    why = f"Conflict: job {job_id} is {status}, and only one that waits has a priority."
    assert (response.status_code, response.text) == (409, why)
    assert happened(server) == before


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "'priority' is missing."),
        ({"priority": "5"}, "'priority' must be an integer."),
        ({"priority": True}, "'priority' must be an integer."),
        ({"priority": -1}, "'priority' must be a non-negative integer."),
        ({"priority": 101}, "'priority' must be at most 100."),
        ([], "'priority' is missing."),
    ],
)
async def test_a_priority_that_is_none_is_400(
    client: httpx2.AsyncClient, body: object, text: str
) -> None:
    job_id = await submitted(client)
    response = await client.post(f"/jobs/{job_id}/priority", json=body)
    assert (response.status_code, response.text) == (400, f"Bad Request: {text}")


async def test_there_must_be_such_a_job(client: httpx2.AsyncClient) -> None:
    response = await client.post("/jobs/nothing/priority", json={"priority": 1})
    assert (response.status_code, response.text) == (404, "Job not found")


async def test_the_first_answer_comes_again_with_the_first_priority(
    client: httpx2.AsyncClient,
) -> None:
    body = {"source_url": "u", "target_codec": "h264", "priority": 3}
    key = {"Idempotency-Key": "k"}
    first = await client.post("/jobs/", json=body, headers=key)
    await client.post(f"/jobs/{first.json()['job_id']}/priority", json={"priority": 50})
    assert (await client.post("/jobs/", json=body, headers=key)).content == first.content
    batch = await client.post("/jobs/batch", json=[body | {"idempotency_key": "k"}])
    (line,) = batch.json()
    assert (line["status"], line["job"]) == (200, first.json())
