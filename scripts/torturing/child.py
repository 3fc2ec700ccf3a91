"""A dispatcher in a process of its own, from its first moment to its last."""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["KEY", "START_S", "Child", "NotStartedError", "begin", "send", "started"]

KEY: Final = "the key of the torture"
START_S: Final = 30
"""A start takes no longer."""
SNAPSHOT_EVERY: Final = 200
SEGMENT_EVENTS: Final = 256
LEASE_S: Final = 86_400
"""Nobody loses a job by being slow: whoever was handed one has it."""

_GREETING: Final = re.compile(r"Dispatcher ready on http://127\.0\.0\.1:(\d+), log")


class NotStartedError(Exception):
    """It did not start; the text has what it said."""


class Child(NamedTuple):
    """A dispatcher that serves, and what it has said so far."""

    process: Process
    port: int
    said: list[str]


async def begin(db: Path) -> Process:
    """Have one start."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dispatcher", "serve", "--db", str(db), "--port", "0"),
        *("--lease-s", str(LEASE_S), "--block-after", "0"),
        *("--snapshot-every", str(SNAPSHOT_EVERY)),
        *("--segment-events", str(SEGMENT_EVENTS), "--segment-level", "1"),
        env=os.environ | {"DISPATCHER_API_KEY": KEY},
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
    )


@asynccontextmanager
async def started(db: Path) -> AsyncIterator[Child]:
    """Have one start, and wait until it serves. When the block ends, so does it, if it has not.

    `NotStartedError` if it does not come to that.
    """
    process, said = await begin(db), list[str]()
    try:
        try:
            async with asyncio.timeout(START_S):
                port = await _greeting_of(process, said)
        except TimeoutError:
            raise NotStartedError(f"it did not start in {START_S} s: {said}") from None
        listening = asyncio.create_task(_listen(process, said))
        yield Child(process, port, said)
        await listening
    finally:
        send(process, signal.SIGKILL)
        await process.wait()


def send(process: Process, signum: signal.Signals) -> None:
    """Send a signal, past asyncio, which would look whether it has ended, and take its code."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signum)


async def _greeting_of(process: Process, said: list[str]) -> int:
    assert process.stderr is not None  # noqa: S101 - for the types
    while line := (await process.stderr.readline()).decode():
        said.append(line)
        if (greeting := _GREETING.search(line)) is not None:
            return int(greeting[1])
    raise NotStartedError(f"it did not start: {said}")


async def _listen(process: Process, said: list[str]) -> None:
    """Hear what it says, so that it never waits to be heard."""
    assert process.stderr is not None  # noqa: S101 - for the types
    while line := (await process.stderr.readline()).decode():
        said.append(line)
