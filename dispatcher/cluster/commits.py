"""Group commit on a replicated log.

Laws:
- An answer without events is given only by who leads (law 5 of the package): if that is not certain
  at this moment, it waits for an append, or for a barrier.
- What does not fit into one message goes into several, one after the other. What was decided
  together is not split.
"""

from dispatcher.cluster.log import JetStreamLog
from dispatcher.core.commands import SubmitJobs
from dispatcher.core.dispatcher import Settle
from dispatcher.log import TooLargeError
from dispatcher.serving.group_commit import GroupCommit, Item
from dispatcher.serving.tickets import ticket_of

__all__ = ["ConfirmedCommits"]


class ConfirmedCommits(GroupCommit):
    """The queue of what the leading dispatcher has decided; see `GroupCommit`."""

    _log: JetStreamLog

    def settle(self, settle: Settle) -> None:
        """Queue what was decided, or answer it at once; see `GroupCommit.settle`.

        During a fault nothing is answered: another dispatcher may have appended meanwhile.
        """
        if not settle.records and self.fault is not None:
            if (ticket := ticket_of(settle)) is not None:
                ticket.fail(self.fault)
        elif settle.records or self._is_busy() or self._log.is_confirmed:
            super().settle(settle)
        else:
            self._put(settle)

    @property
    def is_committing(self) -> bool:
        """Whether a batch is being committed or recovered."""
        return self._committing

    async def _commit(self, batch: list[Item]) -> None:
        has_events = any(isinstance(item, Settle) and item.records for item in batch)
        if not has_events and not self._log.is_confirmed:
            await self._log.confirm()
        try:
            await super()._commit(batch)
        except TooLargeError:
            if (cut := _place_to_cut(batch)) is None:
                raise
            await self._commit(batch[:cut])
            await self._commit(batch[cut:])


def _place_to_cut(batch: list[Item]) -> int | None:
    """Return where to cut a batch in two, near its middle; `None` if it must stay whole."""
    together = [
        number
        for number, item in enumerate(batch)
        if isinstance(item, Settle) and isinstance(item.command, SubmitJobs)
    ]
    middle = len(batch) // 2
    if together and together[0] < middle <= together[-1]:
        middle = together[0] or together[-1] + 1
    return middle if 0 < middle < len(batch) else None
