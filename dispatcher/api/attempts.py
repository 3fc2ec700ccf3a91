"""The routes for engines that take and finish jobs (protocol.md 2.3 to 2.5)."""

from collections.abc import Awaitable
from functools import partial
from typing import Final, TypeVar

import msgspec
from litestar import post

from dispatcher.api import bodies
from dispatcher.api.answers import Answer
from dispatcher.api.auth import check_engine
from dispatcher.api.errors import HttpError
from dispatcher.api.replies import render
from dispatcher.api.requests import CommandRequest, until_gone
from dispatcher.api.routes import command
from dispatcher.api.schemas import ASSIGNMENT, FAILURE, OUTPUT
from dispatcher.core.commands import CompleteJob, FailJob
from dispatcher.core.replies import Reason
from dispatcher.serving.keys import Role
from projections.jobs import JobView

__all__ = ["HANDLERS"]

Answered = TypeVar("Answered", CompleteJob, FailJob)


@command(
    post,
    "/assign_job",
    needs=Role.ENGINE,
    answers={200: JobView, 204: None, 404: str, 409: str, 429: str},
    body=ASSIGNMENT,
)
def assign_job(request: CommandRequest, body: bytes) -> Awaitable[Answer]:
    """Ask for a job: for the engine named, or for whichever fits best."""
    ask, wait_s = bodies.assignment(body)
    check_engine(request, ask.engine_id)
    if wait_s == 0:
        return request.service.execute(ask, request.caller, render)
    return request.service.wait_for_work(
        ask, request.caller, render, wait_s=wait_s, until_gone=partial(until_gone, request.receive)
    )


@command(
    post,
    "/jobs/{job_id:str}/complete",
    needs=Role.ENGINE,
    answers={200: str, 404: str, 409: str},
    body=OUTPUT,
)
def complete_job(request: CommandRequest, body: bytes, job_id: str) -> Awaitable[Answer]:
    """Report a job's output. Repeating the same report is no error and changes nothing."""
    if request.service.projections.jobs.get(job_id) is None:  # this is checked before the body
        return _complete_finished(request, body, job_id)
    return _complete(request, body, job_id)


async def _complete_finished(request: CommandRequest, body: bytes, job_id: str) -> Answer:
    service = request.service
    if not await service.memory.is_known(job_id):
        await service.catch_up()  # another dispatcher may know it
        if not await service.memory.is_known(job_id):
            raise HttpError(404, Reason.JOB_NOT_FOUND.value)
    return await _complete(request, body, job_id)


def _complete(request: CommandRequest, body: bytes, job_id: str) -> Awaitable[Answer]:
    completion = bodies.completion(body, job_id)
    if request.speaks_for is not None:
        completion = _bound(request, completion)
    return request.service.execute(completion, request.caller, render)


@command(
    post,
    "/jobs/{job_id:str}/fail",
    needs=Role.ENGINE,
    answers={200: str, 404: str, 409: str},
    body=FAILURE,
)
def fail_job(request: CommandRequest, body: bytes, job_id: str) -> Awaitable[Answer]:
    """Report that an attempt failed; the job is re-queued while it has retries left."""
    failure = bodies.failure(body, job_id)
    if request.speaks_for is not None:
        failure = _bound(request, failure)
    return request.service.execute(failure, request.caller, render)


def _bound(request: CommandRequest, answer: Answered) -> Answered:
    """Say for which engine alone the caller speaks. Most engines do not name theirs in an answer.

    Whether such an answer is accepted depends on the job, so the core decides it.
    """
    if answer.engine_id is not None:
        check_engine(request, answer.engine_id)
    return msgspec.structs.replace(answer, speaks_for=request.speaks_for)


HANDLERS: Final = (assign_job, complete_job, fail_job)
