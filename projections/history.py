"""Which of the newest events concern a job or an engine, for `GET /jobs/{id}/events`.

The events themselves stay in the log. Each name has a chain: the seq of its newest event, and for
every event the seq of the previous event in the same chain. This takes 16 bytes an event, however
many jobs and engines there are. What the index on disk has is cut off (`dispatcher.index`), so that
only the events after `since` are here.
"""

from array import array
from typing import Any, Self

import msgspec

from dispatcher.core.events import OF_ENGINES, OF_JOBS, Recorded

__all__ = ["History", "HistoryPart"]


class HistoryPart(msgspec.Struct, frozen=True):
    """The history of the events after `since`, to be handed over; see `History`.

    The chains are unsigned 64-bit integers in this machine's byte order.
    """

    since: int
    jobs: dict[str, int]
    earlier_of_job: bytes
    engines: dict[str, int]
    earlier_of_engine: bytes


class _Chains:
    """The chains of one kind of name.

    `newest` has the newest seq of each name. `earlier[n]` belongs to seq since + n + 1 and is the
    previous seq of its chain. If there is none after `since`, it is not greater than that.
    """

    def __init__(self, since: int, newest: dict[str, int], earlier: bytes = b"") -> None:
        self.since = since
        self.newest = newest
        self.earlier = array("Q", earlier)

    def of(self, name: str) -> list[int]:
        found = []
        seq, since = self.newest.get(name, 0), self.since
        while seq > since:
            found.append(seq)
            seq = self.earlier[seq - since - 1]
        found.reverse()
        return found

    def after(self, seq: int) -> "_Chains":
        newest = {name: last for name, last in self.newest.items() if last > seq}
        return _Chains(seq, newest, self.earlier[seq - self.since :].tobytes())


class History:
    """The seqs of every job's and every engine's events after the seq `since`."""

    def __init__(self, since: int = 0, chains: tuple[_Chains, _Chains] | None = None) -> None:
        self._put(*(chains or (_Chains(since, {}), _Chains(since, {}))))

    def _put(self, jobs: _Chains, engines: _Chains) -> None:
        self._jobs, self._engines = jobs, engines

    @property
    def since(self) -> int:
        """The seq after which the events are here."""
        return self._jobs.since

    def of_job(self, job_id: str) -> list[int]:
        """Return the seqs of a job's events, oldest first."""
        return self._jobs.of(job_id)

    def of_engine(self, engine_id: str) -> list[int]:
        """Return the seqs of an engine's events, oldest first; also of one since forgotten."""
        return self._engines.of(engine_id)

    def jobs(self) -> list[str]:
        """Return the ids of the jobs that have events here."""
        return list(self._jobs.newest)

    def engines(self) -> list[str]:
        """Return the ids of the engines that have events here."""
        return list(self._engines.newest)

    def apply(self, recorded: Recorded) -> None:
        """Fold one event: append its seq to the chains of its job and its engine."""
        # This runs for every event of the log, so it makes no calls to helper functions.
        event: Any = recorded.event
        kind, before = type(event), 0
        jobs, engines = self._jobs, self._engines
        if kind in OF_JOBS:
            before = jobs.newest.get(event.job_id, 0)
            jobs.newest[event.job_id] = recorded.seq
        jobs.earlier.append(before)
        before = 0
        if kind in OF_ENGINES and (engine_id := event.engine_id) is not None:
            before = engines.newest.get(engine_id, 0)
            engines.newest[engine_id] = recorded.seq
        engines.earlier.append(before)

    def cut(self, upto: int) -> None:
        """Forget the events up to and including seq `upto`. What `shared` gave still has them."""
        if upto > self.since:
            self._put(self._jobs.after(upto), self._engines.after(upto))

    def shared(self) -> Self:
        """Return the history with all events that are here now, whatever is cut off later.

        Another thread may read it.
        """
        return type(self)(chains=(self._jobs, self._engines))

    def part(self) -> HistoryPart:
        """Return what `of_part` takes."""
        return HistoryPart(
            self.since,
            dict(self._jobs.newest),
            self._jobs.earlier.tobytes(),
            dict(self._engines.newest),
            self._engines.earlier.tobytes(),
        )

    @classmethod
    def of_part(cls, part: HistoryPart) -> Self:
        """Make the history again that `part` was asked of."""
        return cls(
            chains=(
                _Chains(part.since, part.jobs, part.earlier_of_job),
                _Chains(part.since, part.engines, part.earlier_of_engine),
            )
        )
