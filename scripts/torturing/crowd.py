"""A crowd that only costs: idle, slow and half-open clients, and engines that wait for work.

Law: all others are answered, and when the crowd has gone nothing of it is left.
"""

import asyncio
import resource
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx2
import msgspec

from . import Outcome, Tell
from .serving import HOST, Served, client_of, findings_in, request, serving, until

__all__ = ["crowd"]

IDLE: Final = 2_000
SLOW: Final = 200
HALF: Final = 200
WAITING: Final = 1_000
ORDINARY: Final = 200
"""Submissions that are timed."""
FILES: Final = 8_192
GONE_S: Final = 30

CROWD: Final = (
    f"With {IDLE} idle connections, {SLOW} slow and {HALF} half-open clients and {WAITING} polls "
    "that wait, others are served, and afterwards nothing is left of them."
)
_JOB: Final = msgspec.json.encode({"source_url": "http://media/in.mp4", "target_codec": "vp9"})


async def crowd(tell: Tell) -> Outcome:
    """Let the crowd in, serve others, and see it off."""
    begun = time.monotonic()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, FILES), hard), hard))
    try:
        with TemporaryDirectory(prefix="torture-") as name:
            db = Path(name, "events.db")
            async with serving(db) as server, client_of(server) as client:
                facts, failures = await _with_it(server, client, tell)
                failures += await server.stop_faults()
            failures += findings_in(db)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return Outcome("Crowd", CROWD, 1, time.monotonic() - begun, facts, failures)


async def _with_it(
    server: Served, client: httpx2.AsyncClient, tell: Tell
) -> tuple[dict[str, Any], list[str]]:
    facts: dict[str, Any] = {}
    failures: list[str] = []
    engine_ids = [f"engine {number}" for number in range(WAITING)]

    async def beat(engine_id: str) -> None:
        codecs = ["h264"]  # no job that is timed here
        body = {"engine_id": engine_id, "supported_codecs": codecs}
        await client.post("/engines/heartbeat", json=body)

    for first in range(0, WAITING, 50):
        await asyncio.gather(*map(beat, engine_ids[first : first + 50]))
    facts["alone"] = await _served(client, failures)
    sockets, before_kb = server.sockets(), server.resident_kb()
    people: list[asyncio.StreamWriter] = []

    async def come(count: int, data: list[bytes]) -> list[asyncio.StreamWriter]:
        came = []
        for number in range(count):
            _, writer = await asyncio.open_connection(HOST, server.port)
            writer.write(data[number % len(data)])
            came.append(writer)
        people.extend(came)
        return came

    tell("a crowd comes")
    try:
        await come(IDLE, [b""])
        slow = await come(SLOW, [b""])
        whole = request("POST", "/jobs/", _JOB)
        for writer in await come(
            HALF, [whole[:40], whole[:-5], b"GET /events/stream HTTP/1.1\r\n"]
        ):
            if len(people) % 2:
                with suppress(OSError):  # the dispatcher may have hung up already
                    writer.write_eof()
        asks = [{"engine_id": engine_id, "wait_s": 60} for engine_id in engine_ids]
        await come(WAITING, [request("POST", "/assign_job/", msgspec.json.encode(a)) for a in asks])
        tell("others are served")
        dribbling = asyncio.create_task(_dribble(slow, whole))
        facts["in a crowd"] = await _served(client, failures)
        facts["connections"] = server.sockets() - sockets
        await dribbling
        await _given(client, engine_ids, failures)
    finally:
        for writer in people:
            writer.close()
        for writer in people:
            with suppress(ConnectionError):
                await writer.wait_closed()
    tell("the crowd has gone")

    async def are_gone() -> bool:
        await client.get("/health")
        return server.sockets() <= sockets

    if not await until(are_gone, GONE_S):
        failures.append(f"{server.sockets() - sockets} connections are left of the crowd")
    facts["memory grown, KB"] = server.resident_kb() - before_kb
    facts["alone again"] = await _served(client, failures)
    return facts, failures


async def _served(client: httpx2.AsyncClient, failures: list[str]) -> str:
    """Submit, one after the other, and say how long that took."""
    took: list[float] = []
    for _ in range(ORDINARY):
        begun = time.perf_counter()
        answer = await client.post("/jobs/", content=_JOB)
        took.append(time.perf_counter() - begun)
        if answer.status_code != 200:  # noqa: PLR2004
            failures.append(f"a submission got {answer.status_code}: {answer.text[:200]}")
    took.sort()
    p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
    return f"p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms"


async def _dribble(slow: list[asyncio.StreamWriter], data: bytes) -> None:
    """Send a byte of each at a time."""
    for byte in data:
        for writer in slow:
            writer.write(bytes([byte]))
        await asyncio.sleep(0)


async def _given(client: httpx2.AsyncClient, engine_ids: list[str], failures: list[str]) -> None:
    """See that those who wait are still there: one of them gets the next job that they can do."""
    job = {"source_url": "http://media/in.mp4", "target_codec": "h264"}
    job_id = (await client.post("/jobs/", json=job)).json()["job_id"]
    shown = (await client.get(f"/jobs/{job_id}")).json()
    if shown["assigned_engine"] not in engine_ids:
        failures.append(f"nobody of those who wait got {shown}")
