"""The routes for events: lists of past events, and a stream of new ones.

Every event is sent as its line (docs/log.md), byte for byte.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from litestar import Request, get
from litestar.openapi.spec import OpenAPIType, Parameter, Schema
from litestar.params import FromPath
from litestar.types import ASGIApp

from dispatcher import sse
from dispatcher.api import queries
from dispatcher.api.answers import JSON, Answer
from dispatcher.api.errors import HttpError
from dispatcher.api.queries import Slice
from dispatcher.api.requests import asker_of, holding_of, service_of
from dispatcher.api.routes import declared
from dispatcher.api.schemas import AS_OF
from dispatcher.api.streamed import Streamed
from dispatcher.api.viewing import LISTING_BYTES, moment_of
from dispatcher.core.replies import Reason
from dispatcher.headers import SEQ_HEADER
from dispatcher.log import serialization
from dispatcher.serving.keys import Role
from dispatcher.serving.quotas import PAGE_BYTES
from dispatcher.serving.selection import Selection, selected
from dispatcher.serving.service import Service

__all__ = ["HANDLERS", "EventLine"]


USUAL_LINE: Final = 1 << 10
"""Bytes that are held for each event of a page while it is read."""


class EventLine(msgspec.Struct, frozen=True):
    """An event. The fields of its `type`, in this `version`, are next to these."""

    seq: int
    time: str
    type: str
    version: int
    actor: str
    request_id: str | None


def _asked(name: str, description: str, **schema: Any) -> Parameter:
    kind = Schema(**({"type": OpenAPIType.STRING} | schema))
    return Parameter(name, "query", description=description, schema=kind)


_NUMBER: Final = OpenAPIType.INTEGER
_TYPE: Final = _asked("type", "only events of this type", enum=sorted(serialization.NAMES.values()))
_AFTER: Final = _asked("after", "only events after this seq", type=_NUMBER, minimum=0)
_LIMIT: Final = _asked("limit", "at most so many", type=_NUMBER, minimum=1)
_FILTERS: Final = [
    _TYPE,
    _asked("job", "only events of this job"),
    _asked("engine", "only events of this engine"),
]
_PAGE: Final = _asked(
    "limit",
    "at most so many",
    type=_NUMBER,
    minimum=1,
    maximum=queries.MAX_LIMIT,
    default=queries.DEFAULT_LIMIT,
)
_OF_ONE: Final = [_AFTER, _LIMIT, _TYPE, AS_OF]
_LAST_EVENT_ID: Final = Parameter(
    "Last-Event-ID", "header", schema=Schema(type=_NUMBER, minimum=0), description="before `after`"
)


@get(
    "/jobs/{job_id:str}/events",
    **declared(needs=Role.CLIENT, answers={200: list[EventLine], 404: str}, parameters=_OF_ONE),
)
async def job_events(request: Request[Any, Any, Any], job_id: FromPath[str]) -> ASGIApp:
    """List all that has happened to a job, oldest first."""
    is_known = service_of(request).projections.jobs.get(job_id) is not None
    asked = queries.part(request.query_params, job=job_id)
    return await _history(request, asked, is_known=is_known, missing=Reason.JOB_NOT_FOUND)


@get(
    "/engines/{engine_id:str}/events",
    **declared(needs=Role.CLIENT, answers={200: list[EventLine], 404: str}, parameters=_OF_ONE),
)
async def engine_events(request: Request[Any, Any, Any], engine_id: FromPath[str]) -> ASGIApp:
    """List all that has happened to an engine, oldest first; also to one since forgotten."""
    is_known = service_of(request).projections.engines.get(engine_id) is not None
    asked = queries.part(request.query_params, engine=engine_id)
    return await _history(request, asked, is_known=is_known, missing=Reason.ENGINE_NOT_FOUND)


@get(
    "/events",
    **declared(
        needs=Role.CLIENT,
        answers={200: list[EventLine], 429: str, 503: str},
        parameters=[_AFTER, _PAGE, *_FILTERS],
    ),
)
async def list_events(request: Request[Any, Any, Any]) -> ASGIApp:
    """List events, oldest first.

    A Link header (RFC 8288) leads to the next page, as long as there is one. A page that is large
    ends before its limit.
    """
    service = service_of(request)
    asked, limit = queries.one_page(request.query_params)
    usual = min(limit * USUAL_LINE, PAGE_BYTES)
    holding_of(request.scope).at_least(max(usual, LISTING_BYTES))
    entries: list[serialization.LogEntry] = []
    lines: list[bytes] = []
    full = 0  # how many lines fill a page
    async with aclosing(_entries(service, asked, service.projections.seq, limit + 1)) as pages:
        async for page in pages:
            entries += page
            lines += map(serialization.line, page)
            full = _filling(lines, limit)
            if full < len(lines):
                break
    body = b"[" + b",".join(lines[:full]) + b"]"
    headers = {}
    if full < len(lines):
        query = urlencode({**dict(request.query_params), "after": entries[full - 1].seq})
        headers = {"Link": f'</events?{query}>; rel="next"'}
    return Answer(200, body, JSON, headers)


@get(
    "/events/stream",
    **declared(
        needs=Role.CLIENT,
        answers={200: str, 429: str, 503: str},
        parameters=[_AFTER, _LAST_EVENT_ID, *_FILTERS],
        streams=True,
    ),
)
async def stream_events(request: Request[Any, Any, Any]) -> ASGIApp:
    """Stream events as they happen, as server-sent events whose ids are seqs.

    It begins now, or after the client's last event. A resumed stream has no gaps or duplicates.
    """
    feed = service_of(request).feed
    selection = queries.selection(request.query_params)
    after = queries.cursor(request, feed.head)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Streamed(feed.stream(selection, after, asker_of(request)), sse.MEDIA_TYPE, headers)


def _filling(lines: list[bytes], limit: int) -> int:
    """Return how many of the lines a page has: up to its limit or the one that makes it large."""
    size = 0
    for number, line in enumerate(lines[:limit], 1):
        size += len(line)
        if size >= PAGE_BYTES:
            return number
    return min(len(lines), limit)


async def _history(
    request: Request[Any, Any, Any], asked: Slice, *, is_known: bool, missing: Reason
) -> ASGIApp:
    """Return the history of one job or engine, as of now or as of the moment `as_of`."""
    service = service_of(request)
    holding_of(request.scope).at_least(LISTING_BYTES)
    upto = service.projections.seq
    if (as_of := request.query_params.get("as_of")) is not None:
        upto = await moment_of(service, asker_of(request), as_of)
    if (as_of is not None or not is_known) and not await _exists(service, asked.selection, upto):
        raise HttpError(404, missing.value)
    array = _array(_entries(service, asked, upto, asked.limit))
    return Streamed(array, "application/json", {SEQ_HEADER: str(upto)})


async def _exists(service: Service, selection: Selection, upto: int) -> bool:
    """Whether a job or engine has any event up to `upto`. Forgotten engines keep their events."""
    anything = Slice(Selection(job=selection.job, engine=selection.engine), 0, 1)
    async with aclosing(_entries(service, anything, upto, 1)) as pages:
        return await anext(pages, None) is not None


async def _entries(
    service: Service, asked: Slice, upto: int, limit: int | None
) -> AsyncGenerator[list[serialization.LogEntry], None]:
    """Yield the entries asked for in pages, none of them empty."""
    trail = service.memory.trail
    pages = selected(service.log, trail, asked.selection, asked.after, upto)
    async with aclosing(pages):
        async for page in pages:
            entries = page.entries[:limit]
            if limit is not None:
                limit -= len(entries)
            if entries:
                yield entries
            if limit == 0:
                return


async def _array(
    pages: AsyncGenerator[list[serialization.LogEntry], None],
) -> AsyncGenerator[bytes, None]:
    """Yield a JSON array of the entries, page by page."""
    before = b"["
    async with aclosing(pages):
        async for page in pages:
            yield before + b",".join(map(serialization.line, page))
            before = b","
    yield b"]" if before == b"," else b"[]"


HANDLERS: Final = (job_events, engine_events, list_events, stream_events)
