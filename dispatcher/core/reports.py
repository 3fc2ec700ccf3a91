"""What is recorded of an engine's reports about itself, over all its heartbeats.

Laws:
- A heartbeat in which only numbers change is never refused for its size, so that looking at it
  costs little, and an engine whose report in an older log is larger than the limit goes on.
- What is no number is recorded at once, and so is a number that a rule would decide by otherwise.
  Other numbers (the free space on a disk, a temperature) change with each heartbeat, and would be
  most of the log. They are recorded once in `report_s`, and with anything else that is.
- A change is measured from what is recorded. So many small ones are recorded like a large one.

Two numbers matter to rules. `benchmark_time` decides between engines, and is always recorded.
`storage_capacity_gb` decides by the sizes of jobs. It is recorded when it has changed by `STEP`, or
when a waiting job may fit one value and not the other. The queue tells only between which powers of
two the size of a job is, so that is decided by these. A job that comes later is compared with a
value that is at most `report_s` old and within `STEP` of the true one.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from dispatcher.core.commands import ReportHeartbeat
from dispatcher.core.engine import Engine, room_mb
from dispatcher.core.fleet import Fleet
from dispatcher.core.policy import Policy
from dispatcher.core.queue import Sizes

__all__ = ["REPORT_BYTES", "STEP", "Reports", "is_jitter", "is_too_large"]

REPORT_BYTES: Final = 64 << 10
"""The most bytes of a report, as JSON. The names of all codecs that ffmpeg has take some 10 KB."""
STEP: Final = 0.01
"""The part of its recorded value by which storage must change to be recorded at once. Disks of
hundreds of GB move by less between two heartbeats; a job that does not fit for 1 % is rare."""
_64_BITS: Final = 64


class Reports:
    """When each engine's report was last recorded. It is no part of the fleet: no event tells."""

    def __init__(self, policy: Policy) -> None:
        self._report_s = policy.report_s
        self._recorded_s: dict[str, float] = {}

    def timed(self, command: ReportHeartbeat, now_s: float) -> ReportHeartbeat:
        """Return the command, which is not due if the engine's report was recorded lately."""
        recorded_s = self._recorded_s.get(command.engine_id)
        if not command.report or recorded_s is None or now_s - recorded_s >= self._report_s:
            return command
        return msgspec.structs.replace(command, is_due=False)

    def recorded(self, engine_id: str, now_s: float) -> None:
        """Note that an engine's report is recorded."""
        self._recorded_s[engine_id] = now_s

    def forget(self, engine_id: str) -> None:
        """Forget an engine that is no longer on the list."""
        self._recorded_s.pop(engine_id, None)


def is_jitter(fleet: Fleet, engine: Engine, news: Mapping[str, Any]) -> bool:
    """Whether these changes of a report are of numbers only, and no rule would heed them."""
    known = engine.report
    return all(
        name in known and _differ_in_numbers(known[name], value) for name, value in news.items()
    ) and not _matters(fleet, engine, news)


def _differ_in_numbers(old: object, new: object) -> bool:
    """Whether two JSON values are the same but for numbers."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_differ_in_numbers(old[k], new[k]) for k in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_differ_in_numbers, old, new))
    if _is_number(old) and _is_number(new):
        return True
    return type(old) is type(new) and old == new


def _is_number(value: object) -> bool:
    return type(value) in {int, float}  # a bool is an int to isinstance


def _matters(fleet: Fleet, engine: Engine, news: Mapping[str, Any]) -> bool:
    if "benchmark_time" in news:
        return True
    if "storage_capacity_gb" not in news or engine.streams:
        return False
    old_gb, new_gb = engine.report["storage_capacity_gb"], news["storage_capacity_gb"]
    if abs(new_gb - old_gb) > STEP * old_gb:
        return True
    low_mb, high_mb = sorted((room_mb(old_gb), room_mb(new_gb)))
    return fleet.queue.may_hold(engine.codecs, Sizes(low_mb, high_mb))


def is_too_large(known: dict[str, Any], news: dict[str, Any]) -> bool:
    """Whether what is known of an engine would be too large with the news."""
    if not any(name not in known or not _is_small(value) for name, value in news.items()):
        return False
    return len(msgspec.json.encode(known | news)) > REPORT_BYTES


def _is_small(value: object) -> bool:
    if isinstance(value, int):  # or a bool
        return value.bit_length() <= _64_BITS
    return isinstance(value, float)
