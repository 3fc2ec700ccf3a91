"""Requests that wait for work."""

import asyncio
from typing import Any

from dispatcher.core.commands import (
    AssignJob,
    ReportHeartbeat,
)
from dispatcher.core.dispatcher import Settle
from dispatcher.core.events import JobAssigned
from dispatcher.serving.service import Service
from projections import Projections
from tests.support.in_flight import TESTER, asking, turns_of_the_loop

__all__ = ["Given", "answer_of", "given_in", "never", "registered", "still_waiting", "waiting"]

Given = tuple[str, str]


async def never() -> None:
    await asyncio.Event().wait()


def given_in(settled: Settle, _: Projections) -> Given | None:
    """Give the job and the engine of an assignment."""
    return next(
        (
            (it.event.job_id, it.event.engine_id)
            for it in settled.records
            if isinstance(it.event, JobAssigned)
        ),
        None,
    )


async def waiting(
    service: Service,
    engine_id: str | None,
    *,
    wait_s: float = 60.0,
    gone: Any = never,
    resume: bool = False,
) -> "asyncio.Task[Given | None]":
    """Wait for work in a request of its own."""
    command = AssignJob(engine_id, resume)
    request = asyncio.create_task(
        service.wait_for_work(command, TESTER, given_in, wait_s=wait_s, until_gone=gone)
    )
    await turns_of_the_loop()
    return request


async def registered(service: Service, *engine_ids: str, **report: Any) -> None:
    for engine_id in engine_ids:
        await asking(service, ReportHeartbeat(engine_id, {"benchmark_time": 1.0} | report))


async def answer_of(request: "asyncio.Task[Given | None]") -> Given | None:
    async with asyncio.timeout(30):
        return await request


async def still_waiting(*requests: "asyncio.Task[Given | None]") -> bool:
    await turns_of_the_loop()
    return not any(request.done() for request in requests)
