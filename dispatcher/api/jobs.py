"""The routes of jobs (protocol.md 1.1 to 1.3, 2.3 to 2.5)."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, RawBody
from litestar.response.base import ASGIResponse

from dispatcher.api import bodies
from dispatcher.api.auth import actor_of
from dispatcher.api.errors import HttpError, text_response
from dispatcher.api.openapi import ENGINE_OR_NOBODY, FAILURE, OUTPUT, SUBMISSION, answers
from dispatcher.decider import Reason
from dispatcher.events import JobAssigned, JobRequeued, Recorded
from dispatcher.service import Service
from projections.jobs import JobView

__all__ = ["HANDLERS"]

_encode = msgspec.json.Encoder().encode


def _json(body: bytes) -> ASGIResponse:
    return ASGIResponse(body=body, media_type="application/json")


def _service(request: Request[Any, Any, Any]) -> Service:
    service: Service = request.app.state.service
    return service


def _existing(request: Request[Any, Any, Any], job_id: str) -> JobView:
    if (job := _service(request).projections.jobs.get(job_id)) is None:
        raise HttpError(404, Reason.JOB_NOT_FOUND.value)
    return job


@post("/jobs", status_code=200, **answers({200: JobView, 400: str}, body=SUBMISSION))
async def submit_job(request: Request[Any, Any, Any], body: RawBody) -> ASGIResponse:
    """Submit a transcoding job."""
    service = _service(request)
    command = bodies.submission(bodies.json_object(body), service.new_job_id())
    jobs = service.projections.jobs
    return await service.execute(
        command, actor_of(request), lambda _: _json(_encode(jobs.get(command.job_id)))
    )


@get("/jobs", **answers({200: list[JobView]}))
async def list_jobs(request: Request[Any, Any, Any]) -> ASGIResponse:
    """List all jobs, in order of submission."""
    return _json(_encode(_service(request).projections.jobs.all()))


@get("/jobs/{job_id:str}", **answers({200: JobView, 404: str}))
async def get_job(request: Request[Any, Any, Any], job_id: FromPath[str]) -> ASGIResponse:
    """Show one job."""
    return _json(_encode(_existing(request, job_id)))


@post(
    "/jobs/{job_id:str}/complete",
    status_code=200,
    **answers({200: str, 400: str, 404: str}, body=OUTPUT),
)
async def complete_job(
    request: Request[Any, Any, Any], job_id: FromPath[str], body: RawBody
) -> ASGIResponse:
    """Report a job's output. Repeating the same report is no error and changes nothing."""
    _existing(request, job_id)
    command = bodies.completion(bodies.json_object(body), job_id)
    return await _service(request).execute(
        command,
        actor_of(request),
        lambda _: text_response(200, f"Job {job_id} marked as completed"),
    )


@post(
    "/jobs/{job_id:str}/fail",
    status_code=200,
    **answers({200: str, 400: str, 404: str}, body=FAILURE),
)
async def fail_job(
    request: Request[Any, Any, Any], job_id: FromPath[str], body: RawBody
) -> ASGIResponse:
    """Report that an attempt failed; the job is re-queued while it has retries left."""
    command = bodies.failure(bodies.json_object(body), job_id)

    def answer(records: Sequence[Recorded]) -> ASGIResponse:
        requeued = isinstance(records[0].event, JobRequeued)
        return text_response(
            200, f"Job {job_id} {'re-queued' if requeued else 'failed permanently'}"
        )

    return await _service(request).execute(command, actor_of(request), answer)


@post(
    "/assign_job",
    status_code=200,
    **answers({200: JobView, 204: None, 400: str, 404: str}, body=ENGINE_OR_NOBODY),
)
async def assign_job(request: Request[Any, Any, Any], body: RawBody) -> ASGIResponse:
    """Ask for a job: for the engine named, or for whichever fits best."""
    command = bodies.assignment(body)
    service = _service(request)

    def answer(records: Sequence[Recorded]) -> ASGIResponse:
        job_id = next((r.event.job_id for r in records if isinstance(r.event, JobAssigned)), None)
        if job_id is None and command.resume and command.engine_id is not None:
            engine = service.projections.engines.get(command.engine_id)
            job_id = None if engine is None else engine.current_job
        if job_id is None:
            return ASGIResponse(status_code=204)
        return _json(_encode(service.projections.jobs.get(job_id)))

    return await service.execute(command, actor_of(request), answer)


HANDLERS: Final = (submit_job, list_jobs, get_job, complete_job, fail_job, assign_job)
