"""What an audit has to say against a log, and where in it.

Laws:
- What is known of one event is told of that event; what is known only of several together, of all
  of those.
- The same thing of neighbouring events is one finding.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Literal, Self

import msgspec

__all__ = ["Finding", "Findings", "Which"]

Which = Literal["each", "one or more", "this or an earlier one"]


class Finding(msgspec.Struct, frozen=True):
    """Something that is wrong: with `which` of the events `seq` to `upto`, or with the file.

    `seq` and `upto` are `None` where it is not about events.
    """

    what: str
    seq: int | None = None
    upto: int | None = None
    which: Which = "each"

    @classmethod
    def of(cls, seq: int, what: str, upto: int | None = None, which: Which = "each") -> Self:
        """Make one about an event, or about a run of them."""
        return cls(what, seq, seq if upto is None else upto, which)

    def __str__(self) -> str:
        if self.seq is None:
            return self.what
        run = f"seq {self.seq}" if self.seq == self.upto else f"seq {self.seq} to {self.upto}"
        return f"{'one or more of ' * (self.which == 'one or more')}{run}: {self.what}"

    def follows(self, other: "Finding") -> bool:
        """Whether it says the same as another of the event just before."""
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
        self._newest: dict[str, int] = {}  # where the newest finding with this text stands

    def __iter__(self) -> Iterator[Finding]:
        """Give those about the file, and then those about events, in their order."""
        return iter(sorted(self._all, key=lambda it: (it.seq or 0, it.upto or 0)))

    def __len__(self) -> int:
        return len(self._all)

    def add(self, finding: Finding) -> None:
        """Take one in; it continues the one before if it can."""
        at = self._newest.get(finding.what)
        if at is not None and finding.follows(self._all[at]):
            self._all[at] = msgspec.structs.replace(self._all[at], upto=finding.upto)
        else:
            self._newest[finding.what] = len(self._all)
            self._all.append(finding)

    def first_bad(self) -> Finding | None:
        """Give the finding that is about the first bad event, as exactly as that is known."""
        placed = [it for it in self if it.seq is not None]
        causes = [it.seq or 0 for it in placed if it.which != "this or an earlier one"]
        told = (it for it in placed if not _is_narrowed(it, causes))
        return min(told, key=lambda it: (it.seq or 0, it.which != "each"), default=None)


def _is_narrowed(finding: Finding, causes: list[int]) -> bool:
    """Whether it can be about a cause, of these in order, that lies further on in its run."""
    if finding.which != "one or more":
        return False
    following = bisect_right(causes, finding.seq or 0)
    return following < len(causes) and causes[following] <= (finding.upto or 0)
