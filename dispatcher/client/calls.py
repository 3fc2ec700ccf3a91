"""What the calls of every kind share: the connection, ids in paths, and what an answer holds."""

from typing import Any, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from dispatcher.client.connection import Connection
from dispatcher.client.errors import RequestRefusedError
from dispatcher.urls import masked

__all__ = ["Calls", "decode", "given", "no_dispatcher", "quoted"]

T = TypeVar("T")


class Calls:
    """Calls of one kind, over the connection that a `Client` has."""

    _connection: Connection


def quoted(name: str) -> str:
    """Quote an id as one path segment. Nothing can have an id that can't be one: a 404."""
    if name in {"", ".", ".."}:
        raise RequestRefusedError(httpx2.codes.NOT_FOUND, f"there can be nothing named {name!r}")
    return quote(name, safe="", errors="surrogatepass")


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not `None`."""
    return {name: value for name, value in fields.items() if value is not None}


def decode(response: httpx2.Response, of_type: type[T]) -> T:
    """Return what an answer holds. Raises `RequestRefusedError` if it is none of a dispatcher."""
    try:
        return msgspec.json.decode(response.content, type=of_type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise no_dispatcher(response, error) from error


def no_dispatcher(response: httpx2.Response, error: Exception) -> RequestRefusedError:
    """Make the error that says that no dispatcher has answered."""
    return RequestRefusedError(
        response.status_code,
        f"{masked(str(response.url))} did not answer as a dispatcher does: {error}",
    )
