"""Which events concern a job or an engine, for `GET /jobs/{id}/events`.

The events themselves stay in the log. Each name has a chain: the seq of its newest event, and for
every event the seq of the previous event in the same chain. This takes 16 bytes an event, however
many jobs and engines there are.
"""

from array import array
from typing import Self

import msgspec

from dispatcher.core.events import Recorded

__all__ = ["History", "HistorySnapshot"]


class _Chains:
    """The chains of one kind of name.

    `newest` has the newest seq of each name. `earlier[n]` belongs to seq n + 1 and is the previous
    seq of its chain, or 0 if there is none.
    """

    def __init__(self, newest: dict[str, int], earlier: bytes = b"") -> None:
        self.newest = newest
        self.earlier = array("Q", earlier)

    def of(self, name: str) -> list[int]:
        found = []
        seq = self.newest.get(name, 0)
        while seq:
            found.append(seq)
            seq = self.earlier[seq - 1]
        found.reverse()
        return found


class HistorySnapshot(msgspec.Struct, frozen=True):
    """The part of a snapshot that holds the history.

    The chains are unsigned 64-bit integers in this machine's byte order.
    """

    jobs: dict[str, int]
    earlier_of_job: bytes
    engines: dict[str, int]
    earlier_of_engine: bytes


class History:
    """The seqs of every job's and every engine's events."""

    def __init__(self) -> None:
        self._put(_Chains({}), _Chains({}))

    def _put(self, jobs: _Chains, engines: _Chains) -> None:
        self._jobs, self._engines = jobs, engines
        self._chains = (("job_id", jobs), ("engine_id", engines))

    def of_job(self, job_id: str) -> list[int]:
        """Return the seqs of a job's events, oldest first."""
        return self._jobs.of(job_id)

    def of_engine(self, engine_id: str) -> list[int]:
        """Return the seqs of an engine's events, oldest first; also of one since forgotten."""
        return self._engines.of(engine_id)

    def apply(self, recorded: Recorded) -> None:
        """Fold one event: append its seq to the chains of its job and its engine."""
        # This runs for every event of the log, so it makes no calls to helper functions.
        for field, chains in self._chains:
            before = 0
            if (name := getattr(recorded.event, field, None)) is not None:
                before = chains.newest.get(name, 0)
                chains.newest[name] = recorded.seq
            chains.earlier.append(before)

    def snapshot(self) -> HistorySnapshot:
        """Return what `restore` takes."""
        return HistorySnapshot(
            self._jobs.newest,
            self._jobs.earlier.tobytes(),
            self._engines.newest,
            self._engines.earlier.tobytes(),
        )

    @classmethod
    def restore(cls, snapshot: HistorySnapshot) -> Self:
        """Restore the history from a snapshot."""
        history = cls()
        history._put(
            _Chains(snapshot.jobs, snapshot.earlier_of_job),
            _Chains(snapshot.engines, snapshot.earlier_of_engine),
        )
        return history
