"""What `/schema` says of the API.

Bodies are parsed by `bodies`, not by Litestar, so what they may hold is described here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from litestar import Router
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    Parameter,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
)
from litestar.routes import BaseRoute
from litestar.types import ControllerRouterHandler

from dispatcher import __version__, sse
from dispatcher.api.auth import ANY_KEY, NO_KEY, Needs
from dispatcher.api.bodies import MAX_INTEGER, MAX_KEY, MAX_PRIORITY, MAX_WAIT_S, WHOLE
from dispatcher.serving.keys import Role
from projections.jobs import STATUSES

__all__ = [
    "AS_OF",
    "AS_OF_ANSWERS",
    "BENCHMARK",
    "ENGINE_OR_NOBODY",
    "FAILURE",
    "HEARTBEAT",
    "IDEMPOTENCY_KEY",
    "LISTING",
    "OUTPUT",
    "SUBMISSION",
    "answers",
    "openapi_config",
]

_STRING: Final = Schema(type=OpenAPIType.STRING)
_BOOLEAN: Final = Schema(type=OpenAPIType.BOOLEAN)
_AMOUNT: Final = Schema(type=OpenAPIType.NUMBER, minimum=0)
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


def _count(maximum: int = MAX_INTEGER, default: int | None = None) -> Schema:
    return Schema(type=OpenAPIType.INTEGER, minimum=0, maximum=maximum, default=default)


def _body(required: list[str], **properties: Schema | Reference) -> Schema:
    return Schema(type=OpenAPIType.OBJECT, required=required, properties=properties)


SUBMISSION: Final = _body(
    ["source_url", "target_codec"],
    source_url=_STRING,
    target_codec=_STRING,
    job_size=Schema(type=OpenAPIType.NUMBER, minimum=0, default=0.0, description="MB"),
    max_retries=_count(default=3),
    priority=_count(maximum=MAX_PRIORITY, default=0),
)
HEARTBEAT: Final = _body(
    ["engine_id"],
    engine_id=_STRING,
    engine_type=_STRING,
    supported_codecs=Schema(type=OpenAPIType.ARRAY, items=_STRING),
    status=Schema(type=OpenAPIType.STRING, enum=["idle", "busy"]),
    storage_capacity_gb=_AMOUNT,
    streaming_support=_BOOLEAN,
    benchmark_time=_AMOUNT,
    instance=_STRING,
    current_job=_STRING,
    attempt=_count(),
    progress=Schema(type=OpenAPIType.NUMBER, minimum=0, maximum=WHOLE, description="percent"),
)
BENCHMARK: Final = _body(["engine_id", "benchmark_time"], engine_id=_STRING, benchmark_time=_AMOUNT)
OUTPUT: Final = _body(["output_url"], output_url=_STRING, engine_id=_STRING, attempt=_count())
FAILURE: Final = _body(
    ["error_message"], error_message=_STRING, engine_id=_STRING, attempt=_count()
)
ENGINE_OR_NOBODY: Final = _body(
    [],
    engine_id=_STRING,
    resume=_BOOLEAN,
    wait_s=Schema(type=OpenAPIType.NUMBER, minimum=0, maximum=MAX_WAIT_S, default=0),
)
IDEMPOTENCY_KEY: Final = Parameter(
    "Idempotency-Key", "header", schema=Schema(type=OpenAPIType.STRING, max_length=MAX_KEY)
)
AS_OF: Final = Parameter(
    "as_of",
    "query",
    schema=_STRING,
    description="a seq, or a time of RFC 3339: show what was true when that had been recorded",
)
AS_OF_ANSWERS: Final[dict[int, Any]] = {400: str, 429: str, 503: str}
"""What else a route with `as_of` may answer."""
LISTING: Final = [
    Parameter("status", "query", schema=Schema(type=OpenAPIType.STRING, enum=sorted(STATUSES))),
    Parameter("codec", "query", schema=_STRING),
    Parameter("engine", "query", schema=_STRING),
    Parameter("limit", "query", schema=Schema(type=OpenAPIType.INTEGER, minimum=1)),
    Parameter("after", "query", schema=_STRING, description="the id of a job"),
]


def answers(  # noqa: PLR0913 - a route has as many sides
    types: dict[int, Any],
    *,
    needs: Needs,
    body: Schema | None = None,
    parameters: Sequence[Parameter] = (),
    writes: bool = False,
    streams: bool = False,
    direct: bool = False,
) -> dict[str, Any]:
    """Say who may ask a route and describe it: the type of the answer for each status, the body.

    `str` stands for plain text. What every route can answer is added: 400 for its headers, 401 and
    403 by what it `needs`, 413 with a body, and 503 where it `writes`, as all that take a body do.
    One that `streams` answers with server-sent events; for `direct` see the module of that name.
    """
    types = types | {400: str}
    if needs != NO_KEY:
        types = types | {401: str}
    if isinstance(needs, Role):
        types = types | {403: str}
    if body is not None:
        types = types | {413: str}
    if body is not None or writes:
        types = types | {503: str}
    required = body is not None and bool(body.required)
    content = {"application/json": OpenAPIMediaType(schema=body)}

    @dataclass
    class Described(Operation):
        def __post_init__(self) -> None:
            if body is not None:
                self.request_body = RequestBody(content=content, required=required)
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
        return "text/plain" if types[status] is str else "application/json"

    return {
        "opt": {"needs": needs, "direct": direct},
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


class _SchemaRouter(Router):
    """A router without Litestar's page for paths that are not there: errors are plain text."""

    def register(self, value: ControllerRouterHandler) -> list[BaseRoute]:
        """Register all but that page."""
        if isinstance(value, BaseRouteHandler) and "/{path:str}" in value.paths:
            return []
        return super().register(value)


def openapi_config() -> OpenAPIConfig:
    """Serve the description at `/schema` (JSON) and `/schema/openapi.yaml`."""
    return OpenAPIConfig(
        title="Transcoding dispatcher",
        version=__version__,
        description=(
            "Distributed transcoding protocol: jobs in, engines out, every step recorded. "
            "Every answer carries X-Request-ID: the request's own, or one made for it."
        ),
        openapi_router=_SchemaRouter(
            "/schema", route_handlers=[], include_in_schema=False, opt={"needs": ANY_KEY}
        ),
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"]), YamlRenderPlugin()],
        components=Components(
            security_schemes={
                "api_key": SecurityScheme(
                    type="apiKey",
                    name="X-API-Key",
                    security_scheme_in="header",
                    description="A key has a role: client, engine, or operator, who may do all.",
                )
            }
        ),
        security=[{"api_key": []}],
    )
