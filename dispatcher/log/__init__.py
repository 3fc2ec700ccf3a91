"""The log: ordered, append-only, one total order over everything that happened.

Laws, which every log keeps and `tests/test_log_contract.py` checks:
- `seq` counts from 1 without gaps.
- What `append` returned from is durable and is never changed or lost.
- A batch is appended whole or not at all.
- `append` takes a batch only on top of the head that the caller has seen. That is what will let
  several dispatchers share a distributed log: the one that loses the race reads on and decides
  again.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from dispatcher.events import Recorded

__all__ = ["Log", "LogError", "WrongHeadError"]


class LogError(Exception):
    """The log can't be opened, read or written; the text names it, the rule and what to do."""


class WrongHeadError(LogError):
    """A batch was decided on top of a head that is not, or is no longer, the log's."""

    def __init__(self, expected: int, actual: int) -> None:
        super().__init__(
            f"events were decided on top of seq {expected}, but the log stands at {actual}; "
            "read the log from there and decide again"
        )


class Log(Protocol):
    """What `service` needs of a log."""

    @property
    def head(self) -> int:
        """The seq of the newest durable event; 0 if there is none."""

    async def append(self, batch: Sequence[Recorded], expected_head: int) -> None:
        """Make a batch durable, with seqs that follow `expected_head` without a gap.

        `WrongHeadError` if the log stands elsewhere, `LogError` if it can't be written.
        """

    def read(self, after: int = 0) -> AsyncGenerator[list[Recorded], None]:
        """Give the events after a seq, oldest first, in pages, up to the head of this moment.

        Who stops before the end closes it (`contextlib.aclosing`).
        """

    async def recover(self) -> None:
        """After a failed `append`: find the true head and see that the log takes writes again.

        `LogError` while it does not.
        """

    async def close(self) -> None:
        """Let go of the log. What was appended is already safe."""
