"""The routes of engines (protocol.md 2.1 and 2.2, and the benchmark result)."""

from typing import Any, Final

import msgspec
from litestar import Request, get, post
from litestar.params import RawBody
from litestar.response.base import ASGIResponse

from dispatcher.api import bodies
from dispatcher.api.auth import actor_of
from dispatcher.api.errors import HttpError, text_response
from dispatcher.api.openapi import BENCHMARK, HEARTBEAT, answers
from dispatcher.decider import Reason
from dispatcher.service import Service
from projections.engines import EngineView

__all__ = ["HANDLERS"]


def _service(request: Request[Any, Any, Any]) -> Service:
    service: Service = request.app.state.service
    return service


@post("/engines/heartbeat", status_code=200, **answers({200: str, 400: str}, body=HEARTBEAT))
async def heartbeat(request: Request[Any, Any, Any], body: RawBody) -> ASGIResponse:
    """Register an engine, or refresh what it says of itself."""
    command = bodies.heartbeat(bodies.json_object(body))
    return await _service(request).execute(
        command,
        actor_of(request),
        lambda _: text_response(200, f"Heartbeat received from engine {command.engine_id}"),
    )


@get("/engines", **answers({200: list[EngineView]}))
async def list_engines(request: Request[Any, Any, Any]) -> ASGIResponse:
    """List all engines, in order of first heartbeat."""
    engines = _service(request).projections.engines.all()
    body = msgspec.json.encode([engine.wire() for engine in engines])
    return ASGIResponse(body=body, media_type="application/json")


@post(
    "/engines/benchmark_result",
    status_code=200,
    **answers({200: str, 400: str, 404: str}, body=BENCHMARK),
)
async def benchmark_result(request: Request[Any, Any, Any], body: RawBody) -> ASGIResponse:
    """Tell how many seconds an engine's benchmark took."""
    fields = bodies.json_object(body)
    if _service(request).projections.engines.get(bodies.engine_id_of(fields)) is None:
        raise HttpError(404, Reason.ENGINE_NOT_FOUND.value)
    command = bodies.benchmark(fields)
    return await _service(request).execute(
        command,
        actor_of(request),
        lambda _: text_response(200, f"Benchmark result received from engine {command.engine_id}"),
    )


HANDLERS: Final = (heartbeat, list_engines, benchmark_result)
