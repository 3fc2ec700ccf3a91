"""What `/schema` says of the API.

Bodies are parsed by `bodies`, not by Litestar, so what they may hold is described here.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
)

from dispatcher import __version__

__all__ = [
    "BENCHMARK",
    "ENGINE_OR_NOBODY",
    "FAILURE",
    "HEARTBEAT",
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
    503: "The log can't be written now; nothing was acknowledged",
}


def _body(required: list[str], **properties: Schema | Reference) -> Schema:
    return Schema(type=OpenAPIType.OBJECT, required=required, properties=properties)


SUBMISSION: Final = _body(
    ["source_url", "target_codec"],
    source_url=_STRING,
    target_codec=_STRING,
    job_size=Schema(type=OpenAPIType.NUMBER, minimum=0, default=0.0, description="MB"),
    max_retries=Schema(type=OpenAPIType.INTEGER, minimum=0, maximum=2**63 - 1, default=3),
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
)
BENCHMARK: Final = _body(["engine_id", "benchmark_time"], engine_id=_STRING, benchmark_time=_AMOUNT)
OUTPUT: Final = _body(["output_url"], output_url=_STRING)
FAILURE: Final = _body(["error_message"], error_message=_STRING)
ENGINE_OR_NOBODY: Final = _body([], engine_id=_STRING, resume=_BOOLEAN)


def answers(
    types: dict[int, Any], *, body: Schema | None = None, key_needed: bool = True
) -> dict[str, Any]:
    """Describe a route: the type of the answer for each status (`str`: plain text), and the body.

    What every route can answer is added: 401, 413 with a body, and 503 where it writes.
    """
    if key_needed:
        types = types | {401: str}
    if body is not None:
        types = types | {413: str, 503: str}
    required = body is not None and bool(body.required)
    content = {"application/json": OpenAPIMediaType(schema=body)}

    @dataclass
    class Described(Operation):
        request_body: Any = field(
            default_factory=lambda: (
                None if body is None else RequestBody(content=content, required=required)
            )
        )

        def __post_init__(self) -> None:
            if body is not None:
                self.request_body = RequestBody(content=content, required=required)
            if not key_needed:
                self.security = [{}]

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


def openapi_config() -> OpenAPIConfig:
    """Serve the description at `/schema` (JSON) and `/schema/openapi.yaml`."""
    return OpenAPIConfig(
        title="Transcoding dispatcher",
        version=__version__,
        description="Distributed transcoding protocol: jobs in, engines out, every step recorded.",
        path="/schema",
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
