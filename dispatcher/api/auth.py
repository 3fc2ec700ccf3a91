"""Who asks: the `X-API-Key` header (protocol.md, Authentication).

This wraps the whole application, so that a request without a key learns nothing, not even which
routes exist. Only `GET /health` needs no key.
"""

import hashlib
import hmac
from collections.abc import Mapping

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from dispatcher.api.errors import text_response

__all__ = ["ANONYMOUS", "ApiKeys", "Authenticated"]

ANONYMOUS = "anonymous"
"""The actor of every request where auth is off."""


class ApiKeys:
    """The keys that may pass, kept as digests."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._names = {hashlib.sha256(key.encode()).digest(): name for name, key in keys.items()}

    def name_of(self, key: bytes) -> str | None:
        """Give the name of a key, or `None`; takes as long whichever key it is, or none."""
        given = hashlib.sha256(key).digest()
        found = None
        for digest, name in self._names.items():
            if hmac.compare_digest(digest, given):
                found = name
        return found


class Authenticated:
    """An ASGI application behind its keys. The key's name becomes the request's actor."""

    def __init__(self, app: ASGIApp, keys: ApiKeys | None) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401."""
        if scope["type"] == ScopeType.HTTP and scope["path"].strip("/") != "health":
            actor: str | None = ANONYMOUS
            if self._keys is not None:
                key = next((v for name, v in scope["headers"] if name == b"x-api-key"), b"")
                if not key:
                    refusal = text_response(401, "Unauthorized: Missing 'X-API-Key' header.")
                    return await refusal(scope, receive, send)
                actor = self._keys.name_of(key)
            if actor is None:
                return await text_response(401, "Unauthorized")(scope, receive, send)
            scope.setdefault("state", {})["actor"] = actor
        return await self._app(scope, receive, send)
