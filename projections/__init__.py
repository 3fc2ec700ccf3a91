"""The read models.

Laws:
- A projection is a pure fold over `Recorded`. What it shows depends only on the log, and on no
  clock in particular. The same events give the same bytes, live or replayed.
- `apply` is total, like `fleet.evolve`.
- The view of a job or an engine is never changed in place, so a reader may keep it.
- `restore` of a `snapshot` gives the same projection in every respect.
"""

from typing import Any, Self

import msgspec

from dispatcher.core.events import Recorded
from projections.engines import Engines, EnginesSnapshot
from projections.history import History, HistorySnapshot
from projections.jobs import Jobs, JobView

__all__ = ["Projections", "ProjectionsSnapshot"]


class ProjectionsSnapshot(msgspec.Struct, frozen=True):
    """The part of a snapshot that holds the read models."""

    seq: int
    jobs: list[JobView]
    engines: EnginesSnapshot
    history: HistorySnapshot


class Projections:
    """All read models, at one seq."""

    def __init__(self) -> None:
        self.seq = 0
        self.jobs = Jobs()
        self.engines = Engines()
        self.history = History()

    def apply(self, recorded: Recorded) -> None:
        """Fold one event into every read model."""
        self.jobs.apply(recorded)
        self.engines.apply(recorded)
        self.history.apply(recorded)
        self.seq = recorded.seq

    def state(self) -> dict[str, Any]:
        """Return everything as plain JSON values, as the GET routes show it at this seq."""
        return {
            "seq": self.seq,
            "jobs": msgspec.to_builtins(self.jobs.all()),
            "engines": [engine.wire() for engine in self.engines.all()],
        }

    def snapshot(self) -> ProjectionsSnapshot:
        """Return what `restore` takes. It shares data with these, so encode it at once."""
        return ProjectionsSnapshot(
            self.seq, self.jobs.all(), self.engines.snapshot(), self.history.snapshot()
        )

    @classmethod
    def restore(cls, snapshot: ProjectionsSnapshot) -> Self:
        """Restore the read models from a snapshot."""
        projections = cls()
        projections.seq = snapshot.seq
        projections.jobs = Jobs.restore(snapshot.jobs)
        projections.engines = Engines.restore(snapshot.engines)
        projections.history = History.restore(snapshot.history)
        return projections
