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

from dispatcher import __version__
from dispatcher.api.bodies import MAX_INTEGER, MAX_KEY, MAX_PRIORITY, MAX_WAIT_S, WHOLE
from projections.jobs import STATUSES

__all__ = [
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
    400: "The body breaks a rule, which the text names",
    404: "There is no such job or engine",
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
LISTING: Final = [
    Parameter("status", "query", schema=Schema(type=OpenAPIType.STRING, enum=sorted(STATUSES))),
    Parameter("codec", "query", schema=_STRING),
    Parameter("engine", "query", schema=_STRING),
    Parameter("limit", "query", schema=Schema(type=OpenAPIType.INTEGER, minimum=1)),
    Parameter("after", "query", schema=_STRING, description="the id of a job"),
]


def answers(
    types: dict[int, Any],
    *,
    body: Schema | None = None,
    parameters: Sequence[Parameter] = (),
    writes: bool = False,
    key_needed: bool = True,
) -> dict[str, Any]:
    """Describe a route: the type of the answer for each status (`str`: plain text), and the body.

    What every route can answer is added: 401, 413 with a body, and 503 where it `writes`, as all
    that take a body do.
    """
    if key_needed:
        types = types | {401: str}
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
            if not key_needed:
                self.security = [{}]
            # Litestar adds a 400 in its own words wherever there is a parameter.
            self.responses = {
                status: response
                for status, response in (self.responses or {}).items()
                if int(status) in types
            }

    return {
        "operation_class": Described,
        "responses": {
            status: ResponseSpec(
                data_container=of_type,
                generate_examples=False,
                media_type="text/plain" if of_type is str else "application/json",
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
        description="Distributed transcoding protocol: jobs in, engines out, every step recorded.",
        openapi_router=_SchemaRouter("/schema", route_handlers=[], include_in_schema=False),
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"]), YamlRenderPlugin()],
        components=Components(
            security_schemes={
                "api_key": SecurityScheme(
                    type="apiKey", name="X-API-Key", security_scheme_in="header"
                )
            }
        ),
        security=[{"api_key": []}],
    )
