"""The read models.

Laws:
- A projection is a pure fold over `Recorded`: what it shows depends on the log and on nothing
  else, above all on no clock. The same events give the same bytes, live or replayed.
- `apply` is total, as `fleet.evolve` is.
- What is shown of a job or an engine is never changed in place, so a reader may keep it.
"""

from typing import Any

import msgspec

from dispatcher.events import Recorded
from projections.engines import Engines
from projections.jobs import Jobs

__all__ = ["Projections"]


class Projections:
    """All read models, at one seq."""

    def __init__(self) -> None:
        self.seq = 0
        self.jobs = Jobs()
        self.engines = Engines()

    def apply(self, recorded: Recorded) -> None:
        """Fold one event into every read model."""
        self.jobs.apply(recorded)
        self.engines.apply(recorded)
        self.seq = recorded.seq

    def state(self) -> dict[str, Any]:
        """Give everything as plain JSON values, as the GETs show it at this seq."""
        return {
            "seq": self.seq,
            "jobs": msgspec.to_builtins(self.jobs.all()),
            "engines": [engine.wire() for engine in self.engines.all()],
        }
