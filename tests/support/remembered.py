"""The finished jobs of a state, remembered at every seq: what an index should say."""

import copy

from dispatcher.index import Finished, JobRow
from dispatcher.index.steps import evict, recall
from dispatcher.state.replay import State
from projections.filters import JobFilter

__all__ = ["Remembered", "completed", "lightened"]


class Remembered:
    """A `FinishedJobs` that was told of every state, after each of its events."""

    def __init__(self) -> None:
        self._ends: dict[str, list[tuple[Finished, int]]] = {}
        """Of each job, what it was when it ended, and the seq from which it no longer was."""

    def notice(self, state: State) -> None:
        """Remember which jobs have just ended, and which were retried."""
        for job_id, ends in self._ends.items():
            last, until = ends[-1]
            if state.projections.jobs.ended.get(job_id) != last.ended:
                ends[-1] = (last, min(until, state.seq))
        for job_id, ended in state.projections.jobs.ended.items():
            if ended == state.seq:
                self._ends.setdefault(job_id, []).append((_finished(state, job_id), 1 << 62))

    def job(self, job_id: str, at: int) -> Finished | None:
        """See `FinishedJobs.job`."""
        for found, until in self._ends.get(job_id, []):
            if found.ended <= at < until:
                return Finished(found.ended, found.view, copy.copy(found.job), found.submitted)
        return None

    def number_of(self, job_id: str, at: int) -> int | None:
        """See `FinishedJobs.number_of`."""
        return None if (found := self.job(job_id, at)) is None else found.job.place.number

    def page(
        self, after: int | None, at: int, limit: int, wanted: JobFilter, *, newest: bool = False
    ) -> list[JobRow]:
        """See `FinishedJobs.page`; it has no job that is not wanted."""
        jobs = {it.job.place.number: it.view for it in self.all(at) if wanted.admits(it.view)}
        numbers = sorted(jobs, reverse=newest)
        if after is not None:
            numbers = [it for it in numbers if (it < after if newest else it > after)]
        return [(number, jobs[number]) for number in numbers[:limit]]

    def all(self, at: int) -> list[Finished]:
        """Return every job that was finished as of a seq."""
        return [found for name in self._ends if (found := self.job(name, at)) is not None]


def completed(state: State, finished: Remembered) -> State:
    """Recall every finished job, and return the state."""
    for found in finished.all(state.seq):
        recall(state.fleet, state.projections, found)
    return state


def lightened(state: State) -> State:
    """Evict every finished job, and return the state."""
    evict(state.fleet, state.projections, state.seq, set())
    return state


def _finished(state: State, job_id: str) -> Finished:
    job, view = state.fleet.jobs[job_id], state.projections.jobs.get(job_id)
    assert view is not None
    key = job.idempotency_key
    first = None if key is None else state.fleet.idempotent.get(key)
    return Finished(state.seq, view, copy.copy(job), first)
