"""Strangers without a key who send heads, trailers, chunks and pipelines that have no end.

Laws:
- They send as fast as they can, on several connections for each kind of flood, and connect again
  as soon as they are cut off.
- Honest clients submit meanwhile, each on a connection of its own: each gets its answer.
"""

import asyncio
import itertools
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import msgspec

from . import Outcome, Tell
from .serving import HOST, KEY, Served, client_of, findings_in, serving
from .wire import GONE, Wire

__all__ = ["head_flood"]

EACH: Final = 4
"""Connections of each flood."""
HONEST: Final = 20
"""Submissions a round, one after the other."""
ANSWER_S: Final = 20
GROWTH_KB: Final = 64 << 10
"""What so many connections may take, and pieces that the allocator keeps."""

HEAD_FLOOD: Final = (
    "While strangers flood it with heads, trailers, chunk extensions and pipelines without an end, "
    "every honest submission is answered, and memory stays bounded."
)
_CHUNKED: Final = b"POST /jobs/ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
_JOB: Final = {"source_url": "http://media/in.mp4", "target_codec": "h264"}
_PIECE: Final = 256 << 10


class _Flood(NamedTuple):
    """What is sent once on each connection, and what again and again."""

    begun: bytes
    repeated: bytes


FLOODS: Final = {
    "a path": _Flood(b"GET /", b"x"),
    "a value": _Flood(b"GET / HTTP/1.1\r\nX: ", b"x"),
    "headers": _Flood(b"GET / HTTP/1.1\r\n", b"A: b\r\n"),
    "blank lines": _Flood(b"", b"\r\n"),
    "trailers": _Flood(_CHUNKED + b"0\r\n", b"A: b\r\n"),
    "an extension": _Flood(_CHUNKED + b"1;", b"x"),
    "a pipeline": _Flood(b"", b"GET /health HTTP/1.1\r\n\r\n"),
    "a pipeline of upgrades": _Flood(
        b"", b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    ),
}


async def head_flood(rounds: int, tell: Tell) -> Outcome:
    """Let the strangers in, and submit so many times `HONEST` jobs beside them."""
    begun = time.monotonic()
    with TemporaryDirectory(prefix="torture-") as name:
        db = Path(name, "events.db")
        async with serving(db) as server:
            async with client_of(server) as client:
                await client.post("/jobs/", content=msgspec.json.encode(_JOB))  # to warm up
            before_kb = server.resident_kb()
            facts, failures = await _flooded(server, rounds, tell)
            grown_kb = server.resident_kb() - before_kb
            facts["memory grown, KB"] = grown_kb
            if grown_kb > GROWTH_KB:
                failures.append(f"memory grew by {grown_kb} KB")
            failures += await server.health_faults()
            failures += server.defects()
            failures += await server.stop_faults()
        failures += findings_in(db)
    return Outcome("Head flood", HEAD_FLOOD, rounds, time.monotonic() - begun, facts, failures)


async def _flooded(server: Served, rounds: int, tell: Tell) -> tuple[dict[str, Any], list[str]]:
    strangers = _Strangers(server.port)
    floods = [
        asyncio.create_task(strangers.send(flood))
        for flood in itertools.chain.from_iterable([FLOODS.values()] * EACH)
    ]
    answered, slowest_s = 0, 0.0
    failures = []
    try:
        await strangers.has_come.wait()
        for number in range(rounds * HONEST):
            tell(f"flooded, {number // HONEST + 1} of {rounds}")
            asked = time.monotonic()
            if not await _is_served(server.port):
                failures.append(f"a submission was not answered within {ANSWER_S} s")
                break  # the others would take as long
            answered += 1
            slowest_s = max(slowest_s, time.monotonic() - asked)
    finally:
        for task in floods:
            task.cancel()
        done = await asyncio.gather(*floods, return_exceptions=True)
    failures += [f"a flood failed: {it!r}" for it in done if isinstance(it, Exception)]
    facts: dict[str, Any] = {"connections of strangers": strangers.connections}
    facts["MB sent by them"] = strangers.sent >> 20
    facts["submitted meanwhile"] = answered
    facts["slowest submission, s"] = round(slowest_s, 2)
    return facts, failures


async def _is_served(port: int) -> bool:
    """Submit on a new connection, and say whether that was answered as it should be."""
    with suppress(TimeoutError, *GONE):
        async with asyncio.timeout(ANSWER_S):
            wire = await Wire.to(port, KEY)
            try:
                return (await wire.ask("POST", "/jobs/", _JOB)).status == 200  # noqa: PLR2004
            finally:
                wire.close()
    return False


class _Strangers:
    """Sends floods, and counts what was sent."""

    def __init__(self, port: int) -> None:
        self.connections = 0
        self.sent = 0
        self.has_come = asyncio.Event()
        self._port = port

    async def send(self, flood: _Flood) -> None:
        """Send it over and over, on a new connection whenever one is closed. Reads no answer."""
        data = flood.repeated * (_PIECE // len(flood.repeated))
        while True:
            with suppress(OSError):
                await self._send_on_one(flood.begun, data)

    async def _send_on_one(self, begun: bytes, data: bytes) -> None:
        _, writer = await asyncio.open_connection(HOST, self._port)
        self.connections += 1
        if self.connections >= len(FLOODS):
            self.has_come.set()
        try:
            writer.write(begun)
            while not writer.is_closing():
                writer.write(data)
                await writer.drain()
                self.sent += len(data)
        finally:
            writer.transport.abort()
