"""A dispatcher in a process of its own, asked over plain sockets, and its log looked at afterwards.

Law: nothing here looks into the process; it knows what was answered, and what is in the file.
"""

import asyncio
import os
import re
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx2

from dispatcher.evidence.audit import Audit

__all__ = [
    "HOST",
    "KEY",
    "SNAPSHOTS",
    "STOP_S",
    "NotServingError",
    "Served",
    "client_of",
    "findings_in",
    "jobs_in",
    "request",
    "serving",
    "until",
]

HOST: Final = "127.0.0.1"
KEY: Final = "the key of the tortures"
ASK_S: Final = 30
"""An answer that takes longer has not come."""
SNAPSHOTS: Final = ("--snapshot-every", "100")
"""An option with which a dispatcher writes very many snapshots."""
STOP_S: Final = 20
FILES: Final = 16_384
"""Descriptors that a process with thousands of connections takes."""

ANSWERED_TOO_LATE: Final = ("the handler is closed", "Exception caught after response started")

_GREETING: Final = re.compile(r"Dispatcher ready on http://[^:]+:([0-9]+)")


class NotServingError(Exception):
    """The dispatcher did not start; the text is what it said."""


class Served(NamedTuple):
    """A dispatcher that serves, and what it has said on stderr."""

    db: Path
    port: int
    process: Process
    said: list[str]

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"

    async def stop(self) -> int:
        """Stop it as an operator would, and give its exit code."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_S):
            return await self.process.wait()

    async def stop_faults(self) -> list[str]:
        """Stop it, and say so if its exit code is not 0."""
        code = await self.stop()
        return [f"stopped with exit code {code}"] if code != 0 else []

    async def health_faults(self) -> list[str]:
        """Say what it tells of its health, if it is not well."""
        async with client_of(self) as client:
            health = (await client.get("/health")).json()
        return [f"afterwards /health says {health}"] if health["status"] != "ok" else []

    def defects(self) -> list[str]:
        """Give the errors that it did not foresee, as it told them.

        Not one of them is that uvicorn answers a pipelined request whose client has gone by then.
        """
        last_lines = []
        is_in_traceback = False
        for line in self.said:
            if is_in_traceback and not line.startswith(" "):
                last_lines.append(line)
                is_in_traceback = False
            is_in_traceback = is_in_traceback or line.startswith("Traceback")
        return [line for line in last_lines if not any(it in line for it in ANSWERED_TOO_LATE)]

    def resident_kb(self) -> int:
        """Give how much memory it has."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(next(line.split()[1] for line in status.splitlines() if "VmRSS" in line))

    def sockets(self) -> int:
        """Give how many sockets it has open. SQLite keeps some closed files, for their locks."""
        count = 0
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(OSError):
                count += str(descriptor.readlink()).startswith("socket:")
        return count


@asynccontextmanager
async def serving(db: Path, *options: str, files: int = FILES) -> AsyncIterator[Served]:
    """Serve a log until the block ends; the process is gone then, one way or the other.

    `files` is how many descriptors it may have from the start, as far as this process may say so.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dispatcher", "serve"),
        *("--db", str(db), "--host", HOST, "--port", "0", *options),
        env=os.environ | {"DISPATCHER_API_KEY": KEY},
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
    )
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (min(files, hard), hard))
    said: list[str] = []
    listening: asyncio.Task[None] | None = None
    try:
        port = await _greeting_of(process, said)
        listening = asyncio.create_task(_listen(process, said))
        yield Served(db, port, process, said)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if listening is not None:
            await listening


async def _greeting_of(process: Process, said: list[str]) -> int:
    assert process.stderr is not None  # noqa: S101 - it is a pipe
    while line := (await process.stderr.readline()).decode(errors="replace"):
        said.append(line.rstrip())
        if (greeting := _GREETING.search(line)) is not None:
            return int(greeting[1])
    raise NotServingError("\n".join(said))


async def _listen(process: Process, said: list[str]) -> None:
    assert process.stderr is not None  # noqa: S101 - it is a pipe
    while line := await process.stderr.readline():
        said.append(line.decode(errors="replace").rstrip())


def client_of(server: Served) -> httpx2.AsyncClient:
    """Make a client that carries the key and reaches no proxy."""
    return httpx2.AsyncClient(
        base_url=server.url, headers={"X-API-Key": KEY}, timeout=ASK_S, trust_env=False
    )


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """Write a request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: torture", f"X-API-Key: {KEY}", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def until(condition: Any, seconds: float, every_s: float = 0.05) -> bool:
    """Wait until an (async) condition holds, and say whether it came to that."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(every_s)
            return True
    return False


def findings_in(db: Path) -> list[str]:
    """Audit a log, and give what is wrong with it."""
    audit = Audit(db)
    audit.run()
    return [f"audit: {finding.what} (seq {finding.seq})" for finding in audit.findings]


def jobs_in(db: Path) -> set[str]:
    """Give the jobs that follow from a log, past the dispatcher."""
    audit = Audit(db)
    audit.run()
    return {job.job_id for job in audit.state.projections.jobs.all()}
