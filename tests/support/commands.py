"""The command line as a user has it: child processes, none of which outlives its test."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from tests.support.servers import KEY

__all__ = ["MODULE", "TIMEOUT_S", "Done", "command", "ended", "environment", "said_by", "started"]

TIMEOUT_S: Final = 90
MODULE: Final = ("-m", "dispatcher")


class Done(NamedTuple):
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.out)


def environment(server: str | None, key: str | None) -> dict[str, str]:
    """Return the variables of a command that is run for a test."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith("DISPATCHER_")}
    given = {"DISPATCHER_SERVER": server, "DISPATCHER_API_KEY": key, "COLUMNS": "100"}
    return kept | {name: value for name, value in given.items() if value is not None}


@asynccontextmanager
async def started(
    cwd: Path,
    *arguments: str,
    server: str | None = None,
    key: str | None = KEY,
    program: tuple[str, ...] = MODULE,
) -> AsyncIterator[Process]:
    """Run a command until the block ends, at the latest."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *program, *arguments),
        cwd=cwd,
        env=environment(server, key),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def command(
    cwd: Path,
    *arguments: str,
    server: str | None = None,
    key: str | None = KEY,
    program: tuple[str, ...] = MODULE,
) -> Done:
    """Run a command to its end."""
    async with started(cwd, *arguments, server=server, key=key, program=program) as process:
        return await ended(process)


async def ended(process: Process) -> Done:
    """Wait until a command ends."""
    out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def said_by(process: Process, words: str) -> str:
    """Wait until a command says something on standard error; gives that line."""
    assert process.stderr is not None
    said = ""
    async with asyncio.timeout(TIMEOUT_S):
        while line := (await process.stderr.readline()).decode():
            said += line
            if words in line:
                return line
    raise AssertionError(f"it never said {words!r}, but:\n{said}")
