"""beanstalkd, through its protocol as it stands."""

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Final, cast

from benching.figures import Sample
from benching.load import BODY, run
from benching.plan import WARM_UP
from benching.processes import HOST, child, free_port

from . import Peer, UnavailableError, find

__all__ = ["PEERS"]

PUT: Final = b"put 0 0 60 %d\r\n%s\r\n" % (len(BODY), BODY)
LIFE: Final = "put, reserve, delete on one connection"


def _measure(sync_ms: int, directory: Path, connections: int, seconds: float) -> Sample:
    if find("beanstalkd") is None:
        raise UnavailableError("beanstalkd is not installed; run with --install-peers")
    port = free_port()
    command: list[str | Path] = [
        "beanstalkd",
        "-l",
        HOST,
        "-p",
        str(port),
        "-b",
        directory,
        f"-f{sync_ms}",
    ]
    with child(command, directory) as process:
        process.await_port(port)
        run(_lives(port, connections, seconds * WARM_UP))
        return run(_lives(port, connections, seconds))


async def _lives(port: int, connections: int, seconds: float) -> Sample:
    durations: list[float] = []
    clock = time.perf_counter

    async def go_on(connection: "_Connection") -> None:
        while (began := clock()) < end:
            await connection.ask(PUT, b"INSERTED")
            reserved = await connection.ask(b"reserve\r\n", b"RESERVED")
            job = reserved.split(b" ", 2)[1]
            await connection.ask(b"delete %s\r\n" % job, b"DELETED")
            durations.append(clock() - began)

    loop = asyncio.get_running_loop()
    opened = [
        (await loop.create_connection(_Connection, HOST, port))[1] for _ in range(connections)
    ]
    start = clock()
    end = start + seconds
    await asyncio.gather(*map(go_on, opened))
    elapsed = clock() - start
    for connection in opened:
        connection.close()
    return Sample.of(durations, elapsed)


class _Connection(asyncio.Protocol):
    """One command under way at a time. Each answer is a line, and RESERVED has a body after it."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n") + 2
        if end < 2 or self._answer is None:  # noqa: PLR2004
            return
        line = self._received[:end]
        if line.startswith(b"RESERVED"):
            end += int(line.split()[2]) + 2
            if len(self._received) < end:
                return
        self._received = b""
        self._answer.set_result(line)

    async def ask(self, command: bytes, expected: bytes) -> bytes:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(command)
        line = await self._answer
        if not line.startswith(expected):
            raise RuntimeError(f"beanstalkd answered {line!r}, not {expected!r}")
        return line

    def close(self) -> None:
        self._transport.close()


PEERS: Final = (
    Peer("beanstalkd -f0", "-b DIR -f0: an fsync at every write", LIFE, partial(_measure, 0)),
    Peer(
        "beanstalkd -f50",
        "-b DIR -f50: an fsync every 50 ms, after it has acknowledged",
        LIFE,
        partial(_measure, 50),
        apart=True,
    ),
)
