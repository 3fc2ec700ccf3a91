"""The routes of those who do jobs (protocol.md 2.3 to 2.5)."""

from collections.abc import Sequence
from typing import Any, Final

from litestar import Request, post
from litestar.params import FromPath, RawBody
from litestar.types import ASGIApp

from dispatcher.api import bodies
from dispatcher.api.answers import Answer, json_answer, text_answer
from dispatcher.api.jobs import existing_job
from dispatcher.api.openapi import ENGINE_OR_NOBODY, FAILURE, OUTPUT, answers
from dispatcher.api.requests import caller_of, service_of
from dispatcher.core.events import JobAssigned, JobRequeued, Recorded
from dispatcher.serving.keys import Role
from projections.jobs import JobView

__all__ = ["HANDLERS"]


@post(
    "/assign_job",
    status_code=200,
    **answers(
        {200: JobView, 204: None, 400: str, 404: str},
        needs=Role.ENGINE,
        body=ENGINE_OR_NOBODY,
        direct=True,
    ),
)
async def assign_job(request: Request[Any, Any, Any], body: RawBody) -> ASGIApp:
    """Ask for a job: for the engine named, or for whichever fits best."""
    command, wait_s = bodies.assignment(body)
    projections = service_of(request).projections

    def answer(records: Sequence[Recorded]) -> Answer:
        job_id = next((r.event.job_id for r in records if isinstance(r.event, JobAssigned)), None)
        if job_id is None and command.resume and command.engine_id is not None:
            engine = projections.engines.get(command.engine_id)
            job_id = None if engine is None else engine.current_job
        job = None if job_id is None else projections.jobs.get(job_id)
        return Answer(204) if job is None else json_answer(job)

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    return await service_of(request).assign(
        command, caller_of(request), answer, wait_s=wait_s, gone=gone
    )


@post(
    "/jobs/{job_id:str}/complete",
    status_code=200,
    **answers(
        {200: str, 400: str, 404: str, 409: str}, needs=Role.ENGINE, body=OUTPUT, direct=True
    ),
)
async def complete_job(
    request: Request[Any, Any, Any], job_id: FromPath[str], body: RawBody
) -> ASGIApp:
    """Report a job's output. Repeating the same report is no error and changes nothing."""
    existing_job(request, job_id)
    return await service_of(request).execute(
        bodies.completion(bodies.json_object(body), job_id),
        caller_of(request),
        lambda _: text_answer(200, f"Job {job_id} marked as completed"),
    )


@post(
    "/jobs/{job_id:str}/fail",
    status_code=200,
    **answers(
        {200: str, 400: str, 404: str, 409: str}, needs=Role.ENGINE, body=FAILURE, direct=True
    ),
)
async def fail_job(
    request: Request[Any, Any, Any], job_id: FromPath[str], body: RawBody
) -> ASGIApp:
    """Report that an attempt failed; the job is re-queued while it has retries left."""

    def answer(records: Sequence[Recorded]) -> Answer:
        requeued = isinstance(records[0].event, JobRequeued)
        return text_answer(200, f"Job {job_id} {'re-queued' if requeued else 'failed permanently'}")

    return await service_of(request).execute(
        bodies.failure(bodies.json_object(body), job_id), caller_of(request), answer
    )


HANDLERS: Final = (assign_job, complete_job, fail_job)
