"""Comparing the index beside a log with a replay of the log.

Law: a sample of what the index says is compared, spread over all of it, and how much it says.
"""

from collections.abc import Iterator
from typing import Final

from dispatcher.index import Finished
from dispatcher.index.reading import Index
from dispatcher.log.merkle import Frontier
from dispatcher.state.replay import State

__all__ = ["differences"]

SAMPLE: Final = 1_000
"""Most jobs, and most engines, that are compared."""
MOST_SEQS: Final = 10_000
"""Most seqs of one history that are compared."""


def differences(index: Index, state: State, tree: Frontier) -> Iterator[str]:
    """Yield what the index says otherwise than a replay up to its seq."""
    at, jobs, history = state.seq, state.projections.jobs, state.projections.history
    since = history.since  # before it, only the index knows
    if index.tree != tuple(tree.roots):
        yield "the index was made of another log"
        return
    if (count := index.count(at)) != len(jobs.ended):
        yield f"the index has {count} finished jobs, and a replay gives {len(jobs.ended)}"
    for job_id in _spread(list(jobs.ended)):
        view, job = jobs.get(job_id), state.fleet.jobs[job_id]
        assert view is not None  # noqa: S101 - it ended here
        key = job.idempotency_key
        first = None if key is None else state.fleet.idempotent.get(key)
        told = index.job(job_id, at)
        if told != Finished(jobs.ended[job_id], view, job, first):
            yield f"the index says otherwise of job {job_id}"
        elif index.seqs_of_job(job_id, since, at, MOST_SEQS) != history.of_job(job_id)[:MOST_SEQS]:
            yield f"the index has other events of job {job_id}"
    for engine_id in _spread(history.engines()):
        seqs = history.of_engine(engine_id)[:MOST_SEQS]
        if index.seqs_of_engine(engine_id, since, at, MOST_SEQS) != seqs:
            yield f"the index has other events of engine {engine_id}"


def _spread(names: list[str]) -> list[str]:
    return names[:: max(1, -(-len(names) // SAMPLE))]
