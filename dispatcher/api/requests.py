"""What handlers take from a request."""

from typing import Any

from litestar import Request

from dispatcher.core.commands import Caller
from dispatcher.serving.service import Service

__all__ = ["caller_of", "service_of"]


def service_of(request: Request[Any, Any, Any]) -> Service:
    """Give the service that answers."""
    service: Service = request.app.state.service
    return service


def caller_of(request: Request[Any, Any, Any]) -> Caller:
    """Say who asks, for the log; see `auth`."""
    caller: Caller = request.scope["state"]["caller"]
    return caller
