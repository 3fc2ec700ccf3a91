"""The commands that steer: why, cancel, retry, drain, resume, forget, and a job's priority."""

import asyncio
from pathlib import Path
from typing import Final

import pytest

from dispatcher.client import Client
from tests.support.commands import command
from tests.support.servers import Running
from tests.support.terminals import Terminal

pytestmark = pytest.mark.anyio

SOURCE: Final = "http://media/in.mp4"


async def test_submit_takes_a_priority(dispatcher: Client, server: Running, tmp_path: Path) -> None:
    arguments = ("submit", SOURCE, "--codec", "h264", "--priority", "70")
    assert (await command(tmp_path, *arguments, server=server.url)).status == 0
    assert [job.priority for job in await dispatcher.jobs()] == [70]


@pytest.mark.parametrize("priority", ["-1", "101", "high"])
async def test_a_priority_out_of_range_exits_with_2(priority: str, tmp_path: Path) -> None:
    arguments = ("submit", SOURCE, "--codec", "h264", "--priority", priority)
    done = await command(tmp_path, *arguments, server="http://127.0.0.1:1")
    assert (done.status, done.out) == (2, "")


async def test_why_tells_what_stands_in_the_way_of_a_pending_job(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    await dispatcher.heartbeat("other-codec", {"supported_codecs": ["vp9"]})
    await dispatcher.heartbeat("tired")
    await dispatcher.drain_engine("tired")
    job_id = (await dispatcher.submit(SOURCE, "h264")).job_id
    done = await command(tmp_path, "why", job_id, server=server.url)
    told = await dispatcher.why(job_id)
    assert (done.status, done.err) == (0, "")
    first, *engines = done.out.splitlines()
    assert first == f"Job {job_id} is pending: {told.because}."
    assert engines == [f"  {one.engine_id}: {one.because}" for one in told.engines]
    assert [one.obstacle for one in told.engines] == ["codec", "drained"]


async def test_why_tells_the_rule_that_chose_an_engine(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    for engine_id, seconds in (("quick", 1.0), ("slow", 9.0)):
        await dispatcher.heartbeat(engine_id, {"benchmark_time": seconds})
    job_id = (await dispatcher.submit(SOURCE, "h264", job_size=10)).job_id
    assert await dispatcher.assign() is not None
    told = await dispatcher.why(job_id)
    done = await command(tmp_path, "why", job_id, server=server.url)
    assert done.status == 0
    assert f"Engine {told.engine_id} was chosen by the rule '{told.rule}'." in done.out
    others = sorted({"quick", "slow"} - {told.engine_id})
    assert f"Others that could have had it: {', '.join(others)}." in done.out


async def test_why_as_json_is_what_the_dispatcher_says(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    job_id = (await dispatcher.submit(SOURCE, "h264")).job_id
    done = await command(tmp_path, "why", job_id, "--json", server=server.url)
    assert (done.status, done.json["job_id"]) == (0, job_id)
    assert done.json["because"] == (await dispatcher.why(job_id)).because


async def test_cancel_and_retry_say_what_they_did(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    job_id = (await dispatcher.submit(SOURCE, "h264")).job_id
    done = await command(tmp_path, "cancel", job_id, server=server.url)
    assert (done.status, done.out, done.err) == (0, f"Job {job_id} cancelled\n", "")
    assert (await dispatcher.job(job_id)).status == "cancelled"
    done = await command(tmp_path, "retry", job_id, server=server.url)
    assert (done.status, done.out, done.err) == (0, f"Job {job_id} re-queued\n", "")
    assert (await dispatcher.job(job_id)).status == "pending"


async def test_priority_says_what_it_did(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    job_id = (await dispatcher.submit(SOURCE, "h264")).job_id
    done = await command(tmp_path, "priority", job_id, "30", server=server.url)
    assert (done.status, done.out, done.err) == (0, f"Job {job_id} has priority 30\n", "")
    assert (await dispatcher.job(job_id)).priority == 30


async def test_many_jobs_are_cancelled_and_put_back_by_filters(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    for codec in ("h264", "h264", "vp9"):
        await dispatcher.submit(SOURCE, codec)
    done = await command(tmp_path, "cancel", "--codec", "h264", "--yes", server=server.url)
    assert (done.status, done.out, done.err) == (0, "2 of 2 jobs cancelled\n", "")
    arguments = ("retry", "--codec", "h264", "--status", "cancelled", "--yes")
    done = await command(tmp_path, *arguments, server=server.url)
    assert (done.status, done.out, done.err) == (0, "2 of 2 jobs re-queued\n", "")
    done = await command(tmp_path, "retry", "--codec", "vp9", "--yes", server=server.url)
    assert done.status == 1
    assert done.out.splitlines() == [
        "0 of 1 jobs re-queued",
        "  1: Bad Request: Job is neither failed nor cancelled.",
    ]


async def test_many_jobs_are_not_changed_without_an_answer_to_the_question(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    await dispatcher.submit(SOURCE, "h264")
    done = await command(tmp_path, "cancel", "--status", "pending", server=server.url)
    assert (done.status, done.out.strip()) == (1, "")
    assert "Cancel 1 job?" in done.err
    assert [job.status for job in await dispatcher.jobs()] == ["pending"]


async def test_drain_resume_and_forget_say_what_they_did(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    await dispatcher.heartbeat("farm-1")
    done = await command(tmp_path, "drain", "farm-1", server=server.url)
    assert (done.status, done.out, done.err) == (0, "Engine farm-1 drained\n", "")
    assert [engine.drained for engine in await dispatcher.engines()] == [True]
    done = await command(tmp_path, "resume", "farm-1", server=server.url)
    assert (done.status, done.out, done.err) == (0, "Engine farm-1 resumed\n", "")
    assert [engine.drained for engine in await dispatcher.engines()] == [False]
    done = await command(tmp_path, "forget", "farm-1", server=server.url)
    assert (done.status, done.out, done.err) == (0, "Engine farm-1 forgotten\n", "")
    assert await dispatcher.engines() == []


async def test_what_is_not_there_exits_with_4(server: Running, tmp_path: Path) -> None:
    async def refused(name: str, refusal: str) -> None:
        done = await command(tmp_path, name, "nothing", server=server.url)
        assert (done.status, done.out, done.err) == (4, "", f"dispatcher: {refusal} (HTTP 404)\n")

    no_job = "Job not found: 'nothing' is no job's id, nor the beginning of one"
    no_engine = "Engine not found: 'nothing'; `dispatcher engines` lists them"
    await asyncio.gather(
        *(refused(name, no_job) for name in ("why", "cancel", "retry")),
        *(refused(name, no_engine) for name in ("drain", "resume", "forget")),
    )


async def test_engines_shows_who_is_drained(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    await dispatcher.heartbeat("farm-1")
    await dispatcher.drain_engine("farm-1")
    done = await command(tmp_path, "engines", server=server.url)
    assert "idle, drained" in done.out


async def test_jobs_lists_those_that_the_options_ask_for(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    made = [(await dispatcher.submit(f"http://m/{n}", "h264")).job_id for n in range(4)]
    await dispatcher.cancel(made[1])

    async def listed(*options: str) -> list[int]:
        done = await command(tmp_path, "jobs", "--json", *options, server=server.url)
        assert (done.status, done.err) == (0, "")
        return [made.index(job["job_id"]) for job in done.json]

    expected = {
        (): [0, 1, 2, 3],
        ("--newest", "--limit", "3"): [3, 2, 1],
        ("--text", "M/1"): [1],
        ("--status", "cancelled,pending", "--codec", "h264"): [0, 1, 2, 3],
        ("--status", "cancelled"): [1],
        ("--engine", "nobody"): [],
        ("--since", "2020-01-01"): [0, 1, 2, 3],
        ("--since", "2999-01-01T00:00:00+0100"): [],
        ("--until", "2999-01-01T00:00"): [0, 1, 2, 3],
    }
    found = await asyncio.gather(*(listed(*options) for options in expected))
    assert dict(zip(expected, found, strict=True)) == expected


async def test_ctrl_c_at_the_question_changes_nothing(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    for _ in range(2):
        await dispatcher.submit(SOURCE, "h264")
    arguments = ("cancel", "--codec", "h264")
    for key, status in (("\x03", {1, 130}), ("n\n", {1}), ("y\n", {0})):
        async with Terminal(tmp_path, *arguments, server=server.url) as terminal:
            await terminal.shows("Cancel 2 jobs?")
            assert {job.status for job in await dispatcher.jobs()} == {"pending"}
            terminal.types(key)
            assert await terminal.ended() in status
    assert {job.status for job in await dispatcher.jobs()} == {"cancelled"}


async def test_priorities_are_given_by_filters_and_moments(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    for codec in ("h264", "vp9", "vp9"):
        await dispatcher.submit(SOURCE, codec)

    async def done(*options: str) -> tuple[int, str]:
        it = await command(tmp_path, "priority", "70", *options, "--yes", server=server.url)
        return it.status, it.out

    assert await done("--codec", "vp9", "--since", "5 minutes ago") == (
        0,
        "2 of 2 jobs given priority 70\n",
    )
    assert await done("--text", "in.mp4", "--until", "yesterday") == (
        0,
        "No job matches; nothing was changed\n",
    )
    assert [job.priority for job in await dispatcher.jobs()] == [0, 70, 70]


async def test_what_was_is_shown_as_of_a_moment(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    job_id = (await dispatcher.submit(SOURCE, "h264")).job_id
    await dispatcher.heartbeat("farm-1")
    await dispatcher.cancel(job_id)

    async def shown(*words: str) -> str:
        it = await command(tmp_path, *words, server=server.url)
        assert (it.status, it.err) == (0, "")
        return it.out

    now, then, engines, before, job = await asyncio.gather(
        shown("jobs"),
        shown("jobs", "--as-of", "1"),
        shown("engines", "--as-of", "1"),
        shown("jobs", "--as-of", "yesterday 14:00"),
        shown("job", job_id, "--as-of", "1"),
    )
    assert ("cancelled" in now, "pending" in then, "pending" in job) == (True, True, True)
    assert (engines, before) == ("", "")
