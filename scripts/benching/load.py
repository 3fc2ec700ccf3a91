"""A lean HTTP client, and load made with it: closed loops, and a fixed rate."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple, TypeVar, cast

import msgspec
import uvloop

from .figures import Sample
from .processes import HOST, KEY

__all__ = [
    "BODY",
    "Answer",
    "Connection",
    "assign",
    "closed_loop",
    "complete",
    "connect",
    "expect",
    "job_life",
    "paced",
    "register_engines",
    "request",
    "run",
    "submit",
    "submit_many",
]

T = TypeVar("T")

BODY: Final = (
    b'{"source_url":"http://media.example.com/films/0001/original.mp4",'
    b'"target_codec":"h264","job_size":700.5,"max_retries":3}'
)
OK: Final = 200
NO_CONTENT: Final = 204


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes


class Connection(asyncio.Protocol):
    """One connection that is kept, with one request under way at a time.

    It understands what the contestants send: answers with a Content-Length, or without a body.
    """

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand over an answer that is complete."""
        received = self._received = self._received + data
        end = received.find(b"\r\n\r\n") + 4
        if end < 4 or self._answer is None:  # noqa: PLR2004
            return
        head = received[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 : head.find(b"\r", at)]) if at >= 0 else 0
        if len(received) < end + length:
            return
        self._received = b""
        answer, self._answer = self._answer, None
        if not answer.done():
            answer.set_result(Answer(int(head[9:12]), received[end:]))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits that nothing more comes."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the contestant hung up"))

    def ask(self, sent: bytes) -> Awaitable[Answer]:
        """Send a request; what is returned waits for its answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(sent)
        return self._answer

    def close(self) -> None:
        """Hang up."""
        self._transport.close()


def request(method: str, path: str, body: bytes = b"") -> bytes:
    """Give the bytes of a request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nX-API-Key: {KEY}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def expect(answer: Answer) -> bytes:
    """Give the body of an answer that is a success."""
    if answer.status not in {OK, NO_CONTENT}:
        raise RuntimeError(f"a request was answered {answer.status}: {answer.body[:200]!r}")
    return answer.body


async def connect(port: int, count: int) -> list[Connection]:
    """Open connections."""
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Connection, HOST, port))[1] for _ in range(count)]


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run load in an event loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


Deed = Callable[[Connection, int], Awaitable[None]]
"""What is done over and over on a connection, which has a number from 0."""


async def closed_loop(port: int, connections: int, seconds: float, deed: Deed) -> Sample:
    """Let each connection do the deed again as soon as it is done."""
    durations: list[float] = []
    clock = time.perf_counter

    async def go_on(connection: Connection, number: int) -> None:
        while (began := clock()) < end:
            await deed(connection, number)
            durations.append(clock() - began)

    opened = await connect(port, connections)
    start = clock()
    end = start + seconds
    await asyncio.gather(*(go_on(it, number) for number, it in enumerate(opened)))
    elapsed = clock() - start
    for connection in opened:
        connection.close()
    return Sample.of(durations, elapsed)


async def paced(
    port: int, connections: int, per_s: float, seconds: float, deed: Deed
) -> list[float]:
    """Do the deed at a fixed rate and give how long each took, in s.

    The time counts from when it should have begun, so that a deed that had to wait for a slow one
    before it is as slow as its user would find it.
    """
    durations: list[float] = []
    clock = time.perf_counter
    period = connections / per_s
    opened = await connect(port, connections)
    start = clock()

    async def go_on(connection: Connection, number: int) -> None:
        due = start + period * number / connections
        while due < start + seconds:
            if (early := due - clock()) > 0:
                await asyncio.sleep(early)
            await deed(connection, number)
            durations.append(clock() - due)
            due += period

    await asyncio.gather(*(go_on(it, number) for number, it in enumerate(opened)))
    for connection in opened:
        connection.close()
    return durations


# What is asked of the dispatcher


_SUBMIT: Final = request("POST", "/jobs/", BODY)
_COMPLETION: Final = b'{"output_url":"http://media.example.com/films/0001/h264.mp4"}'


class _Job(msgspec.Struct):
    job_id: str


_job = msgspec.json.Decoder(_Job)


async def register_engines(port: int, count: int) -> None:
    """Make `count` engines known that can do any job."""
    (connection,) = await connect(port, 1)
    for number in range(count):
        body = b'{"engine_id":"engine-%d","supported_codecs":["h264"],"status":"idle"}' % number
        expect(await connection.ask(request("POST", "/engines/heartbeat", body)))
    connection.close()


async def job_life(connection: Connection, number: int) -> None:
    """Submit a job, get one as engine `number`, complete that."""
    await submit(connection, number)
    await complete(connection, await assign(connection, number))


async def submit(connection: Connection, _number: int) -> None:
    """Submit a job."""
    expect(await connection.ask(_SUBMIT))


async def assign(connection: Connection, number: int) -> str:
    """Ask for a job as engine `number`; there must be one."""
    asked = request("POST", "/assign_job/", b'{"engine_id":"engine-%d"}' % number)
    return _job.decode(expect(await connection.ask(asked))).job_id


async def complete(connection: Connection, job_id: str) -> None:
    """Complete a job."""
    expect(await connection.ask(request("POST", f"/jobs/{job_id}/complete", _COMPLETION)))


async def submit_many(port: int, count: int, connections: int = 64) -> None:
    """Submit `count` jobs, as fast as they are taken."""
    left = iter(range(count))

    async def go_on(connection: Connection, number: int) -> None:
        for _ in left:
            await submit(connection, number)
        connection.close()

    opened = await connect(port, connections)
    await asyncio.gather(*(go_on(it, number) for number, it in enumerate(opened)))
