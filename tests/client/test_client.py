"""The client: one method a route, typed results."""

from datetime import UTC
from typing import Final

import pytest

from dispatcher.client import Client
from projections.engines import EngineView
from projections.jobs import JobView
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.servers import KEY, Running

pytestmark = pytest.mark.anyio

SOURCE: Final = "http://media/in.mp4"
OUTPUT: Final = "http://media/out.mp4"


async def test_a_submitted_job_comes_back_typed(dispatcher: Client) -> None:
    job = await dispatcher.submit(SOURCE, "vp9", job_size=12.5, max_retries=7)
    assert isinstance(job, JobView)
    assert (job.source_url, job.target_codec) == (SOURCE, "vp9")
    assert (job.job_size, job.max_retries, job.retries) == (12.5, 7, 0)
    assert (job.status, job.final, job.attempt) == ("pending", False, 0)
    assert job.submitted_at is not None
    assert job.submitted_at.tzinfo == UTC


async def test_jobs_are_found_by_id_and_listed_in_order(dispatcher: Client) -> None:
    submitted = [await dispatcher.submit(SOURCE, codec) for codec in ("h264", "vp9", "av1")]
    assert await dispatcher.jobs() == submitted
    assert await dispatcher.job(submitted[1].job_id) == submitted[1]


async def test_engines_come_back_typed_with_all_that_they_report(dispatcher: Client) -> None:
    await dispatcher.heartbeat("bare")
    report = {"supported_codecs": ["h264"], "streaming_support": True, "hostname": "rack-1"}
    await dispatcher.heartbeat("full", report)
    await dispatcher.benchmark_result("full", 1.5)
    bare, full = await dispatcher.engines()
    assert bare.last_seen is not None
    assert full.last_seen is not None
    assert bare.last_seen.tzinfo == UTC
    assert bare == EngineView("bare", online=True, last_seen=bare.last_seen)
    assert full == EngineView(
        "full",
        supported_codecs=["h264"],
        streaming_support=True,
        benchmark_time=1.5,
        last_seen=full.last_seen,
        more={"hostname": "rack-1"},
    )


async def test_an_engine_gets_a_job_and_completes_it(dispatcher: Client) -> None:
    submitted = await dispatcher.submit(SOURCE, "h264")
    await dispatcher.heartbeat("e")
    assigned = await dispatcher.assign("e")
    assert assigned is not None
    assert (assigned.job_id, assigned.status) == (submitted.job_id, "assigned")
    assert (assigned.assigned_engine, assigned.attempt) == ("e", 1)
    await dispatcher.complete(assigned.job_id, OUTPUT)
    completed = await dispatcher.job(assigned.job_id)
    assert (completed.status, completed.output_url, completed.final) == ("completed", OUTPUT, True)
    assert completed.finished_at is not None


async def test_no_job_is_none(dispatcher: Client) -> None:
    await dispatcher.heartbeat("e")
    assert await dispatcher.assign("e") is None
    assert await dispatcher.assign() is None


async def test_anybody_may_ask_on_behalf_of_the_farm(dispatcher: Client) -> None:
    await dispatcher.submit(SOURCE, "h264")
    await dispatcher.heartbeat("e", {"benchmark_time": 1.0})
    assigned = await dispatcher.assign()
    assert assigned is not None
    assert assigned.assigned_engine == "e"


async def test_a_held_job_is_told_again_only_to_who_resumes(dispatcher: Client) -> None:
    submitted = await dispatcher.submit(SOURCE, "h264")
    await dispatcher.heartbeat("e")
    await dispatcher.assign("e")
    assert await dispatcher.assign("e") is None
    resumed = await dispatcher.assign("e", resume=True)
    assert resumed is not None
    assert (resumed.job_id, resumed.attempt) == (submitted.job_id, 1)


async def test_a_failure_gives_the_verdict(dispatcher: Client) -> None:
    job_id = (await dispatcher.submit(SOURCE, "h264", max_retries=2)).job_id
    assert await dispatcher.fail(job_id, "broke") == f"Job {job_id} re-queued"
    assert await dispatcher.fail(job_id, "broke\nagain") == f"Job {job_id} failed permanently"
    assert (await dispatcher.job(job_id)).error_message == "broke\nagain"


async def test_a_slash_at_the_end_of_the_server_does_no_harm(server: Running) -> None:
    async with Client(f"{server.url}/", KEY) as client:
        assert await client.jobs() == []
