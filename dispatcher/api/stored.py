"""What the routes of the store have in common: its errors, and how a file is described."""

from typing import Any, Final
from urllib.parse import quote

from litestar import Request
from litestar.openapi.spec import OpenAPIType, Parameter, Schema

from dispatcher.api.errors import HttpError
from dispatcher.api.requests import service_of
from dispatcher.store import (
    BusyError,
    Store,
    StoreError,
    StoreFullError,
    TooLargeError,
    TooManyPartsError,
    UnknownUploadError,
    WrongOffsetError,
    WrongSha256Error,
)

__all__ = ["OFFSET", "RANGE", "described", "refused", "store_of"]

RANGE: Final = Parameter("Range", "header", schema=Schema(type=OpenAPIType.STRING))
OFFSET: Final = "Upload-Offset"
"""The header that says how many bytes of an upload are there (the name is that of tus)."""
NO_STORE: Final = (
    "Not Found: this dispatcher has no store; its operator can give it one with `serve --store DIR`"
)
_GUARDED: Final = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}


def store_of(request: Request[Any, Any, Any]) -> Store:
    """Return the store. Raises `HttpError` if there is none."""
    if (store := service_of(request).store) is None:
        raise HttpError(404, NO_STORE)
    return store


def refused(error: StoreError) -> HttpError:
    """Word an error of the store."""
    match error:
        case WrongOffsetError(size=size):
            return HttpError(409, f"Conflict: {error}.", {OFFSET: str(size)})
        case BusyError():
            return HttpError(409, f"Conflict: {error}.", {"Retry-After": "1"})
        case WrongSha256Error():
            return HttpError(400, f"Bad Request: {error}.")
        case UnknownUploadError():
            return HttpError(404, f"Not Found: {error}.")
        case TooLargeError():
            return HttpError(413, f"Request Entity Too Large: {error}.")
        case TooManyPartsError():
            return HttpError(429, f"Too Many Requests: {error}.", {"Retry-After": "60"})
        case StoreFullError():
            return HttpError(507, f"Insufficient Storage: {error}.")
        case _:
            return HttpError(503, f"Service Unavailable: {error}.", {"Retry-After": "5"})


def described(sha256: str, length: int, name: str) -> dict[str, str]:
    """Return the headers of a file."""
    named = f"; filename*=UTF-8''{quote(name, safe='')}" if name else ""
    return {
        "Content-Length": str(length),
        "Accept-Ranges": "bytes",
        "ETag": f'"{sha256}"',
        "Content-Disposition": f"attachment{named}",
        **_GUARDED,
    }
