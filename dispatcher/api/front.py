"""The entry point: every request is authenticated here, gets an id and goes to its handler.

Laws:
- A request without a key learns nothing, not even which routes exist. A request whose key has the
  wrong role learns which role is needed, before its body or its job is looked at.
- What an answer holds of its key's share is given back when it was sent or its client is gone.
- Every response carries `X-Request-ID`, and so does every event that the request causes.
- A request that carries `X-Dispatcher-Seq` is answered only by what includes that event, and is
  told how far the answer is. To one that does not, this costs nothing. Where no key is needed it is
  not looked at, so that strangers make nobody wait.
- The most frequent requests of a busy farm go directly to their handlers. Litestar spends more time
  on each than the dispatcher does from its body to the disk (10,000 requests a second that do
  nothing on one core, where direct calls make 19,000). Litestar routes all others. It also
  describes the direct ones, and would respond to them in the same way.
"""

import asyncio
import itertools
import re
import secrets
from collections.abc import Awaitable
from typing import Final, NamedTuple

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.routes import HTTPRoute
from litestar.types import HTTPScope, Message, Receive, Scope, Send

from dispatcher import log_fields
from dispatcher.api.answers import Answer, text_answer
from dispatcher.api.auth import NO_KEY, Needs, forbidden, roles_for
from dispatcher.api.bodies import MAX_INTEGER
from dispatcher.api.errors import TOO_LARGE, HttpError, answer_to, stopped
from dispatcher.api.requests import CommandRequest
from dispatcher.api.routes import CommandHandler
from dispatcher.core.commands import Caller
from dispatcher.headers import SEQ_HEADER
from dispatcher.serving.catching_up import BehindError
from dispatcher.serving.keys import ANONYMOUS, ApiKeys, Role
from dispatcher.serving.quotas import Asker, Holding, TooManyError
from dispatcher.serving.service import Service

__all__ = ["Front"]

_REQUEST_ID: Final = re.compile(rb"[!-~](?:[ -~]{0,126}[!-~])?")
_SEQ: Final = SEQ_HEADER.lower().encode()
_MAX_DIGITS: Final = len(str(MAX_INTEGER))
# Ids only serve to find requests. They need not be hard to guess, so a counter will do.
_METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD"})
_FOR_PROMETHEUS: Final = "metrics"
"""Where a key may come as a bearer token: Prometheus can send no header of another name."""
_OTHER: Final = "other"
_UNAUTHORIZED: Final = "unauthorized"
"""What requests without a key are counted as: they learn nothing of routes, and name none."""
_PROCESS_ID: Final = secrets.token_hex(8).encode()
_request_numbers: Final = itertools.count(1)


class _DirectRoute(NamedTuple):
    """A handler that is called without Litestar, and who may call it."""

    path: str
    handler: CommandHandler
    needs: Needs
    roles: frozenset[Role | None]


class _Hangup(Exception):  # noqa: N818 - nothing went wrong here
    """The client disconnected before its body was complete."""


class Front:
    """The whole API. Only `keys` are accepted; `None` lets every caller do everything."""

    def __init__(
        self, routes: Litestar, service: Service, keys: ApiKeys | None, body_limit_bytes: int
    ) -> None:
        self._routes = routes
        self._service = service
        self._keys = keys
        self._body_limit_bytes = body_limit_bytes
        self._counted = service.metrics.requests
        self._open: set[tuple[str, str]] = set()
        self._open_folders: set[tuple[str, str]] = set()
        self._direct: dict[str, _DirectRoute] = {}
        self._direct_with_parameter: dict[tuple[str, str], _DirectRoute] = {}
        for route in routes.routes:
            if isinstance(route, HTTPRoute):
                self._add(route)

    def _add(self, route: HTTPRoute) -> None:
        for handler in route.route_handlers:
            needs: Needs = handler.opt.get("needs", Role.OPERATOR)
            if needs == NO_KEY:
                folder, _, last = route.path.rpartition("/")
                is_folder = last.startswith("{")
                known, path = (
                    (self._open_folders, folder) if is_folder else (self._open, route.path)
                )
                known |= {(method, path) for method in handler.http_methods}
            if (command := handler.opt.get("command")) is None:
                continue
            direct = _DirectRoute(route.path_format, command, needs, roles_for(needs))
            match route.path_components:
                case [str() as first, parameter, str() as last] if not isinstance(parameter, str):
                    self._direct_with_parameter[first, last] = direct
                case parts if all(isinstance(part, str) for part in parts):
                    self._direct[route.path] = direct
                case _:
                    raise TypeError(f"{route.path} has no form that can be called straight")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with 401, with 400 if the request's id is invalid, or as its handler says."""
        if scope["type"] != ScopeType.HTTP:
            return await self._routes(scope, receive, send)
        headers = dict(reversed(list(scope["headers"])))  # the first of equal names wins
        given_id = headers.get(b"x-request-id", b"")
        is_id = _REQUEST_ID.fullmatch(given_id) is not None
        request_id = given_id if is_id else b"%b%016x" % (_PROCESS_ID, next(_request_numbers))
        id_header = (b"x-request-id", request_id)
        name: str = ANONYMOUS
        role: Role | None = Role.OPERATOR
        speaks_for: str | None = None
        if self._keys is not None:
            secret = headers.get(b"x-api-key", b"")
            if not secret and scope["path"].strip("/") == _FOR_PROMETHEUS:
                secret = _bearer(headers)
            if secret and (key := self._keys.find(secret)) is not None:
                name, role, speaks_for = key.name, key.role, key.engine
            elif self._is_open(scope):
                role = None
            else:
                self._counted[_OTHER, _UNAUTHORIZED, 401] += 1
                why = "" if secret else ": Missing 'X-API-Key' header."
                return await _send(text_answer(401, f"Unauthorized{why}"), send, id_header)
        if given_id and not is_id:
            text = "Bad Request: 'X-Request-ID' must be 1 to 128 printable ASCII characters."
            return await _send(text_answer(400, text), send, id_header)
        caller = Caller(name, request_id.decode())
        log_fields.request_id.set(caller.request_id)
        if (seen := headers.get(_SEQ)) and not self._is_open(scope):
            send = self._with_seq(send)
            if (refusal := await self._refusal_of(seen, name, scope)) is not None:
                self._counted[_OTHER, _OTHER, refusal.status] += 1
                return await _send(refusal, send, id_header)
        state = scope.setdefault("state", {})
        state["caller"], state["role"], state["headers"] = caller, role, headers
        state["speaks_for"] = speaks_for
        if scope["method"] != "POST" or (found := self._find_direct(scope["path"])) is None:
            state["asker"] = Asker(name, role is Role.OPERATOR)
            return await self._call_by_litestar(scope, receive, send, id_header)
        try:
            request = CommandRequest(self._service, caller, headers, receive, speaks_for)
            answer = await self._call_directly(*found, request, role)
        except _Hangup:
            return None
        except asyncio.CancelledError:  # the server stops, and the time for this is over
            answer = stopped()
        except Exception as error:  # noqa: BLE001 - handled as Litestar would handle it
            answer = answer_to(error, scope)
        self._counted["POST", found[0].path, answer.status] += 1
        return await _send(answer, send, id_header)

    async def _call_by_litestar(
        self, scope: HTTPScope, receive: Receive, send: Send, header: tuple[bytes, bytes]
    ) -> None:
        state = scope["state"]
        state["holding"] = holding = Holding(self._service.quotas.answers, state["asker"])
        try:
            await self._routes(scope, receive, self._answering(scope, send, header))
        except asyncio.CancelledError:  # the server stops, and the time for this is over
            if "has_begun" in state:
                raise
            await _send(stopped(), send, header)
        finally:
            holding.end()

    def _answering(self, scope: HTTPScope, send: Send, header: tuple[bytes, bytes]) -> Send:
        """Return what sends a response of Litestar's with one more header, and counts it."""

        def send_with_it(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], header]
                scope["state"]["has_begun"] = True
                method = scope["method"] if scope["method"] in _METHODS else _OTHER
                path = scope.get("path_template") or _OTHER  # a route's, not what was asked for
                self._counted[method, path, message["status"]] += 1
            return send(message)

        return send_with_it

    async def _refusal_of(self, seen: bytes, name: str, scope: HTTPScope) -> Answer | None:
        """Wait until the log has what the client has seen; return an answer if it does not come.

        A request that waits counts as one that waits for work, of the same key.
        """
        seq = int(seen) if seen.isdigit() and len(seen) <= _MAX_DIGITS else MAX_INTEGER + 1
        if seq > MAX_INTEGER:
            text = "Bad Request: 'X-Dispatcher-Seq' must be a non-negative integer."
            return text_answer(400, text)
        if seq <= self._service.projections.seq:
            return None
        try:
            with self._service.quotas.polls.holding(Asker(name, is_operator=False)):
                await self._service.catching_up.until(seq)
        except (BehindError, TooManyError) as error:
            return answer_to(error, scope)
        return None

    def _with_seq(self, send: Send) -> Send:
        """Tell how far the projections are, unless the answer itself tells of which seq it is."""

        def send_with_it(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                if not any(name == _SEQ for name, _ in headers):
                    seq = b"%d" % self._service.projections.seq
                    message["headers"] = [*headers, (_SEQ, seq)]
            return send(message)

        return send_with_it

    def _is_open(self, scope: HTTPScope) -> bool:
        method, path = scope["method"], f"/{scope['path'].strip('/')}"
        folder, _, _ = path.rpartition("/")
        return (method, path) in self._open or (method, folder) in self._open_folders

    def _find_direct(self, path: str) -> tuple[_DirectRoute, list[str]] | None:
        """Find the handler to call directly. Any path that does not plainly match is Litestar's."""
        plain = path.removesuffix("/")
        if (direct := self._direct.get(plain)) is not None:
            return direct, []
        parts = plain.split("/")
        if len(parts) == 4 and not parts[0] and parts[2]:  # noqa: PLR2004 - /first/parameter/last
            direct_route = self._direct_with_parameter.get((parts[1], parts[3]))
            if direct_route is not None:
                return direct_route, [parts[2]]
        return None

    async def _call_directly(
        self, route: _DirectRoute, parameters: list[str], request: CommandRequest, role: Role | None
    ) -> Answer:
        """Call a handler without Litestar."""
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


def _bearer(headers: dict[bytes, bytes]) -> bytes:
    """Return the key of `Authorization: Bearer KEY` (RFC 6750), or nothing."""
    scheme, _, secret = headers.get(b"authorization", b"").partition(b" ")
    return secret.strip() if scheme.lower() == b"bearer" else b""


async def _send(answer: Answer, send: Send, header: tuple[bytes, bytes]) -> None:
    """Send a response with one more header."""
    headers = [*answer.headers, header]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
