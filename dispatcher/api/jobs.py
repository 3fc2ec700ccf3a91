"""The routes of those who submit jobs (protocol.md 1.1 to 1.3, and what this project adds)."""

from collections.abc import Sequence
from typing import Any, Final

from litestar import Request, delete, get, post
from litestar.params import FromPath, RawBody
from litestar.types import ASGIApp

from dispatcher.api import bodies, queries
from dispatcher.api.answers import Answer, json_answer, text_answer
from dispatcher.api.auth import ANY_KEY
from dispatcher.api.errors import HttpError
from dispatcher.api.openapi import (
    AS_OF,
    AS_OF_ANSWERS,
    IDEMPOTENCY_KEY,
    LISTING,
    SUBMISSION,
    answers,
)
from dispatcher.api.requests import caller_of, service_of
from dispatcher.api.viewing import answer_view
from dispatcher.core.commands import CancelJob, RetryJob
from dispatcher.core.decider import Reason
from dispatcher.core.events import Recorded
from dispatcher.core.replies import Explanation
from dispatcher.serving.keys import Role
from dispatcher.serving.views import ExplainJob, ShowJob
from projections.jobs import JobView, as_submitted

__all__ = ["HANDLERS", "existing_job"]


def existing_job(request: Request[Any, Any, Any], job_id: str) -> JobView:
    """Give the job that a route is about, or raise the 404."""
    if (job := service_of(request).projections.jobs.get(job_id)) is None:
        raise HttpError(404, Reason.JOB_NOT_FOUND.value)
    return job


@post(
    "/jobs",
    status_code=200,
    **answers(
        {200: JobView, 400: str, 409: str},
        needs=Role.CLIENT,
        body=SUBMISSION,
        parameters=[IDEMPOTENCY_KEY],
        direct=True,
    ),
)
async def submit_job(request: Request[Any, Any, Any], body: RawBody) -> ASGIApp:
    """Submit a transcoding job. With the same Idempotency-Key and body, the first answer again."""
    service = service_of(request)
    key = bodies.idempotency_key(request.headers.get("Idempotency-Key"))
    command = bodies.submission(bodies.json_object(body), service.new_job_id(), key)

    def answer(records: Sequence[Recorded]) -> Answer:
        job = service.submission_of(command)
        if not records:  # it came before, and may have come far since
            job = as_submitted(job)
        return json_answer(job)

    return await service.execute(command, caller_of(request), answer)


@get(
    "/jobs",
    **answers(AS_OF_ANSWERS | {200: list[JobView]}, needs=ANY_KEY, parameters=[*LISTING, AS_OF]),
)
async def list_jobs(request: Request[Any, Any, Any]) -> ASGIApp:
    """List jobs in order of submission: all, or those that the parameters ask for.

    With `limit`, a Link header (RFC 8288) leads to the next page, as long as there is one.
    """
    query = request.query_params if request.scope["query_string"] else {}
    return await answer_view(request, queries.listing(query))


@get(
    "/jobs/{job_id:str}",
    **answers(AS_OF_ANSWERS | {200: JobView, 404: str}, needs=ANY_KEY, parameters=[AS_OF]),
)
async def get_job(request: Request[Any, Any, Any], job_id: FromPath[str]) -> ASGIApp:
    """Show one job."""
    return await answer_view(request, ShowJob(job_id))


@get(
    "/jobs/{job_id:str}/why",
    **answers(AS_OF_ANSWERS | {200: Explanation, 404: str}, needs=Role.CLIENT, parameters=[AS_OF]),
)
async def explain_job(request: Request[Any, Any, Any], job_id: FromPath[str]) -> ASGIApp:
    """Say why a job is where it is, and for a pending one what each engine lacks for it."""
    return await answer_view(request, ExplainJob(job_id))


@delete(
    "/jobs/{job_id:str}",
    status_code=200,
    **answers({200: str, 400: str, 404: str}, needs=Role.CLIENT, writes=True),
)
async def cancel_job(request: Request[Any, Any, Any], job_id: FromPath[str]) -> ASGIApp:
    """Cancel a job; the engine that runs it is told with its next heartbeat."""
    return await service_of(request).execute(
        CancelJob(job_id),
        caller_of(request),
        lambda _: text_answer(200, f"Job {job_id} cancelled"),
    )


@post(
    "/jobs/{job_id:str}/retry",
    status_code=200,
    **answers({200: str, 400: str, 404: str}, needs=Role.CLIENT, writes=True),
)
async def retry_job(request: Request[Any, Any, Any], job_id: FromPath[str]) -> ASGIApp:
    """Put a failed or cancelled job back, with all its retries."""
    return await service_of(request).execute(
        RetryJob(job_id),
        caller_of(request),
        lambda _: text_answer(200, f"Job {job_id} re-queued"),
    )


HANDLERS: Final = (submit_job, list_jobs, get_job, explain_job, cancel_job, retry_job)
