"""The route for engines that split films into parts (docs/protocol.md)."""

from collections.abc import Awaitable, Iterator
from typing import Any, Final

from litestar import post

from dispatcher import segments
from dispatcher.api import bodies
from dispatcher.api.answers import Answer
from dispatcher.api.auth import check_engine
from dispatcher.api.errors import HttpError
from dispatcher.api.replies import render
from dispatcher.api.requests import CommandRequest
from dispatcher.api.routes import command
from dispatcher.api.schemas import PLAN
from dispatcher.core.commands import SplitJob, SubmitJob
from dispatcher.recipes import stored_recipe
from dispatcher.segments import Plan, Segment
from dispatcher.serving.keys import Role
from dispatcher.store_urls import PREFIX
from projections.jobs import JobView

__all__ = ["HANDLERS"]


@command(
    post,
    "/jobs/{job_id:str}/split",
    needs=Role.ENGINE,
    answers={200: str, 404: str, 409: str},
    body=PLAN,
)
def split_job(request: CommandRequest, body: bytes, job_id: str) -> Awaitable[Answer]:
    """Submit the parts of a film, as jobs; its own job then waits for them.

    To send the same plan again is no error and changes nothing.
    """
    plan, engine_id, attempt, instance = bodies.plan(body)
    check_engine(request, engine_id)
    if request.service.store is None:
        raise HttpError(409, f"Conflict: {segments.NO_STORE}.")
    film = request.service.projections.jobs.get(job_id)
    parts = () if film is None else tuple(_parts_of(film, plan))  # who holds none is refused
    split = SplitJob(job_id, parts, engine_id, attempt, instance, request.speaks_for)
    return request.service.execute(split, request.caller, render)


def _parts_of(film: JobView, plan: Plan) -> Iterator[SubmitJob]:
    """Yield the submissions of a film's parts, the rest first, since it may take the longest.

    The size of a segment is its share of the film's. The rest is read from all of it.
    """
    told: dict[str, Any] = film.recipe or {}
    needs = {*stored_recipe(told).needs, segments.ABILITY, *plan.needs}
    is_stored = film.source_url.startswith(PREFIX)
    needs.update(bodies.needs_of(None, None, film.tags or [], is_stored=is_stored))
    recipe = {name: it for name, it in told.items() if name not in {"name", "split_s"}}
    frames = sum(it.frames for it in plan.parts if isinstance(it, Segment))
    planned = [*zip(plan.parts, plan.wire()["parts"], strict=True)]
    planned.sort(key=lambda it: isinstance(it[0], Segment))
    for part, fields in planned:
        share = part.frames / frames if isinstance(part, Segment) else 1.0
        yield SubmitJob(
            job_id=None,
            source_url=film.source_url,
            target_codec=film.target_codec,
            job_size=film.job_size * share,
            max_retries=film.max_retries,
            recipe=recipe or None,
            needs=tuple(sorted(needs)),
            part=fields,
        )


HANDLERS: Final = (split_job,)
