"""A real web server on loopback that answers as a test tells it to, and keeps what it was asked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx2

_CARRIED: Final = ("x-api-key", "idempotency-key", "x-dispatcher-seq")
_ORDERS: Final = ("X-Dispatcher-Order", "X-Dispatcher-Seq")
FORWARD_TIMEOUT_S: Final = 90  # longer than any poll may wait

__all__ = ["Answer", "Asked", "Web", "answering", "forwarding_to", "serving", "web"]


@dataclass(frozen=True)
class Asked:
    """A request; `target` is its path as it stood on the wire."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """A response. With `then_silence`, it claims to go on and does not.

    `pieces` come after the body, each when it is ready; the whole has a `length`.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    then_silence: bool = False
    pieces: Callable[[], AsyncIterator[bytes]] | None = None
    length: int | None = None


@dataclass
class Web:
    """A running server. `held` is set when a silence begins, `left` when its client has gone."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)


Answering = Callable[[Asked], Awaitable[Answer | None]]
"""Gives the answer to a request; `None` hangs up without one."""


@asynccontextmanager
async def web(answer: Answering, *, port: int = 0) -> AsyncIterator[Web]:
    """Serve until the block ends."""
    calls: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.create_task(_one_call(here, answer, reader, writer))
        calls.add(call)
        call.add_done_callback(calls.discard)

    listener = await asyncio.start_server(accept, "127.0.0.1", port)
    here = Web("http://127.0.0.1:{1}".format(*listener.sockets[0].getsockname()))
    try:
        yield here
    finally:
        listener.close()
        under_way = list(calls)
        for call in under_way:
            call.cancel()
        ends = await asyncio.gather(*under_way, return_exceptions=True)
        await listener.wait_closed()
        faults = [end for end in ends if isinstance(end, Exception)]
        assert not faults


async def _one_call(
    here: Web, answer: Answering, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            asked = await _read(reader)
            here.asked.append(asked)
            if (given := await answer(asked)) is not None:
                writer.write(_wire(given))
                await writer.drain()
                if given.pieces is not None:
                    async for piece in given.pieces():
                        writer.write(piece)
                        await writer.drain()
                if given.then_silence:
                    here.held.set()
                    await _client_has_gone(reader)
                    here.left.set()
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _client_has_gone(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        await reader.read()


async def _read(reader: asyncio.StreamReader) -> Asked:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, target, headers, body)


def _wire(answer: Answer) -> bytes:
    length = answer.length or len(answer.body) + (1_000_000 if answer.then_silence else 0)
    headers = {"Content-Length": str(length), "Connection": "close", **answer.headers}
    if "Transfer-Encoding" in answer.headers:
        del headers["Content-Length"]
    head = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + answer.body


def answering(answer: Answer) -> Answering:
    """Answer everything in the same way."""

    async def give(_: Asked) -> Answer:
        return answer

    return give


def serving(files: Mapping[str, Path | str | Answer]) -> Answering:
    """Serve files, texts and other answers by path; everything else is 404."""

    async def give(asked: Asked) -> Answer:
        match files.get(asked.target):
            case Answer() as answer:
                return answer
            case Path() as path:
                return Answer(body=path.read_bytes())
            case str(text):
                return Answer(body=text.encode())
            case None:
                return Answer(404)

    return give


async def forwarding_to(url: str, asked: Asked) -> Answer:
    """Ask another server the same, and give its answer."""
    headers = {name: asked.headers[name] for name in _CARRIED if name in asked.headers}
    async with httpx2.AsyncClient(trust_env=False, timeout=FORWARD_TIMEOUT_S) as http:
        response = await http.request(
            asked.method, url + asked.target, content=asked.body, headers=headers
        )
    if response.status_code == HTTPStatus.NO_CONTENT:
        return Answer(204)
    orders = {name: response.headers[name] for name in _ORDERS if name in response.headers}
    return Answer(response.status_code, response.content, orders)
