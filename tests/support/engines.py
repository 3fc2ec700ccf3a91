"""Engines at work in the test's own event loop, and programs that stand in for ffmpeg."""

import asyncio
import os
import shlex
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from dispatcher.client import Client
from dispatcher.engine.agent import Agent, Settings
from dispatcher.engine.delivery import delivery_to
from dispatcher.engine.ffmpeg import Ffmpeg
from dispatcher.engine.networks import SourceNetworks
from dispatcher.engine.resting import Resting
from dispatcher.engine.sources import Sources
from dispatcher.engine.workspace import Workspace
from projections.jobs import JobView
from tests.support.servers import KEY

__all__ = [
    "ANYWHERE",
    "AtWork",
    "at_work",
    "eventually",
    "files_below",
    "final",
    "lives",
    "program",
]

PATIENCE_S: Final = 90
ANYWHERE: Final = Sources([Path("/")], SourceNetworks.parse("public,private,loopback"))
"""Sources of a test: every file, and servers on loopback."""
ALWAYS: Final = Resting()

T = TypeVar("T")


@dataclass
class AtWork:
    """An engine, the task of its life, and where its files go."""

    agent: Agent
    life: asyncio.Task[None]
    workspace: Workspace
    outputs: Path
    dead: bool = False

    async def die(self) -> None:
        """End as if killed: what is in its workspace now stays as it is, and nothing is said."""
        kept = self.workspace.path.with_name("kept")
        shutil.copytree(self.workspace.path, kept, ignore=shutil.ignore_patterns("lock"))
        self.dead = True
        self.life.cancel()
        await asyncio.gather(self.life, return_exceptions=True)
        for tidied in kept.iterdir():
            shutil.rmtree(self.workspace.path / tidied.name, ignore_errors=True)
        shutil.copytree(kept, self.workspace.path, dirs_exist_ok=True)
        shutil.rmtree(kept)
        self.workspace.release()


@asynccontextmanager
async def at_work(
    server: str,
    ffmpeg: Ffmpeg,
    folder: Path,
    *,
    engine_id: str = "engine",
    output: str | None = None,
    heartbeat_s: float = 10.0,
    wait_s: float = 0,
    sources: Sources = ANYWHERE,
    tags: tuple[str, ...] = (),
    resting: Resting = ALWAYS,
) -> AsyncIterator[AtWork]:
    """Have an engine work until the block ends; it is then stopped, and must end well."""
    workspace = Workspace.claim(folder / "work", engine_id)
    outputs = folder / "outputs"
    async with Client(server, KEY) as client:
        delivery = delivery_to(output or str(outputs))
        settings = Settings(
            poll_s=0.05, heartbeat_s=heartbeat_s, wait_s=wait_s, tags=tags, resting=resting
        )
        agent = Agent(client, ffmpeg, workspace, delivery, settings, sources)
        life = asyncio.create_task(agent.run())
        engine = AtWork(agent, life, workspace, outputs)
        try:
            yield engine
            if not engine.dead:
                agent.stop()
                await asyncio.wait_for(life, PATIENCE_S)
        finally:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
            if not engine.dead:
                workspace.release()


async def eventually(look: Callable[[], Awaitable[T | None]]) -> T:
    """Look until there is something to see: for what no event tells of."""
    async with asyncio.timeout(PATIENCE_S):
        while (seen := await look()) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return seen


async def final(client: Client, job_id: str) -> JobView:
    """Wait until nothing can happen to a job any more."""

    async def look() -> JobView | None:
        job = await client.job(job_id)
        return job if job.final else None

    return await eventually(look)


def files_below(folder: Path) -> list[str]:
    """Name every file below a folder, but for the locks of engines."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return sorted(str(path.relative_to(folder)) for path in found)


def program(path: Path, *lines: str, then: Path | None = None) -> Path:
    """Write a shell script that runs `lines`, and then becomes another program."""
    last = [] if then is None else [f'exec {shlex.quote(str(then))} "$@"']
    path.write_text("\n".join(["#!/bin/sh", *lines, *last, ""]))
    path.chmod(0o755)
    return path


def lives(pid: int) -> bool:
    """Tell whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
