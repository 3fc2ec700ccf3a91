"""Clients on real sockets that hang up at any byte of a request, and at any time of an answer.

Law: a request of which not all has come changes nothing; one that has come whole is carried out
whole, whether or not anybody hears of it.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx2
import msgspec

from . import Outcome, Tell
from .serving import HOST, Served, client_of, findings_in, request, serving, until

__all__ = ["hang_up"]

ROUND: Final = 60
"""Answers a round that are not heard to their end."""
FORGOTTEN_S: Final = 20
"""Within this the dispatcher has let go of who is gone."""

SOCKETS: Final = (
    "A client that hangs up at any byte of a request, or at any time of an answer, changes nothing "
    "by half a request, keeps no connection open, and is given no job."
)
_JOB: Final = msgspec.json.encode({"source_url": "http://media/in.mp4", "target_codec": "h264"})
_RESET: Final = struct.pack("ii", 1, 0)


async def hang_up(rounds: int, random: Random, tell: Tell) -> Outcome:
    """Try it against a dispatcher in a process of its own."""
    begun = time.monotonic()
    facts: dict[str, Any] = {}
    with TemporaryDirectory(prefix="torture-") as name:
        db = Path(name, "events.db")
        async with serving(db) as server, client_of(server) as client:
            hanging = _HangingUp(server, client, random)
            await hanging.some_life()
            for number in range(rounds):
                tell(f"hanging up, {number + 1} of {rounds}")
                await hanging.at_each_byte()
                await hanging.while_answered()
                await hanging.while_waiting()
            failures = hanging.failures
            failures += await server.stop_faults()
            failures += server.defects()
        failures += findings_in(db)
    facts = {"connections": hanging.connections}
    return Outcome("Hang up", SOCKETS, rounds, time.monotonic() - begun, facts, failures)


class _HangingUp:
    def __init__(self, server: Served, client: httpx2.AsyncClient, random: Random) -> None:
        self.failures: list[str] = []
        self.connections = 0
        self._server = server
        self._client = client
        self._random = random
        self._sockets = 0

    async def some_life(self) -> None:
        """Make something that can be shown, and see how many sockets that takes."""
        for number in range(100):
            body = {"source_url": f"http://media/{number}" + "x" * 500, "target_codec": "h264"}
            await self._client.post("/jobs/", json=body)
        await self._client.post("/engines/heartbeat", json={"engine_id": "e"})
        # Questions about the past are answered by processes that stay: two, and so are asked two.
        await asyncio.gather(*(self._sent(request("GET", "/jobs/?as_of=9"), 99) for _ in range(4)))
        self._sockets = self._server.sockets()

    async def at_each_byte(self) -> None:
        """Send every part of a submission that is not the whole: nothing may come of it."""
        before = await self._seq()
        whole = request("POST", "/jobs/", _JOB)
        await asyncio.gather(*(self._sent(whole[:size], 0) for size in range(len(whole))))
        if (after := await self._seq()) != before:
            self.failures.append(f"of parts of a request came {after - before} events")
        await self._is_forgotten()

    async def while_answered(self) -> None:
        """Send requests whole, and hang up somewhere in their answers."""
        paths = ("/jobs/", "/events?limit=200", "/events/stream?after=0", "/jobs/?as_of=50")
        asked = [request("GET", self._random.choice(paths)) for _ in range(ROUND)]
        asked += [request("POST", "/jobs/", _JOB) for _ in range(ROUND)]
        # Of many questions about the past at once most would be turned away.
        for first in range(0, len(asked), 8):
            await asyncio.gather(
                *(
                    self._sent(it, self._random.choice([0, 1, self._random.randrange(200_000)]))
                    for it in asked[first : first + 8]
                )
            )
        await self._is_forgotten()

    async def while_waiting(self) -> None:
        """Wait for work, and hang up: the next job is not for who is gone."""
        engine_ids = [f"gone {number}" for number in range(10)]
        for engine_id in engine_ids:
            await self._client.post("/engines/heartbeat", json={"engine_id": engine_id})
        while (await self._client.post("/assign_job/", json={"engine_id": "e"})).status_code == 200:  # noqa: PLR2004
            await self._client.post(
                f"/jobs/{(await self._held())}/complete", json={"output_url": "http://out"}
            )
        bodies = [
            msgspec.json.encode({"engine_id": engine_id, "wait_s": 60}) for engine_id in engine_ids
        ]
        sockets = self._server.sockets()
        async with AsyncExitStack() as connections:
            for body in bodies:
                _, writer = await asyncio.open_connection(HOST, self._server.port)
                connections.callback(self._close, writer)
                writer.write(request("POST", "/assign_job/", body))
            if not await self._comes_to(lambda: self._server.sockets() >= sockets + len(bodies)):
                self.failures.append("those who wait for work are not let in")
        self.connections += len(bodies)
        if not await self._comes_to(lambda: self._server.sockets() <= sockets):
            self.failures.append("those who waited for work and are gone are kept connected")
        job_id = (await self._client.post("/jobs/", content=_JOB)).json()["job_id"]
        job = (await self._client.get(f"/jobs/{job_id}")).json()
        if job["status"] != "pending":
            self.failures.append(f"a job was given to {job.get('assigned_engine')}, who is gone")

    async def _held(self) -> str:
        engines = (await self._client.get("/engines/")).json()
        job_id: str = next(it["current_job"] for it in engines if it["engine_id"] == "e")
        return job_id

    async def _sent(self, data: bytes, hear: int) -> None:
        """Send this, hear so much of the answer, and hang up, with a FIN or with a RST."""
        reader, writer = await asyncio.open_connection(HOST, self._server.port)
        self.connections += 1
        with suppress(ConnectionError):
            writer.write(data)
            await writer.drain()
            if hear:
                with suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await reader.read(hear)
            else:
                for _ in range(self._random.randrange(4)):
                    await asyncio.sleep(0)
        self._close(writer)
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _seq(self) -> int:
        seq: int = (await self._client.get("/health")).json()["seq"]
        return seq

    def _close(self, writer: asyncio.StreamWriter) -> None:
        if self._random.random() < 0.5:  # noqa: PLR2004 - as often as not
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.close()

    async def _is_forgotten(self) -> None:
        """Wait until the dispatcher has let go of all who are gone."""
        if not await self._comes_to(lambda: self._server.sockets() <= self._sockets):
            self.failures.append(
                f"{self._server.sockets()} sockets are open, and {self._sockets} were before"
            )

    async def _comes_to(self, condition: Callable[[], bool]) -> bool:
        async def is_so() -> bool:
            await self._seq()
            return condition()

        return await until(is_so, FORGOTTEN_S)
