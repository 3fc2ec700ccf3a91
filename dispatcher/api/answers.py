"""What a handler returns: a status, a body and headers, as they are sent.

Litestar's own responses can do more, but they cost more than deciding a command does.

Law: while a client has not read a long body, its key's share of unread answers is held.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar.types import Receive, Scope, Send

from dispatcher.api.requests import holding_of
from dispatcher.serving.quotas import PIECE_BYTES

__all__ = ["JSON", "NDJSON", "TEXT", "Answer", "json_answer", "text_answer"]

JSON = b"application/json"
NDJSON = b"application/x-ndjson"
TEXT = b"text/plain; charset=utf-8"

_encode = msgspec.json.Encoder().encode


class Answer:
    """An ASGI application that sends one response. Without a `media_type` it has no body."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        media_type: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.headers: list[tuple[bytes, bytes]] = []
        if media_type is not None:
            self.headers.append((b"content-type", media_type))
            self.headers.append((b"content-length", b"%d" % len(body)))
        if headers is not None:
            self.headers += ((k.lower().encode(), v.encode("latin-1")) for k, v in headers.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response. `TooManyError` if it is long and its key has too many unread ones."""
        del receive
        body, first = self.body, 0
        if len(body) > PIECE_BYTES:
            holding_of(scope).at_least(len(body))
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        while len(body) - first > PIECE_BYTES:  # the next waits until this one is nearly read
            piece = body[first : first + PIECE_BYTES]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            first += PIECE_BYTES
        rest = body[first:]
        await send({"type": "http.response.body", "body": rest, "more_body": False})


def text_answer(status: int, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Make a plain text response."""
    return Answer(status, text.encode(errors="replace"), TEXT, headers)


def json_answer(
    value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    """Make a response with a value as JSON."""
    return Answer(status, _encode(value), JSON, headers)
