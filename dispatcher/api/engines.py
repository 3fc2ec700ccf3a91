"""The routes of engines (protocol.md 2.1 and 2.2, and the benchmark result)."""

from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote

from litestar import Request, delete, get, post
from litestar.params import FromPath, RawBody
from litestar.types import ASGIApp

from dispatcher.api import bodies
from dispatcher.api.answers import Answer, text_answer
from dispatcher.api.auth import ANY_KEY
from dispatcher.api.errors import HttpError
from dispatcher.api.openapi import AS_OF, AS_OF_ANSWERS, BENCHMARK, HEARTBEAT, answers
from dispatcher.api.requests import caller_of, service_of
from dispatcher.api.viewing import answer_view
from dispatcher.core.commands import DrainEngine, ForgetEngine, ReportHeartbeat, ResumeEngine
from dispatcher.core.decider import Reason
from dispatcher.core.events import Recorded
from dispatcher.serving.keys import Role
from dispatcher.serving.views import ListEngines
from projections import Projections
from projections.engines import EngineFields

__all__ = ["HANDLERS"]


@post(
    "/engines/heartbeat",
    status_code=200,
    **answers({200: str, 400: str}, needs=Role.ENGINE, body=HEARTBEAT, direct=True),
)
async def heartbeat(request: Request[Any, Any, Any], body: RawBody) -> ASGIApp:
    """Register an engine, or refresh what it says of itself."""
    command = bodies.heartbeat(bodies.json_object(body))
    projections = service_of(request).projections

    def answer(_: Sequence[Recorded]) -> Answer:
        orders = ", ".join(_orders(projections, command))
        return text_answer(
            200,
            f"Heartbeat received from engine {command.engine_id}",
            {"X-Dispatcher-Order": orders} if orders else None,
        )

    return await service_of(request).execute(command, caller_of(request), answer)


def _orders(projections: Projections, beat: ReportHeartbeat) -> Iterator[str]:
    """Tell an engine what it can't know: that its job is not its own any more, or to take none."""
    engine = projections.engines.get(beat.engine_id)
    if beat.current_job is not None:
        job = projections.jobs.get(beat.current_job)
        is_held = engine is not None and job is not None and engine.current_job == job.job_id
        if not is_held or (job is not None and beat.attempt not in {None, job.attempt}):
            yield f"cancel {quote(beat.current_job, safe='')}"
    if engine is not None and engine.drained:
        yield "drain"


@get(
    "/engines",
    **answers(AS_OF_ANSWERS | {200: list[EngineFields]}, needs=ANY_KEY, parameters=[AS_OF]),
)
async def list_engines(request: Request[Any, Any, Any]) -> ASGIApp:
    """List all engines, in order of first heartbeat."""
    return await answer_view(request, ListEngines())


@post(
    "/engines/benchmark_result",
    status_code=200,
    **answers({200: str, 400: str, 404: str}, needs=Role.ENGINE, body=BENCHMARK, direct=True),
)
async def benchmark_result(request: Request[Any, Any, Any], body: RawBody) -> ASGIApp:
    """Tell how many seconds an engine's benchmark took."""
    fields = bodies.json_object(body)
    if service_of(request).projections.engines.get(bodies.engine_id_of(fields)) is None:
        raise HttpError(404, Reason.ENGINE_NOT_FOUND.value)
    command = bodies.benchmark(fields)
    return await service_of(request).execute(
        command,
        caller_of(request),
        lambda _: text_answer(200, f"Benchmark result received from engine {command.engine_id}"),
    )


@delete(
    "/engines/{engine_id:str}",
    status_code=200,
    **answers({200: str, 404: str}, needs=Role.OPERATOR, writes=True),
)
async def forget_engine(request: Request[Any, Any, Any], engine_id: FromPath[str]) -> ASGIApp:
    """Take an engine off the list; a job that it holds is re-queued."""
    return await _on_engine(request, ForgetEngine(engine_id), f"Engine {engine_id} forgotten")


@post(
    "/engines/{engine_id:str}/drain",
    status_code=200,
    **answers({200: str, 404: str}, needs=Role.OPERATOR, writes=True),
)
async def drain_engine(request: Request[Any, Any, Any], engine_id: FromPath[str]) -> ASGIApp:
    """Let an engine finish its job and give it no more."""
    return await _on_engine(request, DrainEngine(engine_id), f"Engine {engine_id} drained")


@post(
    "/engines/{engine_id:str}/resume",
    status_code=200,
    **answers({200: str, 404: str}, needs=Role.OPERATOR, writes=True),
)
async def resume_engine(request: Request[Any, Any, Any], engine_id: FromPath[str]) -> ASGIApp:
    """Give a drained or blocked engine jobs again."""
    return await _on_engine(request, ResumeEngine(engine_id), f"Engine {engine_id} resumed")


async def _on_engine(
    request: Request[Any, Any, Any],
    command: ForgetEngine | DrainEngine | ResumeEngine,
    done: str,
) -> ASGIApp:
    return await service_of(request).execute(
        command, caller_of(request), lambda _: text_answer(200, done)
    )


HANDLERS: Final = (
    heartbeat,
    list_engines,
    benchmark_result,
    forget_engine,
    drain_engine,
    resume_engine,
)
