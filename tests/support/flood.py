"""Many heartbeats in a short time: pipelined on one connection, without a client in between."""

import asyncio
from collections.abc import Sequence

import msgspec

from tests.support.servers import KEY, Child, Running

__all__ = ["flood"]

AT_ONCE = 50


def _beat(engine_id: str) -> bytes:
    body = msgspec.json.encode({"engine_id": engine_id})
    head = f"POST /engines/heartbeat HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def flood(
    server: Running | Child,
    count: int,
    engine_ids: Sequence[str] = ("busy",),
    *,
    a_second: float | None = None,
) -> None:
    """Send so many heartbeats of these engines in turn, each of which must be taken."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    beats = [_beat(engine_id) for engine_id in engine_ids]
    begun = asyncio.get_running_loop().time()
    try:
        for first in range(0, count, AT_ONCE):
            sent = range(first, min(first + AT_ONCE, count))
            writer.write(b"".join(beats[n % len(beats)] for n in sent))
            for _ in sent:
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 ")
                (length,) = (
                    int(line.partition(b":")[2])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                )
                await reader.readexactly(length)
            if a_second is not None:
                due = begun + sent.stop / a_second
                await asyncio.sleep(due - asyncio.get_running_loop().time())
    finally:
        writer.close()
        await writer.wait_closed()
