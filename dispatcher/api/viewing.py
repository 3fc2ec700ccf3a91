"""Answering the GETs of jobs, engines and statistics, as of now or a past moment (`as_of`)."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.types import ASGIApp, Receive

from dispatcher.api.answers import JSON, TEXT, Answer
from dispatcher.api.errors import HttpError
from dispatcher.api.requests import asker_of, holding_of, service_of, until_gone
from dispatcher.api.streamed import Streamed
from dispatcher.core.fleet import Fleet
from dispatcher.headers import SEQ_HEADER
from dispatcher.serving.as_of import Past
from dispatcher.serving.listing import SCAN, ListJobs, is_slow, next_piece, pieces, rest_of
from dispatcher.serving.quotas import PIECE_BYTES, Asker, Holding
from dispatcher.serving.service import Service
from dispatcher.serving.tickets import UnavailableError
from dispatcher.serving.views import (
    NO_SUCH_JOB,
    ExplainJob,
    ForecastFarm,
    ListEngines,
    ShowJob,
    Shown,
    View,
    cut,
    page_of,
    show,
    shown_forecast,
    weight_of,
)
from dispatcher.state.moments import MomentError, check_reached, parse_moment
from projections.engines import EngineView
from projections.jobs import JobView

__all__ = ["LISTING_BYTES", "answer_view", "moment_of"]

LISTING_BYTES: Final = 1 << 20
"""What a long list holds, at least, of its key's share of unread answers. So a key can't have many
lists made at once, each of which takes its time of the event loop."""
REFERENCE_BYTES: Final = 8
FEW_ENGINES: Final = 16
OK: Final = 200

PAUSE_S: Final = 0.001
"""The pause between two pieces of a list. The thread that commits needs the interpreter too, and
gets it soon only when the event loop is idle."""

_encode = msgspec.json.Encoder().encode


async def answer_view(request: Request[Any, Any, Any], view: View) -> ASGIApp:
    """Answer a GET. With `as_of` in its query, the answer is the one of that moment."""
    service = service_of(request)
    as_of = request.query_params.get("as_of") if request.scope["query_string"] else None
    if as_of is not None:
        head = service.projections.seq
        moment = _moment(as_of, head)
        seq, shown = await _past_of(service).show(asker_of(request), view, moment, head)
    elif isinstance(view, ExplainJob):
        seq, shown = await _explained(service, asker_of(request), view)
    elif isinstance(view, ForecastFarm):
        made = await service.forecasts.newest()
        seq, shown = made.seq, shown_forecast(made, view.limit)
    elif isinstance(view, ListJobs):
        return await _list(view, service, holding_of(request.scope), request.receive)
    else:
        seq = service.projections.seq
        if isinstance(view, ListEngines):
            engines = service.projections.engines.all()
            if len(engines) > FEW_ENGINES:
                holding_of(request.scope).at_least(LISTING_BYTES)
                pieces = _engines(engines)
                return Streamed(pieces, "application/json", {SEQ_HEADER: str(seq)})
        shown = show(view, service.projections)
        if shown.status != OK and isinstance(view, ShowJob):
            found = await service.memory.job(view.job_id, seq)
            shown = shown if found is None else Shown(OK, _encode(found.view))
    return _answer(shown, seq)


async def _explained(service: Service, asker: Asker, view: ExplainJob) -> tuple[int, Shown]:
    try:
        shown = await service.explain(lambda fleet: show(view, service.projections, fleet))
    except UnavailableError:  # the log can't be written, but what is in it can be explained
        head = service.projections.seq
        return await _past_of(service).show(asker, view, head, head)
    seq = service.projections.seq
    if shown.status != OK and (found := await service.memory.job(view.job_id, seq)) is not None:
        shown = show(view, service.projections, Fleet({view.job_id: found.job}))
    return seq, shown


def _answer(shown: Shown, seq: int) -> Answer:
    media_type = JSON if shown.status == OK else TEXT
    return Answer(shown.status, shown.body, media_type, shown.headers | {SEQ_HEADER: str(seq)})


async def _list(view: ListJobs, service: Service, holding: Holding, receive: Receive) -> ASGIApp:
    """List jobs without blocking the event loop, however many there are."""
    jobs = service.projections.jobs
    try:
        after = await service.memory.place_of(view)
    except KeyError:
        return _answer(NO_SUCH_JOB, service.projections.seq)
    # As of one moment: nothing is awaited between these.
    seq, rest, index = service.projections.seq, rest_of(view, jobs, after), service.memory.index
    to_come = pieces(view, rest, index, after, seq)
    in_thread = is_slow(view, index)
    found = await next_piece(to_come, in_thread=in_thread) or []
    has_more = not view.is_filled_by(found) and (len(rest) > SCAN or in_thread)
    is_long = has_more or weight_of(found) > PIECE_BYTES
    if is_long:
        unread = len(rest) * REFERENCE_BYTES if has_more else 0
        holding.at_least(max(LISTING_BYTES, unread))
    if view.limit is None and is_long:
        array = _array(found, to_come, in_thread=in_thread)
        return Streamed(array, "application/json", {SEQ_HEADER: str(seq)})
    if has_more:
        leaving = asyncio.create_task(until_gone(receive))
        try:
            await _fill(view, found, to_come, leaving, in_thread=in_thread)
        finally:
            leaving.cancel()
    return _answer(page_of(view, found), seq)


async def _fill(
    view: ListJobs,
    found: list[JobView],
    to_come: Iterator[list[JobView]],
    leaving: asyncio.Task[None],
    *,
    in_thread: bool,
) -> None:
    """Add to the jobs found until there are enough. A client that has gone needs no more."""
    while not view.is_filled_by(found) and not leaving.done():
        if (piece := await next_piece(to_come, in_thread=in_thread)) is None:
            break
        found += piece
        await asyncio.sleep(PAUSE_S)


async def _array(
    found: list[JobView], to_come: Iterator[list[JobView]], *, in_thread: bool
) -> AsyncGenerator[bytes, None]:
    yield b"["
    comma = b""
    piece: list[JobView] | None = found
    while piece is not None:
        for part in cut(piece, PIECE_BYTES):
            yield comma + _encode(part)[1:-1]
            comma = b","
        await asyncio.sleep(PAUSE_S)
        piece = await next_piece(to_come, in_thread=in_thread)
    yield b"]"


async def _engines(engines: Sequence[EngineView]) -> AsyncGenerator[bytes, None]:
    """List engines without blocking the event loop, however much they have told."""
    piece = bytearray()
    for number, engine in enumerate(engines):
        piece += b"," if number else b"["
        piece += _encode(engine.wire())
        if len(piece) > PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
            await asyncio.sleep(0)
    yield bytes(piece) + b"]"


async def moment_of(service: Service, asker: Asker, as_of: str) -> int:
    """Return the seq that an `as_of` denotes."""
    head = service.projections.seq
    moment = _moment(as_of, head)
    if isinstance(moment, int):
        return moment
    return await _past_of(service).seq_of(asker, moment, head)


def _moment(as_of: str, head: int) -> int | datetime:
    """Parse an `as_of`. Finding the seq of a time is left to `past`, because it may take long."""
    try:
        moment = parse_moment(as_of)
        check_reached(moment, head)
    except MomentError as error:
        raise HttpError(400, f"Bad Request: 'as_of' {error}.") from error
    return moment


def _past_of(service: Service) -> Past:
    if service.past is None:
        raise HttpError(503, "Service Unavailable: this dispatcher keeps no past")
    return service.past
