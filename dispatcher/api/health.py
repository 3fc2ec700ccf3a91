"""Whether the dispatcher is well, for load balancers and process supervisors."""

from typing import Any

import msgspec
from litestar import Request, get
from litestar.response.base import ASGIResponse

from dispatcher.api.openapi import answers
from dispatcher.service import Service

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
    service: Service = request.app.state.service
    fault = service.fault
    seq = service.projections.seq
    return ASGIResponse(
        body=msgspec.json.encode(Health("ok" if fault is None else "read-only", seq, fault)),
        media_type="application/json",
        status_code=200 if fault is None else 503,
    )
