"""The routes for engines (protocol.md 2.1 and 2.2, and the benchmark result)."""

from collections.abc import Awaitable
from typing import Any, Final

from litestar import Request, delete, get, post
from litestar.types import ASGIApp

from dispatcher.api import bodies
from dispatcher.api.answers import Answer
from dispatcher.api.auth import ANY_KEY, check_engine
from dispatcher.api.errors import HttpError
from dispatcher.api.replies import render
from dispatcher.api.requests import CommandRequest
from dispatcher.api.routes import command, declared
from dispatcher.api.schemas import AS_OF, BENCHMARK, HEARTBEAT
from dispatcher.api.viewing import answer_view
from dispatcher.core.commands import DrainEngine, ForgetEngine, ResumeEngine
from dispatcher.core.replies import Reason
from dispatcher.serving.keys import Role
from dispatcher.serving.views import ListEngines
from projections.engines import EngineFields

__all__ = ["HANDLERS"]


@command(
    post, "/engines/heartbeat", needs=Role.ENGINE, answers={200: str, 409: str}, body=HEARTBEAT
)
def heartbeat(request: CommandRequest, body: bytes) -> Awaitable[Answer]:
    """Register an engine, or refresh what it says of itself."""
    report = bodies.heartbeat(body)
    check_engine(request, report.engine_id)
    return request.service.execute(report, request.caller, render)


@get(
    "/engines",
    **declared(needs=ANY_KEY, answers={200: list[EngineFields]}, parameters=[AS_OF]),
)
async def list_engines(request: Request[Any, Any, Any]) -> ASGIApp:
    """List all engines, in order of first heartbeat."""
    return await answer_view(request, ListEngines())


@command(
    post,
    "/engines/benchmark_result",
    needs=Role.ENGINE,
    answers={200: str, 404: str},
    body=BENCHMARK,
)
def benchmark_result(request: CommandRequest, body: bytes) -> Awaitable[Answer]:
    """Tell how many seconds an engine's benchmark took."""
    fields = bodies.json_object(body)
    engine_id = bodies.engine_id_of(fields)
    check_engine(request, engine_id)
    if request.service.projections.engines.get(engine_id) is None:
        return _benchmark_of_unknown(request, fields, engine_id)
    return request.service.execute(bodies.benchmark(fields), request.caller, render)


async def _benchmark_of_unknown(
    request: CommandRequest, fields: dict[str, Any], engine_id: str
) -> Answer:
    await request.service.catch_up()  # another dispatcher may know it
    if request.service.projections.engines.get(engine_id) is None:
        raise HttpError(404, Reason.ENGINE_NOT_FOUND.value)
    return await request.service.execute(bodies.benchmark(fields), request.caller, render)


@command(delete, "/engines/{engine_id:str}", needs=Role.OPERATOR, answers={200: str, 404: str})
def forget_engine(request: CommandRequest, _: bytes, engine_id: str) -> Awaitable[Answer]:
    """Take an engine off the list; a job that it holds is re-queued."""
    return request.service.execute(ForgetEngine(engine_id), request.caller, render)


@command(post, "/engines/{engine_id:str}/drain", needs=Role.OPERATOR, answers={200: str, 404: str})
def drain_engine(request: CommandRequest, _: bytes, engine_id: str) -> Awaitable[Answer]:
    """Let an engine finish its job and give it no more."""
    return request.service.execute(DrainEngine(engine_id), request.caller, render)


@command(post, "/engines/{engine_id:str}/resume", needs=Role.OPERATOR, answers={200: str, 404: str})
def resume_engine(request: CommandRequest, _: bytes, engine_id: str) -> Awaitable[Answer]:
    """Give a drained or blocked engine jobs again."""
    return request.service.execute(ResumeEngine(engine_id), request.caller, render)


HANDLERS: Final = (
    heartbeat,
    list_engines,
    benchmark_result,
    forget_engine,
    drain_engine,
    resume_engine,
)
