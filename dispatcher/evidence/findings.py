"""The findings of an audit, and the events that they are about.

Laws:
- A finding names a single event if the fault can be placed exactly. Otherwise it names the whole
  run of events that contains the fault.
- Equal findings about neighbouring events are merged into one.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Literal, Self

import msgspec

__all__ = ["Finding", "Findings", "Which"]

Which = Literal["each", "one or more", "this or an earlier one"]


class Finding(msgspec.Struct, frozen=True):
    """A fault in `which` of the events `seq` to `upto`, or in the file.

    `seq` and `upto` are `None` if the finding is not about events.
    """

    what: str
    seq: int | None = None
    upto: int | None = None
    which: Which = "each"

    @classmethod
    def of(cls, seq: int, what: str, upto: int | None = None, which: Which = "each") -> Self:
        """Make a finding about one event, or about a run of events."""
        return cls(what, seq, seq if upto is None else upto, which)

    def __str__(self) -> str:
        if self.seq is None:
            return self.what
        run = f"seq {self.seq}" if self.seq == self.upto else f"seq {self.seq} to {self.upto}"
        return f"{'one or more of ' * (self.which == 'one or more')}{run}: {self.what}"

    def follows(self, other: "Finding") -> bool:
        """Whether `other` says the same about the events just before."""
        return (
            self.seq is not None
            and other.upto == self.seq - 1
            and self.which == other.which == "each"
            and self.what == other.what
        )


class Findings:
    """All that was found."""

    def __init__(self) -> None:
        self._all: list[Finding] = []
        self._newest: dict[str, int] = {}  # text: index of its newest finding

    def __iter__(self) -> Iterator[Finding]:
        """Yield the findings about the file, then those about events in order of seq."""
        return iter(sorted(self._all, key=lambda it: (it.seq or 0, it.upto or 0)))

    def __len__(self) -> int:
        return len(self._all)

    def add(self, finding: Finding) -> None:
        """Add a finding, merging it with the previous one if they are neighbours."""
        at = self._newest.get(finding.what)
        if at is not None and finding.follows(self._all[at]):
            self._all[at] = msgspec.structs.replace(self._all[at], upto=finding.upto)
        else:
            self._newest[finding.what] = len(self._all)
            self._all.append(finding)

    def report(self, what: str) -> None:
        """Add a finding about the file."""
        self.add(Finding(what))

    def report_at(self, seq: int, what: str, upto: int | None = None) -> None:
        """Add a finding about an event, or about each of a run of events."""
        self.add(Finding.of(seq, what, upto))

    def report_some_of(self, seq: int, upto: int, what: str) -> None:
        """Add a finding about one or more events of a run."""
        self.add(Finding.of(seq, what, upto, which="one or more"))

    def first_bad(self) -> Finding | None:
        """Return the finding that places the first bad event most exactly."""
        placed = [it for it in self if it.seq is not None]
        causes = [it.seq or 0 for it in placed if it.which != "this or an earlier one"]
        told = (it for it in placed if not _is_narrowed(it, causes))
        return min(told, key=lambda it: (it.seq or 0, it.which != "each"), default=None)


def _is_narrowed(finding: Finding, causes: list[int]) -> bool:
    """Whether one of the `causes` (sorted seqs) lies further on in the run of this finding."""
    if finding.which != "one or more":
        return False
    following = bisect_right(causes, finding.seq or 0)
    return following < len(causes) and causes[following] <= (finding.upto or 0)
