"""The read models.

Laws:
- A projection is a pure fold over `Recorded`. What it shows depends only on the log, and on no
  clock in particular. The same events give the same bytes, live or replayed.
- `apply` is total, like `fleet.evolve`.
- The view of a job or an engine is never changed in place, so a reader may keep it.
- `restore` of a `snapshot` gives the same projection in every respect, but for what the index on
  disk has (`dispatcher.index`): finished jobs, and the history of the events up to its seq.
"""

from datetime import datetime
from typing import Any, Self

import msgspec
from msgspec import UNSET

from dispatcher.core.events import OF_JOBS, EngineForgotten, Recorded
from projections.engines import Engines, EnginesSnapshot
from projections.history import History
from projections.jobs import Jobs, JobView, NumberedJob
from projections.speeds import Speeds, SpeedsSnapshot
from projections.statistics import Statistics, StatisticsSnapshot

__all__ = ["Projections", "ProjectionsSnapshot"]


class ProjectionsSnapshot(msgspec.Struct, frozen=True):
    """The part of a snapshot that holds the read models: their jobs that are not finished."""

    seq: int
    time: datetime | None
    submitted: int
    jobs: list[NumberedJob]
    engines: EnginesSnapshot
    statistics: StatisticsSnapshot
    speeds: SpeedsSnapshot


def _is_encoded(job: JobView) -> bool:
    """Whether an engine has encoded a film in an attempt: not one that it joined, or its sound."""
    return not job.parts and (job.part is UNSET or job.part.get("kind") == "segment")


class Projections:
    """All read models, at one seq. `time` is that of its event; `None` if there is none yet."""

    def __init__(self) -> None:
        self.seq = 0
        self.time: datetime | None = None
        self.jobs = Jobs()
        self.engines = Engines()
        self.statistics = Statistics()
        self.speeds = Speeds()
        self.history = History()

    def apply(self, recorded: Recorded) -> None:
        """Fold one event into every read model."""
        at, event, statistics = recorded.at, recorded.event, self.statistics
        if not statistics.begins <= at < statistics.ends:
            statistics.turn_to(at, self.engines)
        if type(event) in OF_JOBS and (turn := self.jobs.apply(recorded)) is not None:
            before, after = turn
            statistics.count(before, after)
            if before is not None and after.status == "completed" and _is_encoded(before):
                self.speeds.count(before, at)
        elif type(event) is EngineForgotten:
            self.speeds.forget(event.engine_id)
        self.engines.apply(recorded)
        self.history.apply(recorded)
        self.seq, self.time = recorded.seq, at

    def state(self) -> dict[str, Any]:
        """Return everything as plain JSON values, as the GET routes show it at this seq."""
        return {
            "seq": self.seq,
            "jobs": msgspec.json.decode(msgspec.json.encode(self.jobs.all())),
            "engines": [engine.wire() for engine in self.engines.all()],
        }

    def snapshot(self) -> ProjectionsSnapshot:
        """Return what `restore` takes. It shares data with these, so encode it at once."""
        alive = [job for job in self.jobs.after(None) if not job.view.final]
        return ProjectionsSnapshot(
            self.seq,
            self.time,
            self.jobs.submitted,
            alive,
            self.engines.snapshot(),
            self.statistics.snapshot(),
            self.speeds.snapshot(),
        )

    @classmethod
    def restore(cls, snapshot: ProjectionsSnapshot) -> Self:
        """Restore the read models from a snapshot. Its history begins after its seq."""
        projections = cls()
        projections.seq, projections.time = snapshot.seq, snapshot.time
        projections.jobs = Jobs.restore(snapshot.jobs, snapshot.submitted)
        projections.engines = Engines.restore(snapshot.engines)
        projections.statistics = Statistics.restore(snapshot.statistics, snapshot.time)
        projections.speeds = Speeds.restore(snapshot.speeds)
        projections.history = History(snapshot.seq)
        return projections
