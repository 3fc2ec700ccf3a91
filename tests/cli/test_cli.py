"""The client commands as a user has them: real child processes against a real dispatcher."""

import asyncio
from pathlib import Path
from typing import Final

import pytest

from dispatcher import __version__
from dispatcher.client import Client
from tests.support.commands import command
from tests.support.servers import Running
from tests.support.web import Answer, answering, web

pytestmark = pytest.mark.anyio

SOURCE: Final = "http://media/in.mp4"
JOB_FIELDS: Final = [
    "job_id",
    "source_url",
    "target_codec",
    "job_size",
    "status",
    "assigned_engine",
    "output_url",
    "retries",
    "max_retries",
]


# The command itself


async def test_it_tells_its_version(tmp_path: Path) -> None:
    done = await command(tmp_path, "--version")
    assert (done.status, done.out.strip()) == (0, __version__)


async def test_help_names_every_command(tmp_path: Path) -> None:
    done = await command(tmp_path, "--help")
    assert done.status == 0
    client = ("board", "submit", "jobs", "job", "why", "cancel", "retry", "priority")
    operator = ("engines", "drain", "resume", "forget", "replay", "simulate")
    for name in ("serve", "engine", *client, *operator):
        assert f" {name} " in done.out


async def test_a_wrong_command_line_exits_with_2(tmp_path: Path) -> None:
    async def is_refused(*arguments: str) -> None:
        done = await command(tmp_path, *arguments, server="http://127.0.0.1:1")
        assert (done.status, done.out) == (2, ""), arguments
        assert "Traceback" not in done.err

    await asyncio.gather(
        is_refused("no-such-command"),
        is_refused("submit", SOURCE),
        is_refused("submit", SOURCE, "--codec", "h264", "--size-mb", "-1"),
        is_refused("submit", "no-such-file.mp4", "--codec", "h264"),
        is_refused("submit", "http://[", "--codec", "h264"),
        is_refused("replay", "--at", "-1"),
        is_refused("cancel"),
        is_refused("retry", "--yes"),
        is_refused("cancel", "1_0", "--status", "pending"),
        is_refused("priority", "1_0"),
        is_refused("priority", "1_0", "101"),
    )


# Submitting


async def test_submit_prints_the_job_as_json(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    arguments = ("--codec", "vp9", "--size-mb", "12.5", "--max-retries", "7", "--json")
    done = await command(tmp_path, "submit", SOURCE, *arguments, server=server.url)
    assert done.status == 0
    (printed,) = done.json
    assert list(printed)[:9] == JOB_FIELDS
    job = await dispatcher.job(printed["job_id"])
    assert (job.source_url, job.target_codec) == (SOURCE, "vp9")
    assert (job.job_size, job.max_retries) == (12.5, 7)


async def test_submit_prints_a_table_for_people(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    done = await command(tmp_path, "submit", SOURCE, "--codec", "vp9", server=server.url)
    (job,) = await dispatcher.jobs()
    assert done.status == 0
    for shown in (job.job_id, SOURCE, "vp9", "pending", "0/3"):
        assert shown in done.out


async def test_submit_takes_several_sources_in_order(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    sources = [f"http://media/{n}.mp4" for n in range(3)]
    done = await command(tmp_path, "submit", *sources, "--codec", "h264", server=server.url)
    assert done.status == 0
    assert [job.source_url for job in await dispatcher.jobs()] == sources


async def test_local_files_are_submitted_as_urls_with_their_sizes(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    names = ["clip.mp4", "my clip.mp4", "100%.mp4", "a#b?.mp4", "./señor.mp4"]
    for name in names:
        (tmp_path / name).write_bytes(b"\0" * 1_500_000)
    done = await command(tmp_path, "submit", *names, "--codec", "h264", server=server.url)
    assert done.status == 0
    jobs = await dispatcher.jobs()
    assert [job.source_url for job in jobs] == [(tmp_path / name).as_uri() for name in names]
    assert {job.job_size for job in jobs} == {1.5}


async def test_a_local_file_with_a_colon_in_its_name_is_a_local_file(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    (tmp_path / "alien: the return.mp4").touch()
    done = await command(
        tmp_path, "submit", "alien: the return.mp4", "--codec", "h264", server=server.url
    )
    assert done.status == 0
    (job,) = await dispatcher.jobs()
    assert job.source_url == (tmp_path / "alien: the return.mp4").as_uri()


# Looking


async def test_jobs_prints_what_the_dispatcher_shows(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    submitted = [await dispatcher.submit(SOURCE, codec) for codec in ("h264", "vp9")]
    as_json, table = await asyncio.gather(
        command(tmp_path, "jobs", "--json", server=server.url),
        command(tmp_path, "jobs", server=server.url),
    )
    assert (as_json.status, as_json.err) == (0, "")
    assert [job["job_id"] for job in as_json.json] == [job.job_id for job in submitted]
    assert table.status == 0
    assert all(job.job_id in table.out for job in submitted)


async def test_job_prints_one_job_with_its_whole_error(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    job_id = (await dispatcher.submit(SOURCE, "h264", max_retries=1)).job_id
    await dispatcher.fail(job_id, "ffmpeg failed:\n[red]not markup[/red]\nlast line")
    as_json, table = await asyncio.gather(
        command(tmp_path, "job", job_id, "--json", server=server.url),
        command(tmp_path, "job", job_id, server=server.url),
    )
    assert table.status == 0
    assert "failed_permanently" in table.out
    told = [line.split("\t") for line in table.out.splitlines()]
    errors = [text for name, text in told if name == "error"]
    assert errors == ["ffmpeg failed:", "[red]not markup[/red]", "last line"]
    assert as_json.json["job_id"] == job_id


async def test_engines_prints_every_engine(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    await dispatcher.heartbeat("farm-1", {"supported_codecs": ["h264"], "hostname": "rack"})
    await dispatcher.heartbeat("farm-2")
    as_json, table = await asyncio.gather(
        command(tmp_path, "engines", "--json", server=server.url),
        command(tmp_path, "engines", server=server.url),
    )
    assert [engine["engine_id"] for engine in as_json.json] == ["farm-1", "farm-2"]
    assert as_json.json[0]["hostname"] == "rack"
    assert table.status == 0
    for shown in ("farm-1", "farm-2", "h264", "any", "idle"):
        assert shown in table.out


# What goes wrong


async def test_a_dispatcher_that_is_away_exits_with_3(tmp_path: Path) -> None:
    async with web(answering(Answer())) as nobody:
        pass
    done = await command(tmp_path, "engines", server=nobody.url)
    assert (done.status, done.out) == (3, "")
    assert done.err.startswith(f"dispatcher: {nobody.url} can't be reached: ")
    assert len(done.err.splitlines()) == 1


async def test_a_dispatcher_that_can_not_write_exits_with_3(tmp_path: Path) -> None:
    async with web(answering(Answer(503, b"disk full"))) as server:
        done = await command(tmp_path, "jobs", server=server.url)
    assert (done.status, done.out) == (3, "")
    assert done.err == f"dispatcher: {server.url} answered 503: disk full\n"


async def test_a_refusal_exits_with_4(server: Running, tmp_path: Path) -> None:
    done = await command(tmp_path, "job", "no-such-job", server=server.url)
    assert (done.status, done.out) == (4, "")
    assert done.err == (
        "dispatcher: Job not found: 'no-such-job' is no job's id, nor the beginning of one "
        "(HTTP 404)\n"
    )


async def test_a_wrong_key_exits_with_4(server: Running, tmp_path: Path) -> None:
    done = await command(tmp_path, "jobs", server=server.url, key="another key")
    assert done.status == 4
    assert done.err == (
        f"dispatcher: {server.url} does not know this API key: is DISPATCHER_API_KEY the key of "
        "that dispatcher, and is it still valid there? (HTTP 401)\n"
    )


async def test_a_missing_key_exits_with_4(server: Running, tmp_path: Path) -> None:
    done = await command(tmp_path, "jobs", server=server.url, key=None)
    assert done.status == 4
    assert done.err.startswith(
        f"dispatcher: {server.url} needs an API key, and none was given: set DISPATCHER_API_KEY, "
    )
    assert "dispatcher key new NAME --role client" in done.err


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("nonsense", "does not begin with http:// or https://"),
        ("http://127.0.0.1:99999", "can't be read: its port is no number from 1 to 65535"),
    ],
)
async def test_a_server_that_can_not_be_a_dispatcher_exits_with_4(
    url: str, fault: str, tmp_path: Path
) -> None:
    done = await command(tmp_path, "jobs", server=url)
    assert (done.status, done.err) == (
        4,
        f"dispatcher: {url!r} is no URL of a dispatcher: it {fault}\n",
    )


async def test_the_key_is_never_shown(server: Running, tmp_path: Path) -> None:
    async def is_not_shown(key: str, *arguments: str) -> None:
        done = await command(tmp_path, *arguments, server=server.url, key=key)
        assert "topsecret" not in done.out + done.err, arguments
        assert "Traceback" not in done.err

    await asyncio.gather(
        is_not_shown("topsecret", "jobs", "--no-such-option"),
        is_not_shown("topsecret", "jobs", "--help"),
        is_not_shown("topsecret", "serve", "--no-auth"),
        is_not_shown("topsecret", "serve", "--db", "/no/such/place/events.db", "--port", "0"),
        is_not_shown("topsecret", "jobs"),
        is_not_shown("topsecret\n", "jobs"),
        is_not_shown("topsecret ключ", "jobs"),
    )
