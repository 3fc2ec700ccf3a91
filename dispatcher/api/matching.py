"""`POST /jobs/cancel`, `/retry` and `/priority`: the same for every job that a filter finds."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request, post
from litestar.openapi.spec import Schema
from litestar.types import ASGIApp

from dispatcher.api import bodies, queries
from dispatcher.api.answers import json_answer
from dispatcher.api.errors import HttpError
from dispatcher.api.requests import holding_of, service_of
from dispatcher.api.routes import declared
from dispatcher.api.schemas import DRY_RUN, LISTING, PRIORITY
from dispatcher.api.viewing import LISTING_BYTES
from dispatcher.core.commands import CancelJob, Command, PrioritizeJob, RetryJob
from dispatcher.serving.keys import Role
from dispatcher.serving.matching import carry_out, matching
from dispatcher.serving.views import NO_SUCH_JOB

__all__ = ["HANDLERS", "Count"]


class Count(msgspec.Struct, omit_defaults=True):
    """How many jobs match, and unless that was all that was asked, how many were `done`.

    `reasons` are the texts of the errors that the `not_done` ones would get alone, each with its
    number.
    """

    count: int
    done: int | None = None
    not_done: int | None = None
    reasons: dict[str, int] | None = None


def _route(path: str, body: Schema | None = None) -> dict[str, Any]:
    route = declared(
        needs=Role.CLIENT,
        answers={200: Count, 429: str},
        body=body,
        parameters=[*LISTING, DRY_RUN],
        writes=True,
    )
    return {"path": path, "status_code": 200, **route}


@post(**_route("/jobs/cancel"))
async def cancel_jobs(request: Request[Any, Any, Any]) -> ASGIApp:
    """Cancel all jobs that match the filters, of which there must be one."""
    return await _each(request, CancelJob)


@post(**_route("/jobs/retry"))
async def retry_jobs(request: Request[Any, Any, Any]) -> ASGIApp:
    """Put back all failed or cancelled jobs that match the filters, of which there must be one."""
    return await _each(request, RetryJob)


@post(**_route("/jobs/priority", PRIORITY))
async def prioritize_jobs(request: Request[Any, Any, Any]) -> ASGIApp:
    """Give all waiting jobs that match the filters, of which there must be one, another priority.

    Those that do not wait are not done.
    """
    priority = bodies.new_priority(await request.body())
    return await _each(request, lambda job_id: PrioritizeJob(job_id, priority))


async def _each(request: Request[Any, Any, Any], command: Callable[[str], Command]) -> ASGIApp:
    service, query = service_of(request), request.query_params
    view, is_dry = queries.filtered(query), queries.flag(query, "dry_run")
    holding_of(request.scope).at_least(LISTING_BYTES)
    try:
        job_ids = await matching(service, view)
    except KeyError:
        raise HttpError(NO_SUCH_JOB.status, NO_SUCH_JOB.body.decode()) from None
    count = len(job_ids)
    if is_dry:
        return json_answer(Count(count))
    caller = request.scope["state"]["caller"]
    done, not_done, fault = await carry_out(service, view, job_ids, command, caller)
    if fault is not None:
        status = HTTPStatus.SERVICE_UNAVAILABLE
        text = f"{status.phrase}: {fault}. {done:,} of {count:,} jobs are done; try the rest again."
        raise HttpError(status, text)
    return json_answer(Count(count, done, count - done, not_done))


HANDLERS: Final = (cancel_jobs, retry_jobs, prioritize_jobs)
