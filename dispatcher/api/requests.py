"""What handlers take from a request and give in answer."""

from typing import Any

import msgspec
from litestar import Request
from litestar.response.base import ASGIResponse

from dispatcher.commands import Caller
from dispatcher.service import Service

__all__ = ["caller_of", "json_response", "service_of"]

_encode = msgspec.json.Encoder().encode


def service_of(request: Request[Any, Any, Any]) -> Service:
    """Give the service that answers."""
    service: Service = request.app.state.service
    return service


def caller_of(request: Request[Any, Any, Any]) -> Caller:
    """Say who asks, for the log; see `auth`."""
    caller: Caller = request.scope["state"]["caller"]
    return caller


def json_response(
    value: Any, *, status: int = 200, headers: dict[str, str] | None = None
) -> ASGIResponse:
    """Make an `application/json` answer."""
    return ASGIResponse(
        body=_encode(value), status_code=status, media_type="application/json", headers=headers
    )
