"""What handlers use of a request."""

from typing import Any, NamedTuple, Self

from litestar import Request
from litestar.types import Receive, Scope

from dispatcher.core.commands import Caller
from dispatcher.serving.quotas import Asker, Holding
from dispatcher.serving.service import Service

__all__ = ["CommandRequest", "asker_of", "holding_of", "service_of", "until_gone"]


async def until_gone(receive: Receive) -> None:
    """Return when the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


def service_of(request: Request[Any, Any, Any]) -> Service:
    """Return the service of the application."""
    service: Service = request.app.state.service
    return service


def asker_of(request: Request[Any, Any, Any]) -> Asker:
    """Return whose share a request uses."""
    asker: Asker = request.scope["state"]["asker"]
    return asker


def holding_of(scope: Scope) -> Holding:
    """Return what a request holds of its key's share of unread answers. `front` ends it."""
    holding: Holding = scope["state"]["holding"]
    return holding


class CommandRequest(NamedTuple):
    """What a command handler gets of its request.

    `caller` is for the log (see `front`). The names of `headers` are in lower case. `receive` tells
    when the client disconnects. `speaks_for` is the only engine that the key may act for; `None` if
    it may act for all.
    """

    service: Service
    caller: Caller
    headers: dict[bytes, bytes]
    receive: Receive
    speaks_for: str | None = None

    @classmethod
    def of(cls, request: Request[Any, Any, Any]) -> Self:
        """Make it from a request that came through Litestar."""
        state = request.scope["state"]
        return cls(
            service_of(request),
            state["caller"],
            state["headers"],
            request.receive,
            state["speaks_for"],
        )
