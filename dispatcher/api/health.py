"""Whether the dispatcher is well, for load balancers and process supervisors."""

from typing import Any

import msgspec
from litestar import Request, get
from litestar.response.base import ASGIResponse

from dispatcher.api.openapi import answers
from dispatcher.api.requests import json_response, service_of

__all__ = ["Health", "health"]


class Health(msgspec.Struct, frozen=True):
    """`status` is `ok`, or `read-only` with the `fault` that keeps the log from being written.

    `seq` is that of the newest event.
    """

    status: str
    seq: int
    fault: str | None = None


@get("/health", **answers({200: Health, 503: Health}, key_needed=False))
async def health(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Say whether writes are taken. Needs no key."""
    service = service_of(request)
    fault, seq = service.fault, service.projections.seq
    if fault is not None:
        return json_response(Health("read-only", seq, fault), status=503)
    return json_response(Health("ok", seq))
