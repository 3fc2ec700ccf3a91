"""The read models.

Laws:
- A projection is a pure fold over `Recorded`. What it shows depends only on the log, and on no
  clock in particular. The same events give the same bytes, live or replayed.
- `apply` is total, like `fleet.evolve`.
- The view of a job or an engine is never changed in place, so a reader may keep it.
- `restore` of a `snapshot` gives the same projection in every respect, but for what the index on
  disk has (`dispatcher.index`): finished jobs, and the history of the events up to its seq.
"""

from typing import Any, Self

import msgspec

from dispatcher.core.events import Recorded
from projections.engines import Engines, EnginesSnapshot
from projections.history import History
from projections.jobs import Jobs, NumberedJob

__all__ = ["Projections", "ProjectionsSnapshot"]


class ProjectionsSnapshot(msgspec.Struct, frozen=True):
    """The part of a snapshot that holds the read models: their jobs that are not finished."""

    seq: int
    submitted: int
    jobs: list[NumberedJob]
    engines: EnginesSnapshot


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
        alive = [job for job in self.jobs.after(None) if not job.view.final]
        return ProjectionsSnapshot(self.seq, self.jobs.submitted, alive, self.engines.snapshot())

    @classmethod
    def restore(cls, snapshot: ProjectionsSnapshot) -> Self:
        """Restore the read models from a snapshot. Its history begins after its seq."""
        projections = cls()
        projections.seq = snapshot.seq
        projections.jobs = Jobs.restore(snapshot.jobs, snapshot.submitted)
        projections.engines = Engines.restore(snapshot.engines)
        projections.history = History(snapshot.seq)
        return projections
