"""The routes of those who do jobs (protocol.md 2.3 to 2.5)."""

from collections.abc import Sequence
from typing import Any, Final

from litestar import Request, post
from litestar.params import FromPath, RawBody
from litestar.response.base import ASGIResponse

from dispatcher.api import bodies
from dispatcher.api.errors import text_response
from dispatcher.api.jobs import existing_job
from dispatcher.api.openapi import ENGINE_OR_NOBODY, FAILURE, OUTPUT, answers
from dispatcher.api.requests import actor_of, json_response, service_of
from dispatcher.events import JobAssigned, JobRequeued, Recorded
from projections.jobs import JobView

__all__ = ["HANDLERS"]


@post(
    "/assign_job",
    status_code=200,
    **answers({200: JobView, 204: None, 400: str, 404: str}, body=ENGINE_OR_NOBODY),
)
async def assign_job(request: Request[Any, Any, Any], body: RawBody) -> ASGIResponse:
    """Ask for a job: for the engine named, or for whichever fits best."""
    command, wait_s = bodies.assignment(body)
    projections = service_of(request).projections

    def answer(records: Sequence[Recorded]) -> ASGIResponse:
        job_id = next((r.event.job_id for r in records if isinstance(r.event, JobAssigned)), None)
        if job_id is None and command.resume and command.engine_id is not None:
            engine = projections.engines.get(command.engine_id)
            job_id = None if engine is None else engine.current_job
        job = None if job_id is None else projections.jobs.get(job_id)
        return ASGIResponse(status_code=204) if job is None else json_response(job)

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    return await service_of(request).assign(
        command, actor_of(request), answer, wait_s=wait_s, gone=gone
    )


@post(
    "/jobs/{job_id:str}/complete",
    status_code=200,
    **answers({200: str, 400: str, 404: str, 409: str}, body=OUTPUT),
)
async def complete_job(
    request: Request[Any, Any, Any], job_id: FromPath[str], body: RawBody
) -> ASGIResponse:
    """Report a job's output. Repeating the same report is no error and changes nothing."""
    existing_job(request, job_id)
    return await service_of(request).execute(
        bodies.completion(bodies.json_object(body), job_id),
        actor_of(request),
        lambda _: text_response(200, f"Job {job_id} marked as completed"),
    )


@post(
    "/jobs/{job_id:str}/fail",
    status_code=200,
    **answers({200: str, 400: str, 404: str, 409: str}, body=FAILURE),
)
async def fail_job(
    request: Request[Any, Any, Any], job_id: FromPath[str], body: RawBody
) -> ASGIResponse:
    """Report that an attempt failed; the job is re-queued while it has retries left."""

    def answer(records: Sequence[Recorded]) -> ASGIResponse:
        requeued = isinstance(records[0].event, JobRequeued)
        return text_response(
            200, f"Job {job_id} {'re-queued' if requeued else 'failed permanently'}"
        )

    return await service_of(request).execute(
        bodies.failure(bodies.json_object(body), job_id), actor_of(request), answer
    )


HANDLERS: Final = (assign_job, complete_job, fail_job)
