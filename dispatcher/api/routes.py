"""Declaring a route: who may call it, what it takes, and what it returns.

    @get("/jobs", **declared(needs=ANY_KEY, answers={200: list[JobView]}))
    async def list_jobs(request): …            # an ordinary Litestar handler

    @command(post, "/jobs", needs=Role.CLIENT, answers={200: JobView}, body=SUBMISSION)
    def submit_job(request, body): …           # gives a command to the service

A command handler takes a `CommandRequest`, the body, and then the path's parameters. `front` calls
the most frequent ones without Litestar, which would respond to these requests in the same way.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
)
from litestar.types import ASGIApp

from dispatcher import sse
from dispatcher.api.answers import Answer
from dispatcher.api.auth import NO_KEY, Needs
from dispatcher.api.requests import CommandRequest
from dispatcher.api.schemas import AS_OF

__all__ = ["CommandHandler", "command", "declared"]

BINARY: Final = "application/octet-stream"
_FILE: Final = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)

CommandHandler = Callable[..., Awaitable[Answer]]
"""Takes a `CommandRequest`, the body, and the parameters of the path."""

_DESCRIPTIONS: Final = {
    200: "Done",
    204: "There is no job to hand out",
    400: "The request breaks a rule, which the text names",
    401: "There is no key, or it is none that may pass",
    403: "The key has another role than the one that the text names",
    404: "There is no such job or engine",
    429: "Too much is asked at once; try again in a moment",
    409: "Somebody else was first, as the text says; nothing has changed",
    503: "The log can't be written now; nothing was acknowledged",
}


def declared(  # noqa: PLR0913 - a route has as many sides
    *,
    needs: Needs,
    answers: Mapping[int, Any],
    body: Schema | None = None,
    line: Schema | None = None,
    parameters: Sequence[Parameter] = (),
    writes: bool = False,
    streams: bool = False,
    binary: bool = False,
) -> dict[str, Any]:
    """Declare a route: who may call it, and the type of its response for each status.

    The result is passed to Litestar's `get`, `post` and so on. `str` stands for plain text. Common
    statuses are added: 400 for its headers, 401 and 403 by what it `needs`, 413 with a `body`, 429
    and 503 with a parameter `as_of`, 503 if it `writes`. A route that `streams` responds with
    server-sent events. One with a `line` also takes and gives NDJSON, of which that is one line.
    The body of a `binary` one is a file, and so are answers of `bytes`.
    """
    types: dict[int, Any] = {**answers, 400: str}
    if AS_OF in parameters:
        types |= {429: str, 503: str}
    if needs != NO_KEY:
        types |= {401: str, 403: str}
    if body is not None:
        types |= {413: str}
    if writes:
        types |= {503: str}
    required = body is not None and (bool(body.required) or line is not None)
    content = {"application/json": OpenAPIMediaType(schema=body)}
    if line is not None:
        content["application/x-ndjson"] = OpenAPIMediaType(schema=line)

    @dataclass
    class Described(Operation):
        def __post_init__(self) -> None:
            if body is not None:
                self.request_body = RequestBody(content=content, required=required)
            if binary:
                self.request_body = RequestBody(content={BINARY: OpenAPIMediaType(schema=_FILE)})
            if parameters:
                self.parameters = [*(self.parameters or []), *parameters]
            if needs == NO_KEY:
                self.security = [{}]
            # Litestar adds a 400 in its own words wherever there is a parameter.
            self.responses = {
                status: response
                for status, response in (self.responses or {}).items()
                if int(status) in types
            }

    def media_type(status: int) -> str:
        if streams and status == 200:  # noqa: PLR2004
            return sse.MEDIA_TYPE
        if types[status] is bytes:
            return BINARY
        return "text/plain" if types[status] is str else "application/json"

    return {
        "opt": {"needs": needs},
        "operation_class": Described,
        "responses": {
            status: ResponseSpec(
                data_container=of_type,
                generate_examples=False,
                media_type=media_type(status),
                description=_DESCRIPTIONS.get(status, "Refused"),
            )
            for status, of_type in types.items()
        },
    }


def command(  # noqa: PLR0913 - a route has as many sides
    method: Callable[..., Callable[[Any], HTTPRouteHandler]],
    path: str,
    *,
    needs: Needs,
    answers: Mapping[int, Any],
    body: Schema | None = None,
    parameters: Sequence[Parameter] = (),
) -> Callable[[CommandHandler], HTTPRouteHandler]:
    """Declare a route that gives a command to the service; see `declared`."""

    def declare(handler: CommandHandler) -> HTTPRouteHandler:
        async def through_litestar(request: Request[Any, Any, Any]) -> ASGIApp:
            taken = CommandRequest.of(request)
            content = b"" if body is None else await request.body()
            return await handler(taken, content, *request.path_params.values())

        through_litestar.__doc__ = handler.__doc__
        route = declared(
            needs=needs, answers=answers, body=body, parameters=parameters, writes=True
        )
        if body is not None:
            route["opt"]["command"] = handler
        return method(path, status_code=200, name=handler.__name__, **route)(through_litestar)

    return declare
