"""Answering the GETs of jobs and engines, as it is or `as_of` a moment of the past."""

import re
from collections.abc import Mapping
from typing import Any, Final

from litestar import Request
from litestar.response.base import ASGIResponse

from dispatcher.api.bodies import MAX_INTEGER
from dispatcher.api.errors import HttpError
from dispatcher.api.requests import service_of
from dispatcher.moments import MomentError, parse_moment, seq_of
from dispatcher.service import Service
from dispatcher.views import ExplainJob, ListJobs, Shown, View, show
from projections.jobs import STATUSES

__all__ = ["SEQ_HEADER", "answer_view", "listing", "moment_of"]

_INTEGER: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)
SEQ_HEADER: Final = "X-Dispatcher-Seq"
"""Of which seq an answer speaks: that of the newest event that it can know of."""


async def answer_view(request: Request[Any, Any, Any], view: View) -> ASGIResponse:
    """Answer a GET; with `as_of` in its query, as it would have been answered then."""
    service = service_of(request)
    as_of = request.query_params.get("as_of") if request.scope["query_string"] else None
    if as_of is not None:
        seq = await moment_of(service, as_of)
        shown = await _shown_as_of(service, view, seq)
    elif isinstance(view, ExplainJob):
        shown = await service.explain(lambda fleet: show(view, service.projections, fleet))
        seq = service.projections.seq
    else:
        seq, shown = service.projections.seq, show(view, service.projections)
    return ASGIResponse(
        body=shown.body,
        status_code=shown.status,
        media_type="application/json" if shown.status == 200 else "text/plain",  # noqa: PLR2004
        headers=shown.headers | {SEQ_HEADER: str(seq)},
    )


async def moment_of(service: Service, as_of: str) -> int:
    """Give the seq that an `as_of` means."""
    try:
        return await seq_of(parse_moment(as_of), service.log, service.projections.seq)
    except MomentError as error:
        raise HttpError(400, f"Bad Request: 'as_of' {error}.") from error


def listing(query: Mapping[str, str]) -> ListJobs:
    """Parse the query of `GET /jobs/`; parameters that it does not know are ignored."""
    status, limit = query.get("status"), query.get("limit")
    if status is not None and status not in STATUSES:
        allowed = ", ".join(map(repr, sorted(STATUSES)))
        raise HttpError(400, f"Bad Request: 'status' must be one of {allowed}.")
    if limit is not None and _INTEGER.fullmatch(limit) is None:
        raise HttpError(400, "Bad Request: 'limit' must be an integer.")
    if limit is not None and not 0 < int(limit) <= MAX_INTEGER:
        raise HttpError(400, "Bad Request: 'limit' must be a positive integer.")
    return ListJobs(
        status,
        query.get("codec"),
        query.get("engine"),
        None if limit is None else int(limit),
        query.get("after"),
        dict(query),
    )


async def _shown_as_of(service: Service, view: View, seq: int) -> Shown:
    if service.past is None:
        raise HttpError(503, "Service Unavailable: this dispatcher keeps no past")
    return await service.past.show(view, seq)
