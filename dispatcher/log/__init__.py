"""The log: append-only, with one total order over all events.

Laws, which every log keeps and `tests/log/test_log_contract.py` checks:
- `seq` counts from 1 without gaps.
- When `append` has returned, its batch is durable and is never changed or lost.
- A batch is appended whole or not at all.
- `append` accepts a batch only on top of the head that the caller has seen. This will let several
  dispatchers share a distributed log: the one that loses the race reads the new events and decides
  again.
- A log is a Merkle tree of its entries' lines, and `tree` is that tree at `head`.
"""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Protocol

from dispatcher.core.events import Recorded
from dispatcher.errors import DispatcherError
from dispatcher.log import serialization
from dispatcher.log.merkle import Frontier, Subtree
from dispatcher.log.serialization import LogEntry

__all__ = ["Log", "LogError", "TooLargeError", "WrongHeadError", "decoded"]


class LogError(DispatcherError):
    """The log can't be opened, read or written; the text names it, the rule and the remedy."""


class TooLargeError(LogError):
    """A batch is larger than this kind of log takes at once. Nothing was appended."""


class WrongHeadError(LogError):
    """A batch was decided on top of a head that is not, or is no longer, the log's head."""

    def __init__(self, expected: int, actual: int) -> None:
        super().__init__(
            f"events were decided on top of seq {expected}, but the log stands at {actual}; "
            "read the log from there and decide again"
        )


class Log(Protocol):
    """What the dispatcher needs of a log."""

    @property
    def head(self) -> int:
        """The seq of the newest durable event; 0 if there is none."""

    @property
    def tree(self) -> Frontier:
        """The tree over all durable events; do not change it."""

    async def append(self, batch: Sequence[LogEntry], expected_head: int) -> None:
        """Make a batch durable. Its seqs must follow `expected_head` without a gap.

        Raises `WrongHeadError` if the log has another head, `LogError` if it can't be written.
        """

    def entries(
        self, after: int = 0, upto: int | None = None
    ) -> AsyncGenerator[list[LogEntry], None]:
        """Yield the entries after a seq and up to another (by default the head), in pages.

        A caller that stops before the end closes the generator (`contextlib.aclosing`).
        """

    async def page(
        self,
        after: int,
        limit: int,
        *,
        upto: int | None = None,
        event_type: str | None = None,
        at_most_bytes: int | None = None,
    ) -> list[LogEntry]:
        """Return the first `limit` entries after a seq; of one type, if a type is given.

        With `at_most_bytes`, the entry whose data reaches so many is the last.
        """

    async def pick(
        self, seqs: Sequence[int], *, at_most_bytes: int | None = None
    ) -> list[LogEntry]:
        """Return the entries with these seqs, oldest first; see `page` for `at_most_bytes`."""

    async def seq_at(self, moment: datetime) -> int:
        """Return the seq of the last event that is not later than `moment`; 0 if there is none."""

    async def subtree_hashes(self, wanted: Sequence[Subtree]) -> list[bytes]:
        """Return the roots of perfect subtrees of the tree, in the order asked for."""

    async def recover(self) -> None:
        """After a failed `append`, find the true head and check that the log accepts writes again.

        Raises `LogError` if it does not.
        """

    async def close(self) -> None:
        """Close the log. Appended events are already safe."""


def decoded(entries: Sequence[LogEntry]) -> list[Recorded]:
    """Decode a page of entries. Its `LogError` names the first one that is no event."""
    page: list[Recorded] = []
    try:
        for entry in entries:
            page.append(serialization.decode(entry))  # noqa: PERF401 - the length tells which one failed
    except serialization.UndecodableError as error:
        seq = entries[len(page)].seq
        raise LogError(f"seq {seq} can't be read: {error}; run `dispatcher audit`") from error
    return page
