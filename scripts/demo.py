"""The main job, once and for real.

Makes a clip with sound, starts a dispatcher and two engines as processes of their own, submits
jobs for vp9, av1 and hevc and one whose source is broken, kills an engine in the middle of its
job, and shows what became of each: its output, what ffmpeg finds in it, and its history from the
log. Ends with 0 only if all of that is as it must be, and the killed engine's job was finished by
the other. Everything is kept in demo-out/. At the end it gives the address of the board, on which
all of it can be seen. Nothing is left running, but with --keep the dispatcher, its board and an
engine, until Ctrl-C.
"""

import argparse
import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import sqlite3
import sys
from argparse import RawDescriptionHelpFormatter
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from msgspec import UNSET
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from dispatcher.client import Client
from dispatcher.engine.ffmpeg import find_ffmpeg
from dispatcher.log.sqlite import SqliteLog
from dispatcher.state.replay import replay
from projections.jobs import JobView

OUT: Final = Path(__file__).resolve().parent.parent / "demo-out"
DB: Final = OUT / "events.db"
BOARD: Final = "http://127.0.0.1:8080/"
"""Where `dispatcher serve` serves it."""
ABOVE_THE_TABLE: Final = ("job_id", "source_url", "target_codec")
CODECS: Final = ("vp9", "av1", "hevc")
RECIPE: Final = {
    "quality": 85,
    "max_height": 180,
    "container": "mkv",
    "clip": {"from": 2, "to": 5},
}
BROKEN: Final = "broken.mp4"
LEASE_S: Final = 3
LIMIT_S: Final = 110
WATCH_S: Final = 0.2
STOP_S: Final = 15

console = Console(width=max(Console().width, 140))


async def main(*, keep: bool) -> int:
    """Run the demo; 0 if everything is as it must be."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    key = secrets.token_urlsafe(16)
    async with AsyncExitStack() as left_running:
        async with asyncio.timeout(LIMIT_S):
            console.rule("1. a clip with sound, and a broken one")
            clip, broken = await make_clip(), make_broken()
            console.print(f"{clip} ({clip.stat().st_size / 1e6:.2f} MB), {broken}")
            console.rule("2. a dispatcher and two engines")
            server = await left_running.enter_async_context(dispatcher(key))
            problems = await farm(server, key, clip, broken)
            console.rule("5. the board of all this")
            if keep:
                await left_running.enter_async_context(engine(server, key, 2))
        if keep:
            await show_board(server, key)
    if not keep:
        serve = f"{Path(sys.prefix) / 'bin/dispatcher'} serve --db {DB} --no-auth"
        console.print(f"Open {BOARD} after:  {serve}", soft_wrap=True)
        console.print("Or run  scripts/demo --keep  to see it at once, with an engine at work.")
    return 1 if problems else 0


async def farm(server: str, key: str, clip: Path, broken: Path) -> list[str]:
    """Have two engines do the work, and show it; gives what is not as it must be."""
    async with Client(server, key) as client:
        async with engine(server, key, 1) as victim, engine(server, key, 2):
            console.rule("3. the jobs, and a killed engine")
            size_mb = clip.stat().st_size / 1e6
            jobs = [await client.submit(clip.as_uri(), c, job_size=size_mb) for c in CODECS]
            jobs.append(
                await client.submit(
                    clip.as_uri(), "h264", recipe=RECIPE, output_name="{stem} preview"
                )
            )
            jobs.append(await client.submit(broken.as_uri(), "hevc", max_retries=2))
            orphan = await assigned_to(client, "engine-1")
            victim.kill()
            console.print(f"[red]Killed engine-1 in the middle of job {orphan}[/red]")
            jobs = await finished(client, jobs)
        jobs = await client.jobs()
        shown = [engine.wire() for engine in await client.engines()]

    console.rule("4. what became of them")
    problems = [problem for job in jobs async for problem in show(job)]
    if next(job for job in jobs if job.job_id == orphan).assigned_engine != "engine-2":
        problems.append(f"job {orphan} of the killed engine was not finished by the other one")
    problems += await replay_problems(jobs, shown)
    for problem in problems:
        console.print(f"[red]WRONG[/red] {problem}")
    if not problems:
        console.print(f"[green]All as it must be.[/green] Outputs and log: {OUT}")
    return problems


async def show_board(server: str, key: str) -> None:
    """Give the address of the board, and wait for Ctrl-C."""
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stopped.set)
    async with Client(server, key) as client:
        token = (await client.sign_in()).token
    console.print(f"Open {server}/#token={token} within a minute,", soft_wrap=True)
    console.print(f"or {server}/ and give it the key {key}", soft_wrap=True)
    console.print("It runs until Ctrl-C.")
    await stopped.wait()


async def make_clip() -> Path:
    """Make eight seconds of moving picture with a tone."""
    clip = OUT / "clip.mp4"
    process = await asyncio.create_subprocess_exec(
        find_ffmpeg(), "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=8",
        "-f", "lavfi", "-i", "sine=f=440:d=8", "-c:v", "libx264", "-c:a", "aac", clip,
    )  # fmt: skip
    if await process.wait() != 0:
        raise SystemExit("demo: ffmpeg could not make the clip")
    return clip


def make_broken() -> Path:
    """Make a file that is no film."""
    broken = OUT / BROKEN
    broken.write_bytes(b"this is no video\n" * 100)
    return broken


@asynccontextmanager
async def dispatcher(key: str) -> AsyncIterator[str]:
    """Run a dispatcher on a free port; gives its URL."""
    options = ["--db", str(DB), "--port", "0", "--lease-s", str(LEASE_S)]
    async with running("dispatcher", key, "serve", *options) as (_, lines):
        async for line in lines:
            if match := re.search(r"ready on (http://\S+),", line):
                yield match[1]
                return
        raise SystemExit("demo: the dispatcher did not start")


@asynccontextmanager
async def engine(server: str, key: str, number: int) -> AsyncIterator[Process]:
    """Run an engine, from the moment on which it is ready for work."""
    name = f"engine-{number}"
    options = ["--server", server, "--id", name, "--output", str(OUT / "outputs")]
    options += ["--work-dir", str(OUT / "work"), "--heartbeat-s", "0.5"]
    options += ["--source-root", str(OUT)]
    async with running(name, key, "engine", *options) as (process, lines):
        async for line in lines:
            if "ready for" in line:
                break
        else:
            raise SystemExit(f"demo: {name} did not start")
        yield process


@asynccontextmanager
async def running(
    name: str, key: str, *command: str
) -> AsyncIterator[tuple[Process, AsyncIterator[str]]]:
    """Run a dispatcher command as a process; gives it and its lines, shown as they come."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dispatcher", *command,
        env=os.environ | {"DISPATCHER_API_KEY": key},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    arrived: asyncio.Queue[str | None] = asyncio.Queue()

    async def forward() -> None:
        assert process.stderr is not None  # noqa: S101 - it is a pipe
        async for line in process.stderr:
            text = line.decode(errors="replace").rstrip()
            console.print(Text(f"{name:>10} | {text}", style="dim"))
            arrived.put_nowait(text)
        arrived.put_nowait(None)

    async def lines() -> AsyncIterator[str]:
        while (line := await arrived.get()) is not None:
            yield line

    forwarding = asyncio.create_task(forward())
    try:
        yield process, lines()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()
        await forwarding


async def assigned_to(client: Client, engine_id: str) -> str:
    """Wait until an engine has a job, and give the job's id."""
    while True:
        if held := await client.jobs(status="assigned", engine=engine_id):
            return held[0].job_id
        await asyncio.sleep(WATCH_S)


async def finished(client: Client, jobs: list[JobView]) -> list[JobView]:
    """Watch the jobs until each has come to its end."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task("jobs", total=len(jobs))
        while not all(job.final for job in jobs):
            await asyncio.sleep(WATCH_S)
            jobs = [await client.job(job.job_id) for job in jobs]
            running = sum(job.status == "assigned" for job in jobs)
            progress.update(
                bar, completed=sum(job.final for job in jobs), description=f"{running} in work"
            )
    return jobs


async def show(job: JobView) -> AsyncIterator[str]:
    """Print a job with its output and history; yields what is wrong with it."""
    is_broken = job.source_url.endswith(BROKEN)
    wanted = "failed_permanently" if is_broken else "completed"
    if job.status != wanted:
        yield f"job {job.job_id} is {job.status}, not {wanted}"
    table = Table(title=f"job {job.job_id}: {Path(job.source_url).name} to {job.target_codec}")
    for column in ("seq", "time", "what happened", "details"):
        table.add_column(column)
    for seq, time, name, data in history(job.job_id):
        told = {k: v for k, v in json.loads(data).items() if v and k not in ABOVE_THE_TABLE}
        details = ", ".join(f"{name}={last_line(value)}" for name, value in told.items())
        table.add_row(str(seq), time[11:23], name, Text(details))
    console.print(table)
    if job.output_url is None:
        console.print(Text(f"{job.status}: {last_line(job.error_message)}"))
        return
    output = Path(unquote(urlsplit(job.output_url).path))
    streams = await streams_in(output)
    console.print(Text(f"{job.status}: {output}\n  {streams}"))
    if job.result is not UNSET:
        told = {name: it for name, it in job.result.items() if name != "kept"}
        console.print(Text("  " + ", ".join(f"{name}: {it}" for name, it in told.items())))
    if job.recipe is not UNSET and output.name != "clip preview.mkv":
        yield f"job {job.job_id}: {output.name} is not as its recipe says"
    if job.target_codec not in streams or "Audio:" not in streams:
        yield f"job {job.job_id}: {output.name} holds {streams}, not {job.target_codec} with sound"


def last_line(value: object) -> str:
    """Give the line of a text that says most: for ffmpeg that is the last."""
    return (str(value).splitlines() or [""])[-1]


def history(job_id: str) -> list[tuple[int, str, str, str]]:
    """Read a job's events from the log, as anybody can with the sqlite3 shell."""
    with closing(sqlite3.connect(DB)) as log:
        return log.execute(
            "SELECT seq, time, type, data FROM events"
            " WHERE json_extract(data, '$.job_id') = ? AND type <> 'job_progressed' ORDER BY seq",
            (job_id,),
        ).fetchall()


async def streams_in(video: Path) -> str:
    """Say which streams ffmpeg finds in a file."""
    process = await asyncio.create_subprocess_exec(
        find_ffmpeg(), "-hide_banner", "-i", video, stderr=asyncio.subprocess.PIPE
    )
    _, printed = await process.communicate()
    return "; ".join(re.findall(r"(?:Video|Audio): \w+", printed.decode(errors="replace")))


async def replay_problems(jobs: list[JobView], engines: list[dict[str, object]]) -> list[str]:
    """Rebuild the state from the log alone and compare it with what the dispatcher showed."""
    async with await SqliteLog.open_for_reading(DB) as log:
        rebuilt = (await replay(log)).projections
    console.print(f"The log replays to seq {rebuilt.seq}.")
    problems = []
    if rebuilt.jobs.all() != jobs:
        problems.append("the jobs that the log replays to are not those that were shown")
    if [engine.wire() for engine in rebuilt.engines.all()] != engines:
        problems.append("the engines that the log replays to are not those that were shown")
    return problems


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C")
    try:
        sys.exit(asyncio.run(main(keep=parser.parse_args().keep)))
    except TimeoutError:
        sys.exit(f"demo: not done after {LIMIT_S} s")
