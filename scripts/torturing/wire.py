"""Requests over one connection, as fast as Python can send them, so that the dispatcher is busy."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Self

__all__ = ["GONE", "Answer", "Wire"]

GONE: Final = (OSError, EOFError)
"""What a request raises when no answer comes, or not all of it."""


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Decode its body."""
        return json.loads(self.body)


class Wire:
    """A connection to a dispatcher. Speaks as much HTTP/1.1 as the dispatcher answers."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str
    ) -> None:
        self._reader, self._writer, self._key = reader, writer, key

    @classmethod
    async def to(cls, port: int, key: str, host: str = "127.0.0.1") -> Self:
        """Connect."""
        return cls(*await asyncio.open_connection(host, port), key)

    async def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request and wait for the whole answer. Raises one of `GONE` if none comes."""
        content = b"" if body is None else json.dumps(body).encode()
        lines = {"Host": "torture", "X-API-Key": self._key, "Content-Length": str(len(content))}
        head = "".join(f"{name}: {it}\r\n" for name, it in (lines | dict(headers or {})).items())
        self._writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
        status, *told = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        names = {name.lower(): it for name, _, it in (line.partition(": ") for line in told)}
        length = int(names.get("content-length", 0))
        return Answer(int(status.split()[1]), names, await self._reader.readexactly(length))

    def close(self) -> None:
        """Let go of the connection."""
        self._writer.close()
