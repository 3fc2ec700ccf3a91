"""The schemas of bodies and parameters that `/schema` shows.

They are written out here because `bodies` and `queries` parse requests, and not Litestar.
"""

from typing import Final

from litestar.openapi.spec import OpenAPIType, Parameter, Reference, Schema

from dispatcher.api.bodies import (
    CAUSES,
    MAX_INTEGER,
    MAX_KEY,
    MAX_NAME,
    MAX_PERCENT,
    MAX_PRIORITY,
    MAX_URL,
    MAX_WAIT_S,
)
from projections.jobs import STATUSES

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
    "IDEMPOTENCY_KEY",
    "LISTING",
    "OUTPUT",
    "PRIORITY",
    "SUBMISSION",
]

_STRING: Final = Schema(type=OpenAPIType.STRING)
_URL: Final = Schema(type=OpenAPIType.STRING, max_length=MAX_URL)
_NAME: Final = Schema(type=OpenAPIType.STRING, max_length=MAX_NAME)
_BOOLEAN: Final = Schema(type=OpenAPIType.BOOLEAN)
_AMOUNT: Final = Schema(type=OpenAPIType.NUMBER, minimum=0)


def _count(maximum: int = MAX_INTEGER, default: int | None = None) -> Schema:
    return Schema(type=OpenAPIType.INTEGER, minimum=0, maximum=maximum, default=default)


def _body(required: list[str], **properties: Schema | Reference) -> Schema:
    return Schema(type=OpenAPIType.OBJECT, required=required, properties=properties)


SUBMISSION: Final = _body(
    ["source_url", "target_codec"],
    source_url=_URL,
    target_codec=_NAME,
    job_size=Schema(type=OpenAPIType.NUMBER, minimum=0, default=0.0, description="MB"),
    max_retries=_count(default=3),
    priority=_count(maximum=MAX_PRIORITY, default=0),
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
    instance=_STRING,
    current_job=_NAME,
    attempt=_count(),
    progress=Schema(type=OpenAPIType.NUMBER, minimum=0, maximum=MAX_PERCENT, description="percent"),
)
BENCHMARK: Final = _body(["engine_id", "benchmark_time"], engine_id=_NAME, benchmark_time=_AMOUNT)
_SENDER: Final = {"engine_id": _NAME, "attempt": _count(), "instance": _NAME}
OUTPUT: Final = _body(["output_url"], output_url=_URL, **_SENDER)
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
LISTING: Final = [
    Parameter("status", "query", schema=Schema(type=OpenAPIType.STRING, enum=sorted(STATUSES))),
    Parameter("codec", "query", schema=_STRING),
    Parameter("engine", "query", schema=_STRING),
    Parameter("limit", "query", schema=Schema(type=OpenAPIType.INTEGER, minimum=1)),
    Parameter("after", "query", schema=_STRING, description="the id of a job"),
]
