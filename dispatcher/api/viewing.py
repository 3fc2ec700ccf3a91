"""Answering the GETs of jobs and engines, as of now or as of a past moment (`as_of`)."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.types import ASGIApp

from dispatcher.api.answers import JSON, TEXT, Answer
from dispatcher.api.errors import HttpError
from dispatcher.api.requests import asker_of, holding_of, service_of
from dispatcher.api.streamed import Streamed
from dispatcher.serving.as_of import Past
from dispatcher.serving.quotas import PIECE_BYTES, Asker, Holding
from dispatcher.serving.service import Service
from dispatcher.serving.tickets import UnavailableError
from dispatcher.serving.views import (
    NO_SUCH_JOB,
    SCAN,
    ExplainJob,
    ListEngines,
    ListJobs,
    Shown,
    View,
    cut,
    page_of,
    scanned,
    show,
    weight_of,
)
from dispatcher.state.moments import MomentError, check_reached, parse_moment
from projections.engines import EngineView
from projections.jobs import Jobs, JobView

__all__ = ["LISTING_BYTES", "SEQ_HEADER", "answer_view", "moment_of"]

LISTING_BYTES: Final = 1 << 20
"""What a long list holds, at least, of its key's share of unread answers. So a key can't have many
lists made at once, each of which takes its time of the event loop."""
REFERENCE_BYTES: Final = 8
FEW_ENGINES: Final = 16

PAUSE_S: Final = 0.001
"""The pause between two pieces of a list. The thread that commits needs the interpreter too, and
gets it soon only when the event loop is idle."""

_encode = msgspec.json.Encoder().encode

SEQ_HEADER: Final = "X-Dispatcher-Seq"
"""The header with the seq of a response: that of the newest event that it can reflect."""


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
    else:
        seq = service.projections.seq
        if isinstance(view, ListJobs):
            return await _list(view, service.projections.jobs, seq, holding_of(request.scope))
        if isinstance(view, ListEngines):
            engines = service.projections.engines.all()
            if len(engines) > FEW_ENGINES:
                holding_of(request.scope).at_least(LISTING_BYTES)
                pieces = _engines(engines)
                return Streamed(pieces, "application/json", {SEQ_HEADER: str(seq)})
        shown = show(view, service.projections)
    return _answer(shown, seq)


async def _explained(service: Service, asker: Asker, view: ExplainJob) -> tuple[int, Shown]:
    try:
        shown = await service.explain(lambda fleet: show(view, service.projections, fleet))
    except UnavailableError:  # the log can't be written, but what is in it can be explained
        head = service.projections.seq
        return await _past_of(service).show(asker, view, head, head)
    return service.projections.seq, shown


def _answer(shown: Shown, seq: int) -> Answer:
    media_type = JSON if shown.status == 200 else TEXT  # noqa: PLR2004
    return Answer(shown.status, shown.body, media_type, shown.headers | {SEQ_HEADER: str(seq)})


async def _list(view: ListJobs, jobs: Jobs, seq: int, holding: Holding) -> ASGIApp:
    """List jobs without blocking the event loop, however many there are."""
    try:
        found, rest = scanned(view, jobs)
    except KeyError:
        return _answer(NO_SUCH_JOB, seq)
    is_long = bool(rest) or weight_of(found) > PIECE_BYTES
    if is_long:
        holding.at_least(max(LISTING_BYTES, len(rest) * REFERENCE_BYTES))
    if view.limit is None and is_long:
        pieces = _array(view, found, rest)
        return Streamed(pieces, "application/json", {SEQ_HEADER: str(seq)})
    for piece in _pieces(view, rest):
        if view.is_filled_by(found):
            break
        found += piece
        await asyncio.sleep(PAUSE_S)
    return _answer(page_of(view, found), seq)


def _pieces(view: ListJobs, rest: list[JobView]) -> Iterator[list[JobView]]:
    for start in range(0, len(rest), SCAN):
        yield [job for job in rest[start : start + SCAN] if view.admits(job)]


async def _array(
    view: ListJobs, found: list[JobView], rest: list[JobView]
) -> AsyncGenerator[bytes, None]:
    yield b"["
    comma = b""
    for piece in chain([found], _pieces(view, rest)):
        for part in cut(piece, PIECE_BYTES):
            yield comma + _encode(part)[1:-1]
            comma = b","
        await asyncio.sleep(PAUSE_S)
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
