"""The routes for submitting jobs (protocol.md 1.1 to 1.3, and this project's additions)."""

from collections.abc import Awaitable
from typing import Any, Final

from litestar import Request, delete, get, post
from litestar.params import FromPath
from litestar.types import ASGIApp

from dispatcher.api import bodies, queries
from dispatcher.api.answers import Answer, json_answer
from dispatcher.api.auth import ANY_KEY
from dispatcher.api.replies import render
from dispatcher.api.requests import CommandRequest, service_of
from dispatcher.api.routes import command, declared
from dispatcher.api.schemas import AS_OF, IDEMPOTENCY_KEY, IDS, LISTING, PRIORITY, SUBMISSION
from dispatcher.api.sources import (
    is_sent_again,
    lacks_source,
    no_place_for_parts,
    no_source,
)
from dispatcher.api.viewing import answer_view
from dispatcher.core.commands import CancelJob, PrioritizeJob, RetryJob, SubmitJob
from dispatcher.core.replies import Explanation
from dispatcher.serving.keys import Role
from dispatcher.serving.views import ExplainJob, ShowJob
from dispatcher.store_urls import PREFIX
from projections.jobs import JobView

__all__ = ["HANDLERS"]


@command(
    post,
    "/jobs",
    needs=Role.CLIENT,
    answers={200: JobView, 409: str},
    body=SUBMISSION,
    parameters=[IDEMPOTENCY_KEY],
)
def submit_job(request: CommandRequest, body: bytes) -> Awaitable[Answer]:
    """Submit a transcoding job. With the same Idempotency-Key and body, the first answer again."""
    key, recipes = request.headers.get(b"idempotency-key"), request.service.recipes
    submission = bodies.submission(body, key, recipes, request.service.callbacks)
    if (fault := no_place_for_parts(request.service, submission)) is not None:
        raise fault
    if submission.source_url.startswith(PREFIX) and lacks_source(request.service, submission):
        return _submit_again(request, submission)
    return request.service.execute(submission, request.caller, render)


async def _submit_again(request: CommandRequest, submission: SubmitJob) -> Answer:
    """Answer a submission whose source is not in the store: it may be an old one, sent again."""
    if not await is_sent_again(request.service, submission):
        raise no_source(request.service, submission)
    return await request.service.execute(submission, request.caller, render)


@get(
    "/jobs",
    **declared(needs=ANY_KEY, answers={200: list[JobView]}, parameters=[*LISTING, AS_OF]),
)
async def list_jobs(request: Request[Any, Any, Any]) -> ASGIApp:
    """List jobs by submission: all, or those that the parameters ask for.

    With `limit`, a Link header (RFC 8288) leads to the next page, as long as there is one.
    """
    query = request.query_params if request.scope["query_string"] else {}
    return await answer_view(request, queries.listing(query))


@get("/jobs/ids", **declared(needs=ANY_KEY, answers={200: list[str], 503: str}, parameters=IDS))
async def find_ids(request: Request[Any, Any, Any]) -> ASGIApp:
    """List the ids of jobs that begin with a prefix, in their order."""
    prefix, limit = queries.ids(request.query_params)
    return json_answer(await service_of(request).memory.job_ids(prefix, limit))


@get(
    "/jobs/{job_id:str}",
    **declared(needs=ANY_KEY, answers={200: JobView, 404: str}, parameters=[AS_OF]),
)
async def get_job(request: Request[Any, Any, Any], job_id: FromPath[str]) -> ASGIApp:
    """Show one job."""
    return await answer_view(request, ShowJob(job_id))


@get(
    "/jobs/{job_id:str}/why",
    **declared(needs=Role.CLIENT, answers={200: Explanation, 404: str}, parameters=[AS_OF]),
)
async def explain_job(request: Request[Any, Any, Any], job_id: FromPath[str]) -> ASGIApp:
    """Say why a job is where it is, and for a pending one what each engine lacks for it."""
    return await answer_view(request, ExplainJob(job_id))


@command(delete, "/jobs/{job_id:str}", needs=Role.CLIENT, answers={200: str, 404: str})
def cancel_job(request: CommandRequest, _: bytes, job_id: str) -> Awaitable[Answer]:
    """Cancel a job; the engine that runs it is told with its next heartbeat."""
    return request.service.execute(CancelJob(job_id), request.caller, render)


@command(post, "/jobs/{job_id:str}/retry", needs=Role.CLIENT, answers={200: str, 404: str})
def retry_job(request: CommandRequest, _: bytes, job_id: str) -> Awaitable[Answer]:
    """Put a failed or cancelled job back, with all its retries."""
    return request.service.execute(RetryJob(job_id), request.caller, render)


@command(
    post,
    "/jobs/{job_id:str}/priority",
    needs=Role.CLIENT,
    answers={200: str, 404: str, 409: str},
    body=PRIORITY,
)
def prioritize_job(request: CommandRequest, body: bytes, job_id: str) -> Awaitable[Answer]:
    """Give a waiting job another priority; its place in the queue is as if it had always had it."""
    command = PrioritizeJob(job_id, bodies.new_priority(body))
    return request.service.execute(command, request.caller, render)


HANDLERS: Final = (
    submit_job,
    list_jobs,
    find_ids,
    get_job,
    explain_job,
    cancel_job,
    retry_job,
    prioritize_job,
)
