"""The order in which waiting jobs are owed an engine.

Laws:
- A job that waits is here exactly once; a job that does not wait is not here.
- A job's place is fixed by its key when it is submitted, so a job that is re-queued comes back
  to the place that it had.
- Adding, removing and finding the first job that a set of codecs can serve cost O(log n) in the
  number of waiting jobs.
"""

from collections.abc import Iterable, Iterator

from sortedcontainers import SortedDict

__all__ = ["Queue"]


class Queue:
    """Job ids in order of their keys, apart by codec."""

    def __init__(self) -> None:
        self._by_codec: dict[str, SortedDict[int, str]] = {}

    def add(self, codec: str, key: int, job_id: str) -> None:
        """Put a job in its place. Keys are unique over all codecs."""
        self._by_codec.setdefault(codec, SortedDict())[key] = job_id

    def remove(self, codec: str, key: int) -> None:
        """Take a job out, if it is here."""
        if (waiting := self._by_codec.get(codec)) is not None:
            waiting.pop(key, None)
            if not waiting:
                del self._by_codec[codec]

    def first(self, codecs: Iterable[str] | None) -> str | None:
        """Return the first job in one of `codecs` (`None`: in any), or `None` if none waits."""
        lines = (
            self._by_codec.values()
            if codecs is None
            else (self._by_codec[codec] for codec in codecs if codec in self._by_codec)
        )
        best = min((line.peekitem(0) for line in lines), default=None)
        return None if best is None else best[1]

    def __iter__(self) -> Iterator[str]:
        """Every waiting job once, codec by codec."""
        for line in self._by_codec.values():
            yield from line.values()

    def __len__(self) -> int:
        return sum(map(len, self._by_codec.values()))
