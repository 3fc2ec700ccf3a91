"""The front door: every request comes in here, says who it is from, and goes to its handler.

Laws:
- Without a key a request learns nothing, not even which routes exist. With a key of a wrong role
  it learns which role it takes, before its body is looked at, or the job that it is about.
- Every answer carries `X-Request-ID`, and so does every event that the request causes.
- The requests that a busy farm makes all the time go straight to their handlers: Litestar spends
  more on each than the dispatcher does from its body to the disk (10,000 requests a second that do
  nothing on one core, where straight calls make 19,000). Litestar routes all others, and describes
  and would answer these just so.
"""

import itertools
import re
import secrets
from collections.abc import Awaitable
from typing import Final, NamedTuple

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.routes import HTTPRoute
from litestar.types import HTTPScope, Message, Receive, Scope, Send

from dispatcher.api.answers import Answer, text_answer
from dispatcher.api.auth import NO_KEY, Needs, forbidden, roles_for
from dispatcher.api.errors import TOO_LARGE, HttpError, answer_to
from dispatcher.api.requests import CommandRequest
from dispatcher.api.routes import CommandHandler
from dispatcher.core.commands import Caller
from dispatcher.serving.keys import ANONYMOUS, ApiKeys, Role
from dispatcher.serving.service import Service

__all__ = ["Front"]

_REQUEST_ID: Final = re.compile(rb"[!-~](?:[ -~]{0,126}[!-~])?")
# Ids are for finding things and nothing to guess, so not each need be random.
_PROCESS_ID: Final = secrets.token_hex(8).encode()
_request_numbers: Final = itertools.count(1)


class _Straight(NamedTuple):
    """A handler that is called without Litestar, and who may call it."""

    handler: CommandHandler
    needs: Needs
    roles: frozenset[Role | None]


class _Hangup(Exception):  # noqa: N818 - nothing went wrong here
    """The client has gone before its body had come."""


class Front:
    """The whole API. Only `keys` may pass; `None` lets everybody do everything."""

    def __init__(
        self, routes: Litestar, service: Service, keys: ApiKeys | None, body_limit_bytes: int
    ) -> None:
        self._routes = routes
        self._service = service
        self._keys = keys
        self._body_limit_bytes = body_limit_bytes
        self._open: set[tuple[str, str]] = set()
        self._exact: dict[str, _Straight] = {}
        self._below_one: dict[tuple[str, str], _Straight] = {}
        for route in routes.routes:
            if isinstance(route, HTTPRoute):
                self._add(route)

    def _add(self, route: HTTPRoute) -> None:
        for handler in route.route_handlers:
            needs: Needs = handler.opt.get("needs", Role.OPERATOR)
            if needs == NO_KEY:
                self._open |= {(method, route.path) for method in handler.http_methods}
            if (command := handler.opt.get("command")) is None:
                continue
            straight = _Straight(command, needs, roles_for(needs))
            match route.path_components:
                case [str() as first, parameter, str() as last] if not isinstance(parameter, str):
                    self._below_one[first, last] = straight
                case parts if all(isinstance(part, str) for part in parts):
                    self._exact[route.path] = straight
                case _:
                    raise TypeError(f"{route.path} has no form that can be called straight")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request: 401, or 400 if its id can't be one, or what its handler answers."""
        if scope["type"] != ScopeType.HTTP:
            return await self._routes(scope, receive, send)
        headers = dict(reversed(list(scope["headers"])))  # of several alike, the first
        given_id = headers.get(b"x-request-id", b"")
        is_id = _REQUEST_ID.fullmatch(given_id) is not None
        request_id = given_id if is_id else b"%b%016x" % (_PROCESS_ID, next(_request_numbers))
        id_header = (b"x-request-id", request_id)
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
                return await text_answer(401, f"Unauthorized{why}").send(send, id_header)
        if given_id and not is_id:
            text = "Bad Request: 'X-Request-ID' must be 1 to 128 printable ASCII characters."
            return await text_answer(400, text).send(send, id_header)
        caller = Caller(name, request_id.decode())
        state = scope.setdefault("state", {})
        state["caller"], state["role"], state["headers"] = caller, role, headers
        if scope["method"] != "POST" or (found := self._find(scope["path"])) is None:
            return await self._routes(scope, receive, _with_header(send, id_header))
        try:
            request = CommandRequest(self._service, caller, headers, receive)
            answer = await self._straight(*found, request, role)
        except _Hangup:
            return None
        except Exception as error:  # noqa: BLE001 - answered as Litestar would have it answered
            answer = answer_to(error, scope)
        return await answer.send(send, id_header)

    def _is_open(self, scope: HTTPScope) -> bool:
        return (scope["method"], f"/{scope['path'].strip('/')}") in self._open

    def _find(self, path: str) -> tuple[_Straight, list[str]] | None:
        """Find who is called straight; a path that is not plainly one of these is Litestar's."""
        plain = path.removesuffix("/")
        if (straight := self._exact.get(plain)) is not None:
            return straight, []
        parts = plain.split("/")
        if len(parts) == 4 and not parts[0] and parts[2]:  # noqa: PLR2004 - /first/parameter/last
            below = self._below_one.get((parts[1], parts[3]))
            if below is not None:
                return below, [parts[2]]
        return None

    async def _straight(
        self, route: _Straight, parameters: list[str], request: CommandRequest, role: Role | None
    ) -> Answer:
        """Have a handler answer without Litestar."""
        if role not in route.roles:
            raise forbidden(route.needs, request.caller, role)
        return await route.handler(request, await self._body(request), *parameters)

    async def _body(self, request: CommandRequest) -> bytes:
        declared = request.headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._body_limit_bytes:
            raise HttpError(413, TOO_LARGE)
        body = b""
        while True:
            message = await request.receive()
            if message["type"] != "http.request":
                raise _Hangup
            body += message["body"]
            if len(body) > self._body_limit_bytes:
                raise HttpError(413, TOO_LARGE)
            if not message["more_body"]:
                return body


def _with_header(send: Send, header: tuple[bytes, bytes]) -> Send:
    def send_with_it(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], header]
        return send(message)

    return send_with_it
