"""What handlers take from a request."""

from typing import Any, NamedTuple, Self

from litestar import Request
from litestar.types import Receive

from dispatcher.core.commands import Caller
from dispatcher.serving.service import Service

__all__ = ["CommandRequest", "service_of"]


def service_of(request: Request[Any, Any, Any]) -> Service:
    """Give the service that answers."""
    service: Service = request.app.state.service
    return service


class CommandRequest(NamedTuple):
    """What a handler of commands may ask of its request.

    `caller` is for the log (see `front`), `headers` are by name in small letters, and `receive`
    tells when the client hangs up.
    """

    service: Service
    caller: Caller
    headers: dict[bytes, bytes]
    receive: Receive

    @classmethod
    def of(cls, request: Request[Any, Any, Any]) -> Self:
        """Make it of a request that came through Litestar."""
        state = request.scope["state"]
        return cls(service_of(request), state["caller"], state["headers"], request.receive)

    async def is_gone(self) -> None:
        """Return when the client has hung up."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
