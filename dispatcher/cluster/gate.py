"""What every request to one dispatcher of several passes first.

Laws:
- Nobody reads older than he has seen: a request with `X-Dispatcher-Seq`, the highest that its
  client has had from any dispatcher, waits until that seq is shown here. If that takes too long,
  the answer is 503, and the client asks another dispatcher.
- A dispatcher that has found corruption answers nothing but its health.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from dispatcher.cluster.service import ClusterService

__all__ = ["Gate"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

WAIT_S: Final = 2.0
"""How long a request waits for what its client has seen."""
_HEALTH: Final = "/health"
_SEQ: Final = b"x-dispatcher-seq"
_DIGITS: Final = 19


class Gate:
    """Passes requests on to `app`, which serves this `service`."""

    def __init__(self, app: App, service: ClusterService) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 503."""
        if scope["type"] == "http" and (fault := await self._fault(scope)) is not None:
            await _send_503(send, fault)
            return
        await self._app(scope, receive, send)

    async def _fault(self, scope: Scope) -> str | None:
        service = self._service
        if service.corruption is not None and scope["path"].rstrip("/") != _HEALTH:
            return service.corruption
        seen = next((value for name, value in scope["headers"] if name == _SEQ), b"")
        if not (seen.isdigit() and len(seen) <= _DIGITS):
            return None
        if await service.wait_for(int(seen), WAIT_S):
            return None
        return (
            f"this dispatcher is at seq {service.projections.seq}, and you have seen {int(seen)}; "
            "try again, or ask another dispatcher"
        )


async def _send_503(send: Send, text: str) -> None:
    body = f"Service Unavailable: {text}".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", b"1"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
