"""Writing the index: a step adds what has happened since the step before, in one transaction.

Laws:
- A step has all of it up to its seq, or is not there.
- A step that overlaps what the index has already adds only what is new. So the index may be ahead
  of the state that a step is taken of, after a restart from an older snapshot.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from sqlite3 import Connection
from typing import Final, NamedTuple, TypeVar

import msgspec

from dispatcher.core.fleet import Fleet
from dispatcher.index import Finished, IndexFaultError
from dispatcher.index.file import ENGINE, JOB, STATUSES, About, about, connect, set_about, told
from dispatcher.index.records import compressed, encode, seqs_packed
from projections import Projections
from projections.history import History, HistoryPart
from projections.jobs import NumberedJob

__all__ = ["Entry", "Step", "drop_unshown", "evict", "recall", "step_of", "write"]

Item = TypeVar("Item")
_ROWS: Final = 256


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A finished job on its way to the index; see `file` for the fields."""

    number: int
    ended: int
    job_id: str
    status: int
    engine_id: str | None
    codec: str
    key: str | None
    record: bytes


class Step(NamedTuple):
    """What the index lacks up to and including seq `upto`."""

    upto: int
    entries: list[Entry]
    retried: dict[int, int]
    history: HistoryPart


def step_of(fleet: Fleet, projections: Projections, after: int) -> Step:
    """Collect what an index that reaches up to seq `after` lacks.

    Of each finished job the fleet must be where the projections are, which it is if the job is not
    just being retried. Raises `IndexFaultError` if memory does not reach back so far.
    """
    if projections.history.since > after:
        raise IndexFaultError(
            f"the index ends at seq {after}, but what is in memory begins after seq "
            f"{projections.history.since}; restart the dispatcher, which makes it anew"
        )
    jobs, entries = projections.jobs, []
    for job_id, ended in jobs.ended.items():
        if ended > after:
            view, job, number = jobs.get(job_id), fleet.jobs[job_id], jobs.number_of(job_id)
            assert view is not None and number is not None  # noqa: PT018, S101 - it ended here
            key = job.idempotency_key
            submitted = None if key is None else fleet.idempotent.get(key)
            entries.append(
                Entry(
                    number,
                    ended,
                    job_id,
                    STATUSES.index(view.status),
                    view.assigned_engine,
                    view.target_codec,
                    key,
                    encode(view, job, submitted),
                )
            )
    return Step(projections.seq, entries, dict(jobs.retried), projections.history.part())


def evict(fleet: Fleet, projections: Projections, upto: int, busy: set[str]) -> None:
    """Let go of what an index that reaches up to seq `upto` has, except of the `busy` jobs.

    These are the jobs of which the fleet knows more than the projections.
    """
    jobs = projections.jobs
    gone = [it for it, ended in jobs.ended.items() if ended <= upto and it not in busy]
    for job_id in gone:
        jobs.evict(job_id)
        if job_id in fleet.jobs:
            fleet.evict(job_id)
    jobs.forget_retried(upto)
    projections.history.cut(upto)


def drop_unshown(fleet: Fleet, projections: Projections) -> None:
    """Evict from a fleet that was made anew what the projections have let go already."""
    for job in [job for job in fleet.jobs.values() if job.final]:
        if projections.jobs.get(job.job_id) is None:
            fleet.evict(job.job_id)


def recall(fleet: Fleet, projections: Projections, found: Finished) -> None:
    """Take a finished job back, before an event or a decision concerns it."""
    fleet.recall(found.job, found.submitted)
    projections.jobs.recall(NumberedJob(found.job.place.number, found.view), found.ended)


def write(path: Path, fold: int, step: Step, tree: Iterable[bytes]) -> None:
    """Add a step to an index. `tree` is the frontier of the log's tree at its seq.

    Raises `IndexFaultError`.
    """
    connection = connect(path, read_only=False)
    try:
        with told(path):
            before = about(path, connection, fold).upto
            if step.upto <= before:
                return
            connection.execute("BEGIN IMMEDIATE")
            _retire(connection, step.retried)
            _add_finished(connection, step.entries)
            _add_history(connection, History.of_part(step.history), before)
            set_about(connection, fold, About(step.upto, tuple(tree)))
            connection.execute("COMMIT")
    finally:
        connection.close()


def _retire(connection: Connection, retried: dict[int, int]) -> None:
    """Move the ends of jobs that were retried to the former ones."""
    for number, seq in retried.items():
        of_it = "FROM finished WHERE number = ? AND ended < ?"
        connection.execute(
            f"INSERT OR IGNORE INTO former SELECT number, ended, ?, name, status, engine, codec, "
            f"record {of_it}",
            (seq, number, seq),
        )
        connection.execute(f"DELETE {of_it}", (number, seq))


def _add_finished(connection: Connection, entries: list[Entry]) -> None:
    for part in _in_parts(entries):
        jobs = _named(connection, JOB, [entry.job_id for entry in part])
        engines = _named(connection, ENGINE, {e.engine_id for e in part if e.engine_id is not None})
        connection.executemany(
            "INSERT OR IGNORE INTO finished VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    entry.number,
                    entry.ended,
                    jobs[entry.job_id],
                    entry.status,
                    None if entry.engine_id is None else engines[entry.engine_id],
                    entry.codec,
                    compressed(entry.record),
                )
                for entry in part
            ],
        )
        connection.executemany(
            "INSERT OR IGNORE INTO keys VALUES (?, ?)",
            [(entry.key, entry.number) for entry in part if entry.key is not None],
        )


def _add_history(connection: Connection, history: History, after: int) -> None:
    kinds = ((JOB, history.jobs(), history.of_job), (ENGINE, history.engines(), history.of_engine))
    for kind, names, seqs_of in kinds:
        for part in _in_parts(names):
            ids = _named(connection, kind, part)
            new = [(ids[name], [seq for seq in seqs_of(name) if seq > after]) for name in part]
            connection.executemany(
                "INSERT OR IGNORE INTO history VALUES (?, ?, ?)",
                [(name, seqs[0], seqs_packed(seqs)) for name, seqs in new if seqs],
            )


def _named(connection: Connection, kind: int, names: Iterable[str]) -> dict[str, int]:
    """Return the ids of names, which they are given if they have none yet."""
    found = {}
    for name in names:
        row = connection.execute(
            "SELECT id FROM names WHERE name = ? AND kind = ?", (name, kind)
        ).fetchone()
        if row is None:
            row = connection.execute(
                "INSERT INTO names (kind, name) VALUES (?, ?) RETURNING id", (kind, name)
            ).fetchone()
        found[name] = row[0]
    return found


def _in_parts(items: list[Item]) -> Iterator[list[Item]]:
    for first in range(0, len(items), _ROWS):
        yield items[first : first + _ROWS]
