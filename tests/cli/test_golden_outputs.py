"""What every command prints, as a person has read it and found it good: `golden/COMMAND.txt`.

Each file has what a command says in a terminal of 80 columns and of 200, in a pipe, without a
server, with a wrong key, and of what is not there. To write the files anew, and to read them again
before they are committed:

    DISPATCHER_GOLDEN=write python -m pytest tests/cli/test_golden_outputs.py
"""

import asyncio
import io
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import typer
from rich.cells import cell_len

from dispatcher.cli import app, main
from dispatcher.client import Client
from dispatcher.core.policy import Policy
from tests.support.servers import KEY, Running, running

pytestmark = pytest.mark.anyio

GOLDEN: Final = Path(__file__).parent / "golden"
NOBODY: Final = "http://127.0.0.1:1"

CASES: Final[dict[str, list[list[str]]]] = {
    "submit": [["submit", "nothing.mp4", "--codec", "h264"], ["submit"]],
    "wait": [["wait", "DONE"], ["wait", "DONE", "FAILED"], ["wait", "nothing"]],
    "top": [["top", "--once"]],
    "jobs": [["jobs"], ["jobs", "--codec", "mpeg9"], ["jobs", "--since", "soon"]],
    "job": [["job", "FAILED"], ["job", "nothing"], ["job", "1"]],
    "why": [["why", "WAITING"], ["why", "RUNNING"], ["why", "DONE"], ["why", "nothing"]],
    "cancel": [["cancel", "nothing"], ["cancel", "DONE"], ["cancel"]],
    "retry": [["retry", "nothing"], ["retry", "RUNNING"]],
    "priority": [["priority", "nothing", "5"], ["priority", "WAITING"]],
    "fetch": [["fetch", "nothing"], ["fetch", "DONE"]],
    "recipes": [["recipes"]],
    "history": [["history", "FAILED"], ["history", "nothing"]],
    "certificate": [["certificate", "nothing"], ["certificate", "WAITING"]],
    "prove": [["prove", "999"]],
    "verify": [["verify", "nothing"]],
    "engines": [["engines"]],
    "drain": [["drain", "nobody"]],
    "resume": [["resume", "nobody"]],
    "forget": [["forget", "nobody"]],
    "replay": [["replay", "--db", "nothing.db"], ["replay", "--at", "soon"]],
    "audit": [["audit", "--db", "nothing.db"]],
    "import": [["import", "nothing.jsonl", "--db", "new.db"]],
    "backup": [["backup", "copy.db", "--db", "nothing.db"]],
    "archive": [["archive"]],
    "doctor": [["doctor", "--no-engine"]],
    "config": [["config", "show"]],
    "webhooks": [["webhooks", "list"], ["webhooks", "retry", "nobody"]],
    "watch": [["watch", "nothing", "--codec", "h264"]],
    "key": [["key", "list", "--keys", "nothing.toml"]],
    "reload": [["reload"]],
}
ELSEWHERE: Final = {
    "serve": "it runs until it is stopped: test_cli_processes.py",
    "engine": "it runs until it is stopped: test_cli_processes.py",
    "tail": "it runs until it is stopped: test_cli_output.py",
    "simulate": "its farm is made up: test_cli_simulate.py",
    "export": "it changes how a process takes signals: test_cli_transfer.py",
    "board": "its address differs each time: test_cli_board.py",
    "checkpoint": "its signature differs each time: test_cli_proofs.py",
    "log": "it needs NATS: tests/cluster",
    "cluster": "it needs NATS: tests/cluster",
}
STEADY: Final = {
    "columns.ago": "1 s ago",
    "history.duration": "0.001 s",
    "bars.left": "3 min 20 s",
    "top.left": "3 min 20 s",
}
"""How long something takes differs each time; in the files it does not."""
LOCAL: Final = frozenset(
    {*("replay", "audit", "import", "backup", "archive", "config", "key", "verify")}
)
"""Commands that ask no dispatcher."""


@pytest.fixture(scope="module")
async def farm(
    tmp_path_factory: pytest.TempPathFactory, anyio_backend: object
) -> AsyncIterator[tuple[Running, dict[str, str]]]:
    """A farm with a job in each state, and an engine with much to tell."""
    assert anyio_backend
    db = tmp_path_factory.mktemp("golden") / "events.db"
    async with (
        running(db, policy=Policy(lease_s=3_600)) as server,
        Client(server.url, KEY) as client,
    ):
        yield server, await _filled(client)


async def _filled(client: Client) -> dict[str, str]:
    codecs = ["h264", "hevc", "vp9", "av1", "mpeg4", "theora", "prores", "ffv1"]
    report = {"supported_codecs": codecs, "benchmark_time": 2.5, "storage_capacity_gb": 900.0}
    await client.heartbeat("farm-07.rack-3.example", report)
    folder = "http://media.example/archive/2026/holidays/in-the-mountains"
    named: dict[str, str] = {}
    for name, codec in (
        ("DONE", "h264"),
        ("FAILED", "av1"),
        ("RUNNING", "hevc"),
        ("WAITING", "vp9"),
    ):
        url = f"{folder}/{name.lower()}-film.mov"
        job = await client.submit(url, codec, job_size=1234.5, max_retries=1)
        named[name] = job.job_id
        if name == "WAITING":
            continue
        held = await client.assign("farm-07.rack-3.example")
        assert held is not None
        if name == "DONE":
            url = f"http://media.example/outputs/done-film-{job.job_id}.mp4"
            await client.complete(job.job_id, url, engine_id=held.assigned_engine, attempt=1)
        elif name == "FAILED":
            error = "ffmpeg failed with code 183:\nmoov atom not found\nthe source is no film"
            await client.fail(job.job_id, error, engine_id=held.assigned_engine, attempt=1)
    return named


async def said(
    patched: pytest.MonkeyPatch, arguments: list[str], **variables: str
) -> tuple[int, str, str]:
    """Run a command in this process; gives its exit code and what it prints where."""
    for name in ("DISPATCHER_CONTEXT", "FORCE_COLOR", "NO_COLOR", "COLUMNS"):
        patched.delenv(name, raising=False)
    for name, value in variables.items():
        patched.setenv(name, value)
    for name, steadily in STEADY.items():
        patched.setattr(f"dispatcher.cli.{name}", lambda _, it=steadily: it)
    patched.setattr(sys, "argv", ["dispatcher", *arguments])
    out, err = io.StringIO(), io.StringIO()
    patched.setattr(sys, "stdout", out)
    patched.setattr(sys, "stderr", err)

    def run() -> int:
        try:
            main()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        return 0

    status = await asyncio.to_thread(run)
    patched.undo()
    return status, out.getvalue(), err.getvalue()


def steady(text: str, server: Running, ids: dict[str, str]) -> str:
    """Replace what differs each time by something of the same width, and leave styles out."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text).replace("python -m pytest.dispatcher", "dispatcher")
    for number, job_id in enumerate(ids.values(), 1):
        text = text.replace(job_id, f"{number}".join(("179000000000000", "_0")))
    text = re.sub(r"/\S+/(nothing|copy|new)\b", r"/srv/\1", text)
    port = server.url.rpartition(":")[2]
    text = text.replace(server.url, f"http://127.0.0.1:{'8' * len(port)}")
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?", _zeroed, text)
    text = re.sub(r"\d\d:\d\d:\d\d", "09:30:00", text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _zeroed(found: re.Match[str]) -> str:
    return f"2026-11-22 09:30:00{'.000' if found[1] else ''}"


def test_every_command_is_looked_at() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert set(CASES) | set(ELSEWHERE) == set(commands)
    assert not set(CASES) & set(ELSEWHERE)


@pytest.mark.parametrize("name", list(CASES))
async def test_a_command_says_what_a_person_has_found_good(
    farm: tuple[Running, dict[str, str]],
    tmp_path: Path,
    name: str,
) -> None:
    server, ids = farm
    told = io.StringIO()

    async def tell(title: str, arguments: list[str], **variables: str) -> str:
        with pytest.MonkeyPatch.context() as patched:
            patched.chdir(tmp_path)
            patched.setenv("TZ", "UTC")
            patched.setenv("XDG_CONFIG_HOME", "/home/anna/.config")
            named = [ids.get(it, it) for it in arguments]
            settings = {"DISPATCHER_SERVER": server.url, "DISPATCHER_API_KEY": KEY} | variables
            status, out, err = await said(patched, named, **settings)
        asked = " ".join(["dispatcher", *arguments])
        told.write(f"$ {asked}    # {title}\n")
        told.write(steady(out, server, ids) + steady(err, server, ids))
        told.write(f"exit code {status}\n\n")
        assert "Traceback" not in err
        return out

    terminal = {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm-256color"}
    for arguments in CASES[name]:
        for columns in (80, 200):
            out = await tell(f"{columns} columns", arguments, COLUMNS=str(columns), **terminal)
            lines = steady(out, server, ids).splitlines()
            assert name == "why" or all(cell_len(line) <= columns for line in lines), out
        assert "\x1b" not in await tell("in a pipe", arguments, COLUMNS="80")
    if name not in LOCAL:
        first = CASES[name][0]
        await tell("no server", first, DISPATCHER_SERVER=NOBODY, COLUMNS="80")
        await tell("a wrong key", first, DISPATCHER_API_KEY="wrong", COLUMNS="80")
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("DISPATCHER_GOLDEN") == "write":
        path.write_text(told.getvalue())
    assert told.getvalue() == path.read_text()


@pytest.mark.parametrize("name", ["jobs", "engines", "top"])
async def test_without_colours_a_terminal_shows_the_same_text(
    farm: tuple[Running, dict[str, str]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    server, ids = farm
    arguments = [ids.get(it, it) for it in CASES[name][0]]
    settings = {"DISPATCHER_SERVER": server.url, "DISPATCHER_API_KEY": KEY, "COLUMNS": "100"}
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    texts = []
    for variables in (terminal, terminal | {"NO_COLOR": "1"}):
        _, out, _ = await said(monkeypatch, arguments, **settings, **variables)
        texts.append(steady(out, server, ids).replace("━", " "))
        colours = set(re.findall(r"\x1b\[[0-9;]*3[0-9;]*m", out))
        assert bool(colours) == ("NO_COLOR" not in variables)
    assert [line.split() for line in texts[0].splitlines()] == [
        line.split() for line in texts[1].splitlines()
    ]
