"""Reading the index.

Laws:
- An answer is as of the seq that is asked for, whatever has been added since.
- A read takes one short page, and one read is made at a time. Any thread may ask.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

from dispatcher.index import Finished, IndexFaultError, JobRow
from dispatcher.index.file import COMPLETED, ENGINE, JOB, STATUSES, about, connect, told
from dispatcher.index.records import finished_of, seqs_of, views_of
from projections.filters import JobFilter

__all__ = ["Index"]

_JOB: Final = """
SELECT ended, record FROM finished JOIN names ON names.id = finished.name
    WHERE names.name = :job AND kind = 1 AND ended <= :at
UNION ALL SELECT ended, record FROM former JOIN names ON names.id = former.name
    WHERE names.name = :job AND kind = 1 AND ended <= :at AND retried > :at
"""
_BY_KEY: Final = """
SELECT ended, record FROM keys JOIN finished USING (number) WHERE key = :key
"""
_NUMBER: Final = """
SELECT number FROM finished JOIN names ON names.id = finished.name
    WHERE names.name = :job AND kind = 1 AND ended <= :at
UNION ALL SELECT number FROM former JOIN names ON names.id = former.name
    WHERE names.name = :job AND kind = 1 AND ended <= :at AND retried > :at
"""
_IDS: Final = """
SELECT name FROM names WHERE kind = 1 AND name >= :prefix AND name <= :prefix || char(1114111)
    ORDER BY name LIMIT :limit
"""
_SEQS: Final = """
SELECT first, seqs FROM history JOIN names ON names.id = history.name
    WHERE names.name = :name AND kind = :kind AND first <= :upto
        AND first >= (SELECT coalesce(max(first), 0) FROM history
                      WHERE history.name = names.id AND first <= :after + 1)
    ORDER BY first LIMIT :parts
"""
_ALL: Final = """
SELECT number, ended, record FROM finished WHERE number > :after AND ended <= :at
UNION ALL SELECT number, ended, record FROM former
    WHERE number > :after AND ended <= :at AND retried > :at
    ORDER BY number LIMIT :limit
"""
_TABLES: Final = (
    "finished WHERE ended <= :at",
    "former WHERE ended <= :at AND retried > :at",
)
_JOBS: Final = 256
"""Jobs that are read at a time."""
_PARTS: Final = 1_024
"""Parts of a history that are read at a time."""


class Index:
    """An index that is open for reading. `close` it after use."""

    def __init__(self, path: Path, fold: int) -> None:
        """Raise `IndexFaultError` if there is none of this fold version."""
        self._path, self._fold = path, fold
        self._lock = threading.Lock()
        self._connection = connect(path, read_only=True)
        try:
            self.look_again()
        except IndexFaultError:
            self.close()
            raise

    def look_again(self) -> None:
        """Set `upto` and `tree`, of the log that it knows. Raises `IndexFaultError`."""
        with self._lock:
            self.upto, self.tree = about(self._path, self._connection, self._fold)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it. Reads that come later raise `IndexFaultError`."""
        with self._lock:
            self._connection.close()

    def job(self, job_id: str, at: int) -> Finished | None:
        """Return a job that was finished as of seq `at`, as it was then; or `None`."""
        rows = self._rows(_JOB, {"job": job_id, "at": at})
        return finished_of(*rows[0]) if rows else None

    def job_of_key(self, key: str) -> Finished | None:
        """Return the finished job that an idempotency key belongs to, or `None`."""
        rows = self._rows(_BY_KEY, {"key": key})
        return finished_of(*rows[0]) if rows else None

    def number_of(self, job_id: str, at: int) -> int | None:
        """Return the number of a job that was finished as of seq `at`, or `None`."""
        rows = self._rows(_NUMBER, {"job": job_id, "at": at})
        return rows[0][0] if rows else None

    def job_ids(self, prefix: str, limit: int) -> list[str]:
        """Return the first ids of jobs, in their order, that begin with a prefix."""
        return [name for (name,) in self._rows(_IDS, {"prefix": prefix, "limit": limit})]

    def count(self, at: int) -> int:
        """Count the jobs that were finished as of seq `at`."""
        rows = self._rows(
            "SELECT (SELECT count(*) FROM finished WHERE ended <= :at)"
            " + (SELECT count(*) FROM former WHERE ended <= :at AND retried > :at)",
            {"at": at},
        )
        return int(rows[0][0])

    def page(
        self, after: int | None, at: int, limit: int, wanted: JobFilter, *, newest: bool = False
    ) -> list[JobRow]:
        """See `FinishedJobs.page`."""
        filters, values = "", {"at": at, "limit": limit}
        matching: dict[str, Any] = {}
        if after is not None:
            filters += f" AND number {'<' if newest else '>'} :after"
            values["after"] = after
        if wanted.codec is not None:
            filters += " AND codec = :codec"
            matching["codec"] = wanted.codec
        if wanted.engine is not None:
            filters += " AND engine = (SELECT id FROM names WHERE name = :engine AND kind = 2)"
            matching["engine"] = wanted.engine
        selections = " UNION ALL ".join(
            f"SELECT number, record FROM {table}{filters}{status}"  # noqa: S608 - made of constants
            for status in _status_filters(wanted)
            for table in _TABLES
        )
        order = "DESC" if newest else "ASC"
        rows = self._rows(f"{selections} ORDER BY number {order} LIMIT :limit", values | matching)
        return views_of(((number, record) for number, record in rows), wanted)

    def all(self, at: int) -> Iterator[Finished]:
        """Yield the jobs that were finished as of seq `at`, in order of submission."""
        after = -1
        while page := self._rows(_ALL, {"after": after, "at": at, "limit": _JOBS}):
            yield from (finished_of(ended, record) for _, ended, record in page)
            after = page[-1][0]

    def seqs_of_job(self, job_id: str, after: int, upto: int, at_most: int) -> list[int]:
        """Return the first seqs after one and up to another of the events of a job."""
        return self._seqs(JOB, job_id, after, upto, at_most)

    def seqs_of_engine(self, engine_id: str, after: int, upto: int, at_most: int) -> list[int]:
        """Return the first seqs after one and up to another of the events of an engine."""
        return self._seqs(ENGINE, engine_id, after, upto, at_most)

    def _seqs(self, kind: int, name: str, after: int, upto: int, at_most: int) -> list[int]:
        found: list[int] = []
        while len(found) < at_most:
            values = {"kind": kind, "name": name, "after": after, "upto": upto, "parts": _PARTS}
            parts = self._rows(_SEQS, values)
            for first, packed in parts:
                found += [seq for seq in seqs_of(first, packed) if after < seq <= upto]
            if len(parts) < _PARTS:
                break
            after = found[-1] if found else parts[-1][0]
        return found[:at_most]

    def _rows(self, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        with self._lock, told(self._path):
            return self._connection.execute(query, values).fetchall()


def _status_filters(wanted: JobFilter) -> list[str]:
    """Return a condition for each status, so that SQLite can use the index of the rare ones."""
    if len(wanted.final_statuses) == len(STATUSES):
        return [""]
    numbers = sorted(map(STATUSES.index, wanted.final_statuses))
    return [
        # SQLite uses a partial index only if its condition stands in the query, word for word.
        f" AND status = {number}" + ("" if number == COMPLETED else f" AND status <> {COMPLETED}")
        for number in numbers
    ]
