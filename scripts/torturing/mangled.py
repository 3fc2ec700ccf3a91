"""Requests as no client writes them: valid ones with bytes turned, cut, doubled, inflated.

Laws:
- Nothing that is sent gets a server error, except what HTTP itself says of methods and versions
  (501, 505); nothing hangs: once the client has said all, its connection comes to its end.
- What is refused leaves nothing: memory stops growing, but for what the events of those that were
  taken need.
"""

import asyncio
import re
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

from . import Outcome, Tell
from .serving import HOST, KEY, Served, client_of, findings_in, request, serving

__all__ = ["mangled"]

REQUESTS: Final = 200
"""Requests a round."""
AT_ONCE: Final = 50
QUIET_S: Final = 0.3
"""Who has had no answer for so long has not sent a whole request, and says that nothing follows."""
END_S: Final = 10
GROWTH_KB: Final = 32 << 10
PER_EVENT_KB: Final = 16
MAY_BE: Final = frozenset({501, 505})

MANGLED: Final = (
    "Bodies, headers and paths mangled at the level of bytes get no server error, hang nothing, "
    "and make nothing grow."
)
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) ")
_JOB: Final = b'{"source_url": "http://media/in.mp4", "target_codec": "h264", "priority": 3}'
_BEAT: Final = b'{"engine_id": "e", "benchmark_time": 1.5, "supported_codecs": ["h264"]}'
_SEEDS: Final = (
    request("POST", "/jobs/", _JOB, "Idempotency-Key: a"),
    request("POST", "/engines/heartbeat", _BEAT, "X-Request-ID: b"),
    request("POST", "/engines/benchmark_result", b'{"engine_id": "e", "benchmark_time": 2}'),
    request("POST", "/assign_job/", b'{"engine_id": "e", "wait_s": 0.01}'),
    request("POST", "/jobs/1_0/complete", b'{"output_url": "http://out", "attempt": 1}'),
    request("GET", "/jobs/?status=pending&limit=3&after=1_0"),
    request("GET", "/jobs/1_0?as_of=2026-01-01T00:00:00Z"),
    request("GET", "/events?after=1&limit=2&type=job_submitted"),
    request("GET", "/log/proof?seq=1"),
    request("DELETE", "/engines/e"),
)
_NASTY: Final = (
    b"\x00", b"\xff\xfe", b"%00", b"%ff", b"..%2f", b"\xc3\x28", b"\r", b"\n", b"\r\n\r\n", b"\t",
    b"1e400", b"-0", b"9" * 400, b"[" * 5_000, b'{"a":' * 5_000, b'"\\ud800"', b"NaN", b"\xef\xbb",
    b"A" * 70_000, b"?" * 300, b"&limit=-1", b"&as_of=9999-99-99", b"null", b"true", b"0x10",
)  # fmt: skip
_HEADERS: Final = (
    b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: 99999999999999999999",
    b"Content-Length: 1_0", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked",
    b"Expect: 100-continue", b"Upgrade: websocket\r\nConnection: upgrade", b"Host:", b": x", b"X",
    b"X-Request-ID: " + b"z" * 300, b"Idempotency-Key: " + b"\xe9" * 256, b"Last-Event-ID: -7",
    b"X-Big: " + b"b" * 100_000, b"Connection: close", b"Content-Encoding: br", b" folded: y",
)  # fmt: skip
_CHUNKS: Final = (
    b"5\r\nhello\r\n0\r\n\r\n",
    b"zz\r\n",
    b"-1\r\n",
    b"fffffffffffffffff\r\n",
    b"5\r\nhi",
)


async def mangled(rounds: int, random: Random, tell: Tell) -> Outcome:
    """Send mangled requests, so many a round."""
    begun = time.monotonic()
    with TemporaryDirectory(prefix="torture-") as name:
        db = Path(name, "events.db")
        async with serving(db) as server, client_of(server) as client:
            sending = _Sending(server)
            await sending.send([_mangled(random) for _ in range(REQUESTS)])  # to warm up
            seq, before_kb = (await client.get("/health")).json()["seq"], server.resident_kb()
            for number in range(rounds):
                tell(f"mangled, {number + 1} of {rounds}")
                await sending.send([_mangled(random) for _ in range(REQUESTS)])
            health = (await client.get("/health")).json()
            events, grown_kb = health["seq"] - seq, server.resident_kb() - before_kb
            failures = [*sending.failures, *await server.health_faults()]
            if grown_kb > GROWTH_KB + PER_EVENT_KB * events:
                failures.append(f"memory grew by {grown_kb} KB with {events} events")
            failures += server.defects()
            failures += await server.stop_faults()
        failures += findings_in(db)
    told = ", ".join(f"{n} of {status}" for status, n in sorted(sending.told.items()))
    facts: dict[str, Any] = {"requests": sending.sent, "answers": told, "events": events}
    facts["memory grown, KB"] = grown_kb
    return Outcome("Mangled", MANGLED, rounds, time.monotonic() - begun, facts, failures)


def _mangled(random: Random) -> bytes:
    data = random.choice(_SEEDS)
    for _ in range(random.choice([1, 1, 1, 2, 3, 8])):
        data = _changed(data, random)
    return data


def _changed(data: bytes, random: Random) -> bytes:
    """Change something, anywhere but in the key, without which nobody gets far."""
    at = random.randrange(len(data) + 1)
    head, separator, body = data.partition(b"\r\n\r\n")
    match random.randrange(9):
        case 0 if at < len(data):
            changed = data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
        case 1:
            changed = data[:at]
        case 2:
            changed = data[:at] + random.choice(_NASTY) + data[at:]
        case 3:
            changed = data[:at] + random.randbytes(random.randrange(1, 40)) + data[at:]
        case 4:
            changed = head + b"\r\n" + random.choice(_HEADERS) + separator + body
        case 5:
            chunked = b"\r\nTransfer-Encoding: chunked"
            changed = head + chunked + separator + random.choice(_CHUNKS)
        case 6:
            changed = data + random.choice(_SEEDS)  # pipelined
        case 7:
            line, _, rest = data.partition(b"\r\n")
            method = random.choice([b"OPTIONS", b"HEAD", b"PATCH", b"CONNECT", b"get", b""])
            changed = method + b" " + line.partition(b" ")[2] + b"\r\n" + rest
        case _:
            start, end = sorted((at, random.randrange(len(data) + 1)))
            changed = data[:start] + data[end:]
    return changed if KEY.encode() in changed or random.random() < 0.1 else data  # noqa: PLR2004


class _Sending:
    """Sends requests, many at once, and looks at what comes back."""

    def __init__(self, server: Served) -> None:
        self.failures: list[str] = []
        self.sent = 0
        self.told: dict[int, int] = {}
        self._port = server.port
        self._places = asyncio.Semaphore(AT_ONCE)

    async def send(self, requests: list[bytes]) -> None:
        """Send each on a connection of its own."""
        await asyncio.gather(*map(self._send, requests))

    async def _send(self, data: bytes) -> None:
        async with self._places:
            self.sent += 1
            said = b""
            reader, writer = await asyncio.open_connection(HOST, self._port)
            try:
                async with asyncio.timeout(END_S):
                    with suppress(OSError):
                        writer.write(data)
                        await writer.drain()
                        with suppress(TimeoutError):
                            async with asyncio.timeout(QUIET_S):
                                said = await reader.read(1 << 16)
                        writer.write_eof()
                        while more := await reader.read(1 << 16):
                            said += more
            except TimeoutError:
                self.failures.append(f"no end within {END_S} s: {data[:2_000]!r}")
            finally:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()
        for status in map(int, _STATUS.findall(said)):
            self.told[status] = self.told.get(status, 0) + 1
            if status >= 500 and status not in MAY_BE:  # noqa: PLR2004
                self.failures.append(f"{status}: {data[:2_000]!r} got {said[:500]!r}")
