"""An engine as the rules see it: what it reported, and its record."""

import math
from datetime import datetime
from typing import Any

import msgspec

__all__ = ["Engine", "Takeover", "room_mb"]

_MB_PER_GB = 1000


class Takeover(msgspec.Struct, frozen=True):
    """The instance `by` speaks for an engine from `since`, instead of one that it replaced.

    The takeover cost the job `cost_job` a loss. `heard_again` says whether the replaced instance
    was heard after it.
    """

    by: str
    since: datetime
    cost_job: str | None = None
    heard_again: bool = False


class Engine(msgspec.Struct):
    """An engine as the rules see it: all that it reported, and its record.

    `failures` are the different jobs that it failed, and `blocks` counts its blocks, since it last
    succeeded or was resumed. `successes` counts the jobs that it completed. It `asks` if it asked
    for other work while it held its job. `replaced` has its former instances, the newest last.
    """

    engine_id: str
    report: dict[str, Any] = {}
    holds: str | None = None
    online: bool = True
    drained: bool = False
    blocked: str | None = None
    failures: list[str] = []
    blocks: int = 0
    successes: int = 0
    blocked_until: datetime | None = None
    lost_since: datetime | None = None
    asks: bool = False
    replaced: dict[str, Takeover] = {}

    @property
    def tells_instance(self) -> bool:
        """Whether it has ever told its instance."""
        return self.instance is not None

    @property
    def instance(self) -> str | None:
        """The instance that speaks for it, if it has told one."""
        told = self.report.get("instance")
        return told if isinstance(told, str) else None  # the oldest logs have other values too

    @property
    def idle(self) -> bool:
        """Whether it holds no job and does not report that it is busy."""
        return self.holds is None and self.report.get("status") != "busy"

    @property
    def resting(self) -> str | None:
        """Why it takes no new jobs of its own accord, if it says so while it has none."""
        told = self.report.get("resting")
        is_resting = self.holds is None and self.report.get("status") == "busy"
        return told if is_resting and isinstance(told, str) else None

    @property
    def trusted(self) -> bool:
        """Whether it may be given jobs: it is neither drained nor blocked."""
        return not self.drained and self.blocked is None

    @property
    def fenced(self) -> list[str]:
        """The instances that were replaced and heard again: other machines that use its id."""
        return [name for name, takeover in self.replaced.items() if takeover.heard_again]

    @property
    def codecs(self) -> list[str] | None:
        """The codecs that it declares; `None` if it declares none and so accepts any."""
        return self.report.get("supported_codecs") or None

    @property
    def benchmark_time(self) -> float | None:
        """Seconds that its benchmark took, if it has reported that; less is faster."""
        return self.report.get("benchmark_time")

    @property
    def streams(self) -> bool:
        """Whether it can work from a URL without downloading the file first."""
        return self.report.get("streaming_support") is True

    @property
    def room_mb(self) -> float:
        """The largest source that it can take: unlimited if it streams or reported no limit."""
        storage_gb: float | None = self.report.get("storage_capacity_gb")
        if self.streams or storage_gb is None:
            return math.inf
        return room_mb(storage_gb)

    def takes(self, codec: str) -> bool:
        """Whether it may be given a job for `codec`."""
        codecs = self.codecs
        return codecs is None or codec in codecs

    def lacks(self, needs: tuple[str, ...]) -> list[str]:
        """Return the abilities of these that it has not told."""
        if not needs:
            return []
        told = self.report.get("abilities")
        if not isinstance(told, list):  # the oldest logs may have any value
            return [*needs]
        return [ability for ability in needs if ability not in told]


def room_mb(storage_gb: float) -> float:
    """Return the largest source that a storage can hold."""
    return round(storage_gb * _MB_PER_GB, 6)  # 1.001 GB is exactly 1001 MB
