"""The commands with several dispatchers, of which some are away."""

from pathlib import Path

import pytest

from dispatcher.client import Client
from tests.support.commands import command
from tests.support.servers import Running
from tests.support.web import Answer, Asked, answering, web

pytestmark = pytest.mark.anyio


async def hang_up(_: Asked) -> None:
    return None


async def nobody() -> str:
    async with web(hang_up) as gone:
        return gone.url


async def test_the_variable_names_several_with_commas_or_spaces(
    server: Running, dispatcher: Client, tmp_path: Path
) -> None:
    job = await dispatcher.submit("http://media/in.mp4", "h264")
    away = await nobody()
    for given in (f"{away},{server.url}", f"{away}, {server.url}", f"{server.url} {away}"):
        done = await command(tmp_path, "job", job.job_id, "--json", server=given)
        assert (done.status, done.err) == (0, "")
        assert done.json["job_id"] == job.job_id


async def test_the_option_names_several_with_commas_or_when_repeated(
    server: Running, dispatcher: Client, tmp_path: Path
) -> None:
    away = await nobody()
    submit = ("submit", "http://media/in.mp4", "http://media/2.mp4", "--codec", "h264")
    for given in (("--server", f"{away},{server.url}"), ("--server", away, "--server", server.url)):
        assert (await command(tmp_path, *submit, *given)).status == 0
    assert len(await dispatcher.jobs()) == 4


async def test_a_submission_whose_answer_is_lost_is_made_once(
    server: Running, dispatcher: Client, tmp_path: Path
) -> None:
    async with web(answering(Answer(503, b"read-only"))) as full:
        given = ("--server", full.url, "--server", server.url)
        for source in ("http://media/1.mp4", "http://media/2.mp4"):
            done = await command(tmp_path, "submit", source, "--codec", "h264", *given)
            assert done.status == 0
    assert len(await dispatcher.jobs()) == 2


async def test_when_all_are_away_each_is_named(tmp_path: Path) -> None:
    async with web(answering(Answer(503, b"no leader"))) as first:
        second = await nobody()
        done = await command(tmp_path, "jobs", server=f"{first.url},{second}")
    assert (done.status, done.out) == (3, "")
    assert f"{first.url} answered 503: no leader" in done.err
    assert f"{second} can't be reached: " in done.err


@pytest.mark.parametrize("name", ["jobs", "engine"])
async def test_one_that_is_no_url_is_named(name: str, tmp_path: Path) -> None:
    done = await command(tmp_path, name, server="http://127.0.0.1:1,http://127.0.0.1:0")
    assert done.status == 4
    assert "'http://127.0.0.1:0' is no URL of a dispatcher: it has port 0" in done.err
