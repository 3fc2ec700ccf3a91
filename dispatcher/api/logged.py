"""A record for each request in the dispatcher's own log, if its operator wants that.

Law: neither a query nor a header is logged, in which secrets may be.
"""

import logging
import time
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["LoggedRequests"]

REQUEST: Final = "request"
"""The attribute of a record that has the fields of its request."""
_ID: Final = b"x-request-id"

logger = logging.getLogger("dispatcher.requests")


class LoggedRequests:
    """An application, each request to which is logged when it has been answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and log it."""
        if scope["type"] != ScopeType.HTTP:
            return await self._app(scope, receive, send)
        began_s, told = time.monotonic(), {"status": 0, "request_id": ""}

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                ids = (value for name, value in message["headers"] if name.lower() == _ID)
                told["status"] = message["status"]
                told["request_id"] = next(ids, b"").decode()
            await send(message)

        try:
            return await self._app(scope, receive, noting)
        finally:
            caller = scope.get("state", {}).get("caller")
            about = {
                "method": scope["method"],
                "path": scope["path"],
                "key": None if caller is None else caller.name,
                "ms": round(1_000 * (time.monotonic() - began_s), 1),
                **told,
            }
            logger.info(
                "%(method)s %(path)s: %(status)s to %(key)s in %(ms)s ms, request %(request_id)s",
                about,
                extra={REQUEST: about},
            )
