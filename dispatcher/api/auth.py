"""Who asks, and whether they may: the headers `X-API-Key` and `X-Request-ID`, and roles.

Laws:
- Without a key a request learns nothing, not even which routes exist. With a key of a wrong role
  it learns which role it takes, before its body is looked at, or the job that it is about.
- A route says what it needs in one place, `openapi.answers(needs=…)`, and `check_role` is the one
  that sees to it. A route that says nothing is the operators' alone.
- Every answer carries `X-Request-ID`, and so does every event that the request causes.
"""

import itertools
import re
import secrets
from collections.abc import Awaitable
from typing import Any, Final, Literal

from litestar import Litestar, Request
from litestar.enums import ScopeType
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from dispatcher.api.answers import text_answer
from dispatcher.api.errors import HttpError
from dispatcher.core.commands import Caller
from dispatcher.serving.keys import ANONYMOUS, ApiKeys, Role

__all__ = ["ANY_KEY", "NO_KEY", "Authenticated", "Needs", "check_role"]

ANY_KEY: Final = "any key"
NO_KEY: Final = "no key"
Needs = Role | Literal["any key", "no key"]
"""What a route asks of those who call it. A role, so that others but operators are kept out."""

_REQUEST_ID: Final = re.compile(rb"[!-~](?:[ -~]{0,126}[!-~])?")
# Ids are for finding things and nothing to guess, so not each need be random.
_PROCESS_ID: Final = secrets.token_hex(8)
_request_numbers: Final = itertools.count(1)


async def check_role(request: Request[Any, Any, Any]) -> None:
    """Raise 403 unless the caller's role is the one that the route needs."""
    needs: Needs = request.route_handler.opt.get("needs", Role.OPERATOR)
    state = request.scope["state"]
    if needs in {ANY_KEY, NO_KEY} or state["role"] in {needs, Role.OPERATOR}:
        return
    raise HttpError(
        403,
        f"Forbidden: this needs the role '{needs}'; "
        f"the key '{state['caller'].name}' has the role '{state['role']}'.",
    )


class Authenticated:
    """An application behind its keys; `None` lets everybody do everything.

    `routes` knows which of them need no key; requests are passed on to `app`, which is told who
    calls, by `caller` and `role` in the scope's state. `headers` has them by name, in bytes.
    """

    def __init__(self, routes: Litestar, app: ASGIApp, keys: ApiKeys | None) -> None:
        self._app = app
        self._keys = keys
        self._open = {
            (method, route.path)
            for route in routes.routes
            if isinstance(route, HTTPRoute)
            for handler in route.route_handlers
            if handler.opt.get("needs") == NO_KEY
            for method in handler.http_methods
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401, or 400 if its id can't be one."""
        if scope["type"] != ScopeType.HTTP:
            return await self._app(scope, receive, send)
        headers = dict(reversed(list(scope["headers"])))  # of several alike, the first
        given_id = headers.get(b"x-request-id", b"")
        is_id = _REQUEST_ID.fullmatch(given_id) is not None
        request_id = given_id.decode() if is_id else f"{_PROCESS_ID}{next(_request_numbers):016x}"
        send = _with_request_id(send, request_id)
        name: str = ANONYMOUS
        role: Role | None = Role.OPERATOR
        if self._keys is not None:
            secret = headers.get(b"x-api-key", b"")
            if secret and (key := self._keys.find(secret)) is not None:
                name, role = key.name, key.role
            elif self._is_open(scope):
                role = None
            else:
                why = "" if secret else ": Missing 'X-API-Key' header."
                return await text_answer(401, f"Unauthorized{why}")(scope, receive, send)
        if given_id and not is_id:
            text = "Bad Request: 'X-Request-ID' must be 1 to 128 printable ASCII characters."
            return await text_answer(400, text)(scope, receive, send)
        state = scope.setdefault("state", {})
        state["caller"] = Caller(name, request_id)
        state["role"] = role
        state["headers"] = headers
        return await self._app(scope, receive, send)

    def _is_open(self, scope: HTTPScope) -> bool:
        return (scope["method"], f"/{scope['path'].strip('/')}") in self._open


def _with_request_id(send: Send, request_id: str) -> Send:
    header = (b"x-request-id", request_id.encode())

    def send_with_it(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], header]
        return send(message)

    return send_with_it
