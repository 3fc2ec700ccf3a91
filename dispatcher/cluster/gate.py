"""What every request to one dispatcher of several passes first.

Law: a dispatcher that has found corruption answers nothing but its health.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from dispatcher.cluster.service import ClusterService

__all__ = ["Gate"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

_HEALTH: Final = "/health"


class Gate:
    """Passes requests on to `app`, which serves this `service`."""

    def __init__(self, app: App, service: ClusterService) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 503."""
        fault = self._service.corruption
        if scope["type"] == "http" and fault is not None and scope["path"].rstrip("/") != _HEALTH:
            await _send_503(send, fault)
            return
        await self._app(scope, receive, send)


async def _send_503(send: Send, text: str) -> None:
    body = f"Service Unavailable: {text}".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", b"1"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
