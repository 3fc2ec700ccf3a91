"""One command for each of many jobs: those that a filter finds.

Laws:
- The jobs are found as of one moment, and a job that no longer matches when its turn comes is left
  alone.
- A job that is only in the index is recalled when its turn comes, so it is as good as any other.
- Jobs are scanned, and commands decided, some at a time. Others use the event loop in between.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from dispatcher.core.commands import Caller, Command
from dispatcher.core.dispatcher import Settle
from dispatcher.serving.listing import ListJobs, is_slow, next_piece, pieces, rest_of
from dispatcher.serving.service import Service
from dispatcher.serving.tickets import RefusedError, UnavailableError
from projections import Projections

__all__ = ["Outcome", "carry_out", "matching"]

PART: Final = 100
"""Commands that are decided at a time. The next are decided when these are durable."""
CHANGED: Final = "It changed meanwhile, and matches no more."


class Outcome(NamedTuple):
    """How many of the commands were carried out, and why the others were not.

    `fault` is why the log could not be written, after which no more were tried.
    """

    done: int
    not_done: dict[str, int]
    fault: str | None = None


async def matching(service: Service, view: ListJobs) -> list[str]:
    """Return the ids of the jobs that match. `KeyError` if there is no job of the id `after`."""
    after = await service.memory.place_of(view)
    # As of one moment: nothing is awaited between these.
    seq, index = service.projections.seq, service.memory.index
    to_come = pieces(view, rest_of(view, service.projections.jobs, after), index, after, seq)
    in_thread, found = is_slow(view, index), list[str]()
    while not view.is_filled_by(found):
        if (piece := await next_piece(to_come, in_thread=in_thread)) is None:
            break
        found += [job.job_id for job in piece]
        await asyncio.sleep(0)
    return found[: view.limit]


async def carry_out(
    service: Service,
    view: ListJobs,
    job_ids: list[str],
    command: Callable[[str], Command],
    caller: Caller,
) -> Outcome:
    """Carry out a command for each of the jobs that `matching` found."""
    done, not_done = 0, Counter[str]()
    for first in range(0, len(job_ids), PART):
        part = job_ids[first : first + PART]
        try:
            await service.memory.complete(*(command(job_id) for job_id in part))
        except UnavailableError as error:
            return Outcome(done, +not_done, str(error))
        still = [job_id for job_id in part if _matches(service, view, job_id)]
        not_done[CHANGED] += len(part) - len(still)
        answers, fault = list[Awaitable[None]](), None
        for job_id in still:
            try:
                answers.append(service.execute(command(job_id), caller, _granted))
            except UnavailableError as error:
                fault = str(error)
                break
        answered = await asyncio.gather(*answers, return_exceptions=True)
        for job_id, answer in zip(still, answered, strict=False):  # a fault leaves some untried
            match answer:
                case None:
                    done += 1
                case RefusedError():
                    not_done[str(answer).replace(f"job {job_id} ", "the job ")] += 1
                case UnavailableError():
                    fault = str(answer)
                case BaseException():
                    raise answer
        if fault is not None:
            return Outcome(done, +not_done, fault)
    return Outcome(done, +not_done)


def _matches(service: Service, view: ListJobs, job_id: str) -> bool:
    """Whether a job still matches: as it is shown, and by the status that a decision would see."""
    job = service.projections.jobs.get(job_id)
    is_shown = job is not None and view.wanted.admits(job)
    statuses = view.wanted.statuses
    return is_shown and (not statuses or service.status_of(job_id) in statuses)


def _granted(settled: Settle, projections: Projections) -> None:
    del settled, projections
