"""`doctor`: what is there, what is missing, and the way out."""

from pathlib import Path
from typing import Any

import pytest

from dispatcher.client import Client
from tests.support.commands import command
from tests.support.servers import KEY, Running
from tests.support.web import Answer, answering, web

pytestmark = pytest.mark.anyio


async def told(
    tmp_path: Path, *arguments: str, server: str, key: str | None = KEY, status: int = 0
) -> dict[str, Any]:
    done = await command(tmp_path, "doctor", "--json", *arguments, server=server, key=key)
    assert (done.status, done.err) == (status, "")
    return {it["check"]: it for it in done.json}


async def test_all_is_well_on_a_farm_with_an_engine(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    await dispatcher.heartbeat("farm-1")
    found = await told(tmp_path, server=server.url)
    assert {name: it["state"] for name, it in found.items() if "disk" not in name} == {
        **dict.fromkeys(("settings", "dispatcher", "clock", "key", "store", "engines"), "ok"),
        **dict.fromkeys(("ffmpeg", "encoders"), "ok"),
    }
    assert found["key"]["found"] == "tester, role operator"
    assert found["engines"]["found"] == "1 of 1 online"
    assert "h264" in found["encoders"]["found"]
    assert "GB are free at" in found["disk here"]["found"]


async def test_a_missing_and_a_wrong_key_are_told_with_the_way_out(
    server: Running, tmp_path: Path
) -> None:
    missing = await told(tmp_path, "--no-engine", server=server.url, key=None, status=1)
    assert (missing["dispatcher"]["state"], missing["key"]["state"]) == ("ok", "fail")
    assert "DISPATCHER_API_KEY" in missing["key"]["way_out"]
    wrong = await told(tmp_path, "--no-engine", server=server.url, key="wrong", status=1)
    assert wrong["key"]["found"] == "the dispatcher does not know it"


async def test_a_dispatcher_that_is_away_or_none_is_told(tmp_path: Path) -> None:
    away = await told(tmp_path, "--no-engine", server="http://127.0.0.1:1", status=1)
    assert "can't be reached" in away["dispatcher"]["found"]
    async with web(answering(Answer(200, b"<html>"))) as page:
        none = await told(tmp_path, "--no-engine", server=page.url, status=1)
    assert none["dispatcher"]["state"] == "fail"
    wrong = await told(tmp_path, "--no-engine", server="nonsense", status=1)
    assert wrong["dispatcher"]["state"] == "fail"


async def test_a_clock_that_differs_is_told(tmp_path: Path) -> None:
    date = {"Date": "Tue, 24 Nov 2020 09:30:00 GMT"}
    answer = Answer(200, b'{"status":"ok","seq":0}', headers=date)
    async with web(answering(answer)) as server:
        found = await told(tmp_path, "--no-engine", server=server.url, status=1)
    assert found["clock"]["state"] == "warn"
    assert "ahead of the dispatcher's" in found["clock"]["found"]


async def test_what_only_an_engine_needs_is_a_warning(server: Running, tmp_path: Path) -> None:
    found = await told(tmp_path, "--ffmpeg", "/no/ffmpeg", server=server.url)
    assert (found["ffmpeg"]["state"], found["engines"]["state"]) == ("warn", "warn")
    assert "there is no such program" in found["ffmpeg"]["found"]


async def test_people_get_a_line_a_check(server: Running, tmp_path: Path) -> None:
    done = await command(tmp_path, "doctor", "--no-engine", server=server.url)
    assert done.status == 0
    lines = [line.split("\t") for line in done.out.splitlines()]
    assert {len(line) for line in lines} == {4}
    assert ["store", "ok"] in [line[:2] for line in lines]
