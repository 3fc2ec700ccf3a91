"""The schemas of bodies and parameters that `/schema` shows.

They are written out here because `bodies` and `queries` parse requests, and not Litestar.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar.openapi.spec import OpenAPIFormat, OpenAPIType, Parameter, Reference, Schema

from dispatcher.api.bodies import (
    CAUSES,
    MAX_AFTER,
    MAX_INTEGER,
    MAX_KEY,
    MAX_NAME,
    MAX_PERCENT,
    MAX_PRIORITY,
    MAX_URL,
    MAX_WAIT_S,
)
from dispatcher.api.queries import DEFAULT_HOURS, DEFAULT_IDS, DEFAULT_SHOWN, MAX_TEXT, MOST_IDS
from dispatcher.output_names import MAX_TEMPLATE, PLACEHOLDERS
from dispatcher.recipes import Recipe
from dispatcher.results import Result
from dispatcher.tags import MAX_TAGS, PATTERN
from projections.forecast import MOST_SHOWN
from projections.jobs import STATUSES
from projections.series import LONGEST_H

__all__ = [
    "ASSIGNMENT",
    "AS_OF",
    "ATOMIC",
    "BATCH",
    "BATCH_LINE",
    "BENCHMARK",
    "DRY_RUN",
    "FAILURE",
    "HEARTBEAT",
    "HOURS",
    "IDEMPOTENCY_KEY",
    "IDS",
    "LISTING",
    "OUTPUT",
    "PLAN",
    "PRIORITY",
    "READY",
    "RECIPE",
    "SHOWN_WAITING",
    "SUBMISSION",
    "TOKEN",
]

_STRING: Final = Schema(type=OpenAPIType.STRING)
_URL: Final = Schema(type=OpenAPIType.STRING, max_length=MAX_URL)
_NAME: Final = Schema(type=OpenAPIType.STRING, max_length=MAX_NAME)
_TIME: Final = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.DATE_TIME)
_BOOLEAN: Final = Schema(type=OpenAPIType.BOOLEAN)
_AMOUNT: Final = Schema(type=OpenAPIType.NUMBER, minimum=0)


def _count(maximum: int = MAX_INTEGER, default: int | None = None) -> Schema:
    return Schema(type=OpenAPIType.INTEGER, minimum=0, maximum=maximum, default=default)


def _schema_of(struct: type[msgspec.Struct]) -> Schema:
    """Return the schema of what is converted to a struct."""
    (schema,), named = msgspec.json.schema_components([struct])
    return _converted(schema, named)


def _converted(schema: dict[str, Any], named: Mapping[str, dict[str, Any]]) -> Schema:
    """Convert a JSON Schema of msgspec, with those that it refers to in their places."""
    if "$ref" in schema:
        schema = named[schema["$ref"].rpartition("/")[2]]
    known: dict[str, Any] = {
        ours: schema[theirs] for theirs, ours in _SCHEMA_FIELDS.items() if theirs in schema
    }
    if "type" in schema:
        known["type"] = OpenAPIType(schema["type"])
    if "items" in schema:
        known["items"] = _converted(schema["items"], named)
    if "anyOf" in schema:
        kinds = [_converted(it, named) for it in schema["anyOf"] if it != {"type": "null"}]
        if len(kinds) == 1:
            return kinds[0]
        known["any_of"] = kinds
    if "properties" in schema:
        fields = {name: _converted(it, named) for name, it in schema["properties"].items()}
        known["properties"] = fields
    return Schema(**known)


_SCHEMA_FIELDS: Final = {
    "enum": "enum",
    "minimum": "minimum",
    "exclusiveMinimum": "exclusive_minimum",
    "maximum": "maximum",
    "maxLength": "max_length",
    "maxItems": "max_items",
    "pattern": "pattern",
    "additionalProperties": "additional_properties",
}


def _body(required: list[str], **properties: Schema | Reference) -> Schema:
    return Schema(type=OpenAPIType.OBJECT, required=required, properties=properties)


RECIPE: Final = _schema_of(Recipe)
"""Some of its fields may have shorter forms too, see docs/recipes.md."""
SUBMISSION: Final = _body(
    ["source_url", "target_codec"],
    source_url=_URL,
    target_codec=_NAME,
    job_size=Schema(type=OpenAPIType.NUMBER, minimum=0, default=0.0, description="MB"),
    max_retries=_count(default=3),
    priority=_count(maximum=MAX_PRIORITY, default=0),
    recipe=Schema(any_of=[_STRING, RECIPE], description="the name of a recipe, or its fields"),
    output_name=Schema(
        type=OpenAPIType.STRING,
        min_length=1,
        max_length=MAX_TEMPLATE,
        description=f"a template with {', '.join(f'{{{name}}}' for name in PLACEHOLDERS)}",
    ),
    after=Schema(
        type=OpenAPIType.ARRAY,
        items=_NAME,
        max_items=MAX_AFTER,
        description="the ids of jobs that have to be completed first",
    ),
    tags=Schema(
        type=OpenAPIType.ARRAY,
        items=Schema(type=OpenAPIType.STRING, pattern=PATTERN),
        max_items=MAX_TAGS,
        description="its engine must have all of them",
    ),
    callback_url=Schema(
        type=OpenAPIType.STRING, max_length=MAX_URL, description="where its end is told"
    ),
)
BATCH_LINE: Final = _body(
    ["source_url", "target_codec"],
    **(SUBMISSION.properties or {}),
    idempotency_key=Schema(type=OpenAPIType.STRING, max_length=MAX_KEY),
)
BATCH: Final = Schema(type=OpenAPIType.ARRAY, items=BATCH_LINE)
PRIORITY: Final = _body(["priority"], priority=_count(maximum=MAX_PRIORITY))
HEARTBEAT: Final = _body(
    ["engine_id"],
    engine_id=_NAME,
    engine_type=_STRING,
    supported_codecs=Schema(type=OpenAPIType.ARRAY, items=_STRING),
    status=Schema(type=OpenAPIType.STRING, enum=["idle", "busy"]),
    storage_capacity_gb=_AMOUNT,
    streaming_support=_BOOLEAN,
    benchmark_time=_AMOUNT,
    abilities=Schema(type=OpenAPIType.ARRAY, items=_STRING),
    encoders=Schema(description="what the engine encodes each codec with; shown as it is"),
    instance=_STRING,
    current_job=_NAME,
    attempt=_count(),
    progress=Schema(type=OpenAPIType.NUMBER, minimum=0, maximum=MAX_PERCENT, description="percent"),
)
BENCHMARK: Final = _body(["engine_id", "benchmark_time"], engine_id=_NAME, benchmark_time=_AMOUNT)
_SENDER: Final = {"engine_id": _NAME, "attempt": _count(), "instance": _NAME}
OUTPUT: Final = _body(["output_url"], output_url=_URL, **_SENDER, result=_schema_of(Result))
PLAN: Final = _body(
    ["engine_id", "attempt", "parts"],
    **_SENDER,
    parts=Schema(type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.OBJECT)),
    needs=Schema(type=OpenAPIType.ARRAY, items=_NAME),
)
FAILURE: Final = _body(
    ["error_message"],
    error_message=_STRING,
    **_SENDER,
    cause=Schema(type=OpenAPIType.STRING, enum=list(CAUSES), default="unknown"),
    given_back=Schema(type=OpenAPIType.BOOLEAN, default=False),
)
ASSIGNMENT: Final = _body(
    [],
    engine_id=_STRING,
    instance=_STRING,
    resume=_BOOLEAN,
    wait_s=Schema(type=OpenAPIType.NUMBER, minimum=0, maximum=MAX_WAIT_S, default=0),
)
TOKEN: Final = _body(["token"], token=_STRING)
IDEMPOTENCY_KEY: Final = Parameter(
    "Idempotency-Key", "header", schema=Schema(type=OpenAPIType.STRING, max_length=MAX_KEY)
)
ATOMIC: Final = Parameter(
    "atomic",
    "query",
    schema=Schema(type=OpenAPIType.BOOLEAN, default=False),
    description="submit all jobs or none",
)
DRY_RUN: Final = Parameter(
    "dry_run",
    "query",
    schema=Schema(type=OpenAPIType.BOOLEAN, default=False),
    description="only count the jobs that match",
)
AS_OF: Final = Parameter(
    "as_of",
    "query",
    schema=_STRING,
    description="a seq, or a time of RFC 3339: show what was true when that had been recorded",
)
HOURS: Final = Parameter(
    "hours",
    "query",
    schema=Schema(type=OpenAPIType.INTEGER, minimum=1, maximum=LONGEST_H, default=DEFAULT_HOURS),
    description="how far back the series reaches",
)
SHOWN_WAITING: Final = Parameter(
    "limit",
    "query",
    schema=Schema(type=OpenAPIType.INTEGER, minimum=1, maximum=MOST_SHOWN, default=DEFAULT_SHOWN),
    description="how many of the jobs that wait are shown",
)
READY: Final = Parameter(
    "ready",
    "query",
    schema=_STRING,
    allow_empty_value=True,
    description="say whether a balancer should send requests here; with any value",
)
IDS: Final = [
    Parameter(
        "prefix",
        "query",
        required=True,
        schema=Schema(type=OpenAPIType.STRING, min_length=1, max_length=MAX_TEXT),
        description="what the ids begin with",
    ),
    Parameter(
        "limit",
        "query",
        schema=Schema(type=OpenAPIType.INTEGER, minimum=1, maximum=MOST_IDS, default=DEFAULT_IDS),
        description="how many at most",
    ),
]
LISTING: Final = [
    Parameter(
        "status",
        "query",
        schema=Schema(
            type=OpenAPIType.ARRAY,
            items=Schema(type=OpenAPIType.STRING, enum=sorted(STATUSES)),
        ),
        style="form",
        explode=False,
        description="one, or several with commas between them",
    ),
    Parameter("codec", "query", schema=_STRING),
    Parameter("engine", "query", schema=_STRING),
    Parameter(
        "parent",
        "query",
        schema=_STRING,
        allow_empty_value=True,
        description="the film that they are parts of; empty for jobs that are no parts",
    ),
    Parameter(
        "text",
        "query",
        schema=Schema(type=OpenAPIType.STRING, max_length=MAX_TEXT),
        description="words, each of which is in the id, a URL, the error, the output's name or the "
        "engine, in any case",
    ),
    Parameter(
        "since", "query", schema=_TIME, description="finished, or else submitted, then or later"
    ),
    Parameter("until", "query", schema=_TIME, description="finished, or else submitted, earlier"),
    Parameter(
        "order",
        "query",
        schema=Schema(type=OpenAPIType.STRING, enum=["oldest", "newest"], default="oldest"),
        description="by submission",
    ),
    Parameter("limit", "query", schema=Schema(type=OpenAPIType.INTEGER, minimum=1)),
    Parameter("after", "query", schema=_STRING, description="the id of a job"),
]
