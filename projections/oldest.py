"""The pending job that was submitted first, found without a look at all jobs.

Laws:
- `_first` has every pending job whose number is below `_upto`, in order. It may also have some that
  are not pending any more; they are dropped when they come first.
- Only when none is left there are further jobs looked at, from `_upto` on, until `MOST` pending
  ones are found. So each job is looked at once, however often somebody asks.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import islice
from math import inf
from typing import Final

__all__ = ["MOST", "Numbered", "Oldest"]

MOST: Final = 1_000
"""How many pending jobs are looked for at once."""

Numbered = tuple[int, str]
"""The number of a job, and its id."""


class Oldest:
    """The pending jobs that were submitted first. `upto` is 0 if any may be pending already."""

    def __init__(self, upto: float = inf) -> None:
        self._first: list[Numbered] = []
        self._upto = upto

    def add(self, number: int, job_id: str) -> None:
        """Note that a job is pending from now on."""
        if number >= self._upto:
            return
        first, its = self._first, (number, job_id)
        place = bisect_left(first, its)
        if place == len(first) >= MOST:
            self._upto = number
        elif place == len(first) or first[place] != its:
            first.insert(place, its)

    def job_id(
        self,
        is_pending: Callable[[str], bool],
        pending_from: Callable[[int], Iterable[Numbered]],
    ) -> str | None:
        """Return the id of the pending job that was submitted first, or `None`.

        `pending_from` yields the pending jobs from a number on, in order.
        """
        self._drop(is_pending)
        if not self._first and self._upto < inf:
            self._first = [*islice(pending_from(int(self._upto)), MOST)]
            self._upto = self._first[-1][0] + 1 if len(self._first) == MOST else inf
        return self._first[0][1] if self._first else None

    def _drop(self, is_pending: Callable[[str], bool]) -> None:
        """Drop the jobs that come first and are not pending any more."""
        pending = (at for at, (_, job_id) in enumerate(self._first) if is_pending(job_id))
        del self._first[: next(pending, len(self._first))]
