"""The requests that a busy farm makes all the time, taken straight to their handlers.

Litestar spends more on a request, with all that it can do and these handlers don't ask for, than
the dispatcher does from its body to the disk: on one core 10,000 requests a second that do nothing,
where straight calls make 19,000. So handlers that are declared `direct` are called here. They are
ordinary handlers of Litestar's all the same: it routes everything else, describes them in /schema,
and would answer each of these requests just so.

Laws:
- A request that is not plainly one of these is Litestar's.
- What a handler takes besides `body` and its path's parameter, it takes from the `request` that it
  is given, which has no more than `Ask` has.
"""

from typing import Any, NamedTuple

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.types import HTTPScope, Receive, Scope, Send

from dispatcher.api.auth import check_role
from dispatcher.api.errors import TOO_LARGE, HttpError, answer_to

__all__ = ["Ask", "Direct"]


class _Headers:
    """The headers of a request, by name in any case."""

    def __init__(self, scope: HTTPScope) -> None:
        self._headers: dict[bytes, bytes] = scope["state"]["headers"]

    def get(self, name: str) -> str | None:
        value = self._headers.get(name.lower().encode())
        return None if value is None else value.decode("latin-1")


class Ask:
    """What a direct handler may ask of its request; a `litestar.Request` has the same."""

    __slots__ = ("app", "headers", "receive", "route_handler", "scope")

    def __init__(
        self, app: Litestar, handler: HTTPRouteHandler, scope: HTTPScope, receive: Receive
    ) -> None:
        self.app = app
        self.route_handler = handler
        self.scope = scope
        self.receive = receive
        self.headers = _Headers(scope)


class _Hangup(Exception):  # noqa: N818 - nothing went wrong here
    """The client has gone before its body had come."""


class _Found(NamedTuple):
    handler: HTTPRouteHandler
    parameters: dict[str, str]


class Direct:
    """An application whose direct handlers are called without Litestar."""

    def __init__(self, app: Litestar, body_limit_bytes: int) -> None:
        self._app = app
        self._body_limit_bytes = body_limit_bytes
        self._exact: dict[str, HTTPRouteHandler] = {}
        self._below_one: dict[tuple[str, str], tuple[str, HTTPRouteHandler]] = {}
        for route in app.routes:
            if isinstance(route, HTTPRoute):
                for handler in route.route_handlers:
                    if handler.opt.get("direct"):
                        self._add(route, handler)

    def _add(self, route: HTTPRoute, handler: HTTPRouteHandler) -> None:
        match route.path_components:
            case [str() as first, parameter, str() as last] if not isinstance(parameter, str):
                self._below_one[first, last] = parameter.name, handler
            case parts if all(isinstance(part, str) for part in parts):
                self._exact[route.path] = handler
            case _:
                raise TypeError(f"{route.path} has no form that can be direct")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a direct request, or pass it on."""
        if (
            scope["type"] != ScopeType.HTTP
            or scope["method"] != "POST"
            or (found := self._find(scope["path"])) is None
        ):
            await self._app(scope, receive, send)
            return
        request: Any = Ask(self._app, found.handler, scope, receive)
        try:
            await check_role(request)
            body = await self._body(request, receive)
            answer = await found.handler.fn(request=request, body=body, **found.parameters)
        except _Hangup:
            return
        except Exception as error:  # noqa: BLE001 - answered as Litestar would have it answered
            answer = answer_to(error, scope)
        await answer(scope, receive, send)

    def _find(self, path: str) -> _Found | None:
        plain = path.removesuffix("/")
        if (handler := self._exact.get(plain)) is not None:
            return _Found(handler, {})
        parts = plain.split("/")
        if len(parts) == 4 and not parts[0] and parts[2]:  # noqa: PLR2004 - /first/parameter/last
            below = self._below_one.get((parts[1], parts[3]))
            if below is not None:
                return _Found(below[1], {below[0]: parts[2]})
        return None

    async def _body(self, request: Ask, receive: Receive) -> bytes:
        declared = request.headers.get("Content-Length") or ""
        if declared.isdecimal() and int(declared) > self._body_limit_bytes:
            raise HttpError(413, TOO_LARGE)
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise _Hangup
            body += message["body"]
            if len(body) > self._body_limit_bytes:
                raise HttpError(413, TOO_LARGE)
            if not message["more_body"]:
                return body
