"""Whether the dispatcher is well, for load balancers and process supervisors."""

from typing import Any

import msgspec
from litestar import Request, get
from litestar.types import ASGIApp

from dispatcher.api.answers import json_answer
from dispatcher.api.auth import NO_KEY
from dispatcher.api.requests import service_of
from dispatcher.api.routes import declared
from dispatcher.api.schemas import READY

__all__ = ["Health", "health"]


class Health(msgspec.Struct, frozen=True):
    """`status` is `ok`, or `read-only` with the `fault` that keeps the log from being written.

    To whom asks whether it is `ready`, one of several dispatchers says `behind` while it lacks what
    others have, or hears of no leader.

    `seq` is that of the newest event.
    """

    status: str
    seq: int
    fault: str | None = None


class HealthWithWarning(Health, frozen=True, kw_only=True):
    """The same with a `warning`: what an operator should see to, though requests are served."""

    warning: str


@get("/health", **declared(needs=NO_KEY, answers={200: Health, 503: Health}, parameters=[READY]))
async def health(request: Request[Any, Any, Any]) -> ASGIApp:
    """Say whether writes are taken, or whether a balancer should send requests. Needs no key."""
    service = service_of(request)
    fault, seq = service.fault, service.projections.seq
    told, status = ("ok", 200) if fault is None else ("read-only", 503)
    if fault is None and "ready" in request.query_params and not service.is_ready:
        told, status = "behind", 503
    warning, hooks = service.warning, request.app.state.webhooks
    if warning is None and hooks is not None:
        warning = hooks.warning
    if warning is None:
        return json_answer(Health(told, seq, fault), status=status)
    return json_answer(HealthWithWarning(told, seq, fault, warning=warning), status=status)
