"""The farm in numbers: how many jobs there are in each state, by codec, and how it was over time.

Laws:
- All jobs that were ever submitted are counted, each once, wherever it is kept now.
- Memory is bounded for ever: of codecs, only the first `MOST_CODECS` have counts of their own.
"""

from datetime import datetime
from typing import Final, Self

import msgspec

from projections.engines import Engines
from projections.jobs import STATUSES, Jobs, JobView
from projections.series import Gauges, Series, SeriesShown, SeriesSnapshot, Sums

__all__ = ["MOST_CODECS", "OTHERS", "FarmNow", "Statistics", "StatisticsSnapshot"]

MOST_CODECS: Final = 256
OTHERS: Final = "(others)"
"""What the codecs are counted as that come after the first `MOST_CODECS`."""
_IN_ORDER: Final = ("pending", "assigned", "completed", "failed_permanently", "cancelled")
assert frozenset(_IN_ORDER) == STATUSES  # noqa: S101 - so that none is forgotten


class FarmNow(msgspec.Struct, frozen=True):
    """How many jobs are in each state, in all and by codec, and engines in each state.

    `oldest_waiting_since` is when the pending job was submitted that was submitted first. `time` is
    that of the newest event.
    """

    seq: int
    time: datetime | None
    jobs: dict[str, int]
    codecs: dict[str, dict[str, int]]
    engines: dict[str, int]
    oldest_waiting_since: datetime | None


class StatisticsSnapshot(msgspec.Struct, frozen=True):
    """The part of a snapshot that holds the statistics."""

    codecs: dict[str, dict[str, int]]
    series: SeriesSnapshot


class Statistics:
    """The counts of jobs by codec and state, and the series.

    `begins` and `ends` are those of the minute in which the newest event is.
    """

    def __init__(self) -> None:
        self._series = Series()
        self.begins, self.ends = self._series.begins, self._series.ends
        self._codecs: dict[str, dict[str, int]] = {}
        self._ended = {"completed": 0, "failed_permanently": 0, "cancelled": 0}

    @property
    def waiting(self) -> int:
        """How many jobs are pending."""
        return self._total("pending")

    def turn_to(self, at: datetime, engines: Engines) -> None:
        """Let the log's time come to another minute. The `engines` are as they were until then."""
        self._series.enter(at, self._sums(), self._gauges(engines))
        self.begins, self.ends = self._series.begins, self._series.ends

    def count(self, before: JobView | None, after: JobView) -> None:
        """Count a job that has another status than before, or was just submitted."""
        codec = after.target_codec
        if (counts := self._codecs.get(codec)) is None:
            counts = self._counts_of_another(codec)
        counts[after.status] += 1
        if before is not None:
            counts[before.status] -= 1
            if after.status in self._ended:
                self._ended[after.status] += 1

    def now(self, seq: int, time: datetime | None, jobs: Jobs, engines: Engines) -> FarmNow:
        """Return the counts of this moment."""
        totals = {status: self._total(status) for status in _IN_ORDER}
        codecs = {codec: dict(counts) for codec, counts in self._codecs.items()}
        oldest = jobs.oldest_waiting() if totals["pending"] else None
        since = None if oldest is None else oldest.submitted_at
        return FarmNow(seq, time, totals, codecs, engines.states(), since)

    def over(self, hours: int, seq: int, time: datetime | None, engines: Engines) -> SeriesShown:
        """Return the series of the last `hours`, at most `LONGEST_H`, until this moment."""
        return self._series.shown(seq, time, self._sums(), self._gauges(engines), hours)

    def snapshot(self) -> StatisticsSnapshot:
        """Return what `restore` takes."""
        return StatisticsSnapshot(self._codecs, self._series.snapshot(self._sums()))

    @classmethod
    def restore(cls, snapshot: StatisticsSnapshot, time: datetime | None) -> Self:
        """Restore the statistics of a log whose newest event has this time from a snapshot."""
        statistics = cls()
        statistics._series = Series.restore(snapshot.series, time)
        statistics._codecs = snapshot.codecs
        statistics.begins, statistics.ends = statistics._series.begins, statistics._series.ends
        sums = snapshot.series.sums
        statistics._ended = {
            "completed": sums.completed,
            "failed_permanently": sums.failed,
            "cancelled": sums.cancelled,
        }
        return statistics

    def _sums(self) -> Sums:
        submitted = sum(sum(counts.values()) for counts in self._codecs.values())
        return Sums(submitted, *self._ended.values())

    def _gauges(self, engines: Engines) -> Gauges:
        return Gauges(self.waiting, engines.working, engines.online)

    def _total(self, status: str) -> int:
        return sum(counts[status] for counts in self._codecs.values())

    def _counts_of_another(self, codec: str) -> dict[str, int]:
        name = codec if len(self._codecs) < MOST_CODECS else OTHERS
        return self._codecs.setdefault(name, dict.fromkeys(_IN_ORDER, 0))
