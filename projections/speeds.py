"""How long jobs took, by engine and codec, and by their size.

Laws:
- A job counts when its holder completes it: from the assignment of that attempt to its end, by the
  times of the events. An attempt that seems to end before it began, since the clock was set back,
  does not count.
- The newest jobs count most: with each further one, those before it count 1/32 less.
- Memory is bounded for ever, as that of `statistics`. A forgotten engine's speeds are forgotten.
- Of the codecs that are counted together as others, none has a speed of its own: it is not known
  whether one of them was ever completed.
"""

from datetime import datetime
from typing import Final, Self

import msgspec

from projections.jobs import JobView
from projections.statistics import MOST_CODECS, OTHERS

__all__ = ["LONGEST_S", "Speed", "SpeedShown", "Speeds", "SpeedsShown", "SpeedsSnapshot"]

KEPT: Final = 31 / 32
"""What the jobs before count when another comes."""
LEAST_MB: Final = 1e-6
MOST_MB: Final = 1e12
"""A size is believed from a byte up to an exabyte; the default of a submission is 0."""
LONGEST_S: Final = 1e9
"""What is expected of a job at most: 31 years."""


class Speed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """So many `jobs` took `seconds` in all, as `weight` jobs; those that had a size `sized_s`."""

    jobs: int = 0
    weight: float = 0.0
    seconds: float = 0.0
    sized_s: float = 0.0
    sized_mb: float = 0.0

    def with_job(self, seconds: float, size_mb: float) -> "Speed":
        """Return the speed with a further job."""
        has_size = LEAST_MB <= size_mb <= MOST_MB
        return Speed(
            self.jobs + 1,
            self.weight * KEPT + 1.0,
            self.seconds * KEPT + seconds,
            self.sized_s * KEPT + seconds if has_size else self.sized_s,
            self.sized_mb * KEPT + size_mb if has_size else self.sized_mb,
        )

    def seconds_of(self, size_mb: float) -> float:
        """Return how long a job of a size takes: by its size if that is known, else as the mean."""
        if self.sized_mb > 0 and LEAST_MB <= size_mb <= MOST_MB:
            return min(self.sized_s / self.sized_mb * size_mb, LONGEST_S)
        return min(self.seconds / self.weight, LONGEST_S)


NO_JOBS: Final = Speed()


class SpeedShown(msgspec.Struct, frozen=True):
    """How many `jobs` were completed, the `seconds` that the newest took as a mean, and for a MB.

    `seconds_per_mb` is `None` if none of them told its size.
    """

    jobs: int
    seconds: float
    seconds_per_mb: float | None


class SpeedsShown(msgspec.Struct, frozen=True):
    """How long jobs took by codec on the whole farm, and on each engine."""

    seq: int
    time: datetime | None
    codecs: dict[str, SpeedShown]
    engines: dict[str, dict[str, SpeedShown]]


class SpeedsSnapshot(msgspec.Struct, frozen=True):
    """The part of a snapshot that holds the speeds."""

    codecs: dict[str, Speed]
    engines: dict[str, dict[str, Speed]]


class Speeds:
    """The speeds of the farm by codec, and of each engine by codec."""

    def __init__(
        self,
        codecs: dict[str, Speed] | None = None,
        engines: dict[str, dict[str, Speed]] | None = None,
    ) -> None:
        self._codecs = {} if codecs is None else codecs
        self._engines = {} if engines is None else engines

    def count(self, before: JobView, at: datetime) -> None:
        """Count a job that was completed, as it was before that."""
        engine_id, began = before.assigned_engine, before.assigned_at
        if before.status != "assigned" or engine_id is None or began is None or at < began:
            return
        seconds, codec, size_mb = (at - began).total_seconds(), before.target_codec, before.job_size
        if (codecs := self._engines.get(engine_id)) is None:
            codecs = self._engines[engine_id] = {}
        for speeds in (self._codecs, codecs):
            name = codec if codec in speeds or len(speeds) < MOST_CODECS else OTHERS
            speeds[name] = speeds.get(name, NO_JOBS).with_job(seconds, size_mb)

    def forget(self, engine_id: str) -> None:
        """Forget the speeds of an engine that was taken off the list."""
        self._engines.pop(engine_id, None)

    def of_engine(self, engine_id: str, codec: str) -> Speed | None:
        """Return how long jobs of a codec took on an engine, or `None` if that is not known."""
        return self._engines.get(engine_id, {}).get(codec)

    def of_farm(self, codec: str) -> Speed | None:
        """Return how long jobs of a codec took on the farm, or `None` if that is not known."""
        return self._codecs.get(codec)

    def copied(self) -> Self:
        """Return the speeds as they are now, whatever comes later.

        A `Speed` never changes, so this copies a dict for each engine, and no more.
        """
        engines = {engine_id: codecs.copy() for engine_id, codecs in self._engines.items()}
        return type(self)(self._codecs.copy(), engines)

    def shown(self, seq: int, time: datetime | None) -> SpeedsShown:
        """Return all speeds."""
        engines = {engine_id: _shown(codecs) for engine_id, codecs in self._engines.items()}
        return SpeedsShown(seq, time, _shown(self._codecs), engines)

    def snapshot(self) -> SpeedsSnapshot:
        """Return what `restore` takes."""
        return SpeedsSnapshot(self._codecs, self._engines)

    @classmethod
    def restore(cls, snapshot: SpeedsSnapshot) -> Self:
        """Restore the speeds from a snapshot."""
        return cls(snapshot.codecs, snapshot.engines)


def _shown(codecs: dict[str, Speed]) -> dict[str, SpeedShown]:
    return {
        codec: SpeedShown(
            speed.jobs,
            speed.seconds / speed.weight,
            speed.sized_s / speed.sized_mb if speed.sized_mb > 0 else None,
        )
        for codec, speed in codecs.items()
    }
