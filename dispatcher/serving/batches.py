"""Many submissions in one request and one commit.

    parts of a batch ─► decide ─► decide ─► … ─► one item of the queue ─► one transaction
                            others decide in between

Laws:
- A batch is decided in parts, so that others use the event loop in between. Its events, and those
  that others caused meanwhile, go into one commit.
- Batches are decided one after the other. So the queue for the disk is longer than it may be by one
  batch at most.
- An atomic batch is checked before its first part. Until its last part nobody else can use its
  idempotency keys, so no later part is refused.
- The jobs that its idempotency keys belong to are in memory from its beginning to its end.
- A batch whose caller is gone is decided to its end.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from dispatcher.core.commands import Caller, Command, SubmitJob, SubmitJobs
from dispatcher.core.dispatcher import Wait
from dispatcher.core.fleet import Fleet
from dispatcher.core.replies import Refused
from dispatcher.core.submissions import refusals
from dispatcher.serving.group_commit import GroupCommit
from dispatcher.serving.memory import Memory
from dispatcher.serving.tickets import Render, Ticket, UnavailableError, UndoneError

__all__ = ["Batches", "NoneSubmittedError"]

T = TypeVar("T")
PART: Final = 200
"""Submissions that are decided at a time, which takes a millisecond or two."""


class NoneSubmittedError(Exception):
    """Rules refuse some of the submissions, so none was carried out.

    `refusals` has an entry for each submission, which is `None` if no rule refuses it.
    """

    def __init__(self, refusals: Sequence[Refused | None]) -> None:
        super().__init__("some of the submissions are refused")
        self.refusals = refusals


class Batches:
    """The batches of one service. `claimed` are the idempotency keys of the one in hand."""

    def __init__(
        self,
        commits: GroupCommit,
        memory: Memory,
        decide: Callable[[Command, Caller, Render[Any]], tuple[Ticket[Any], Wait | None]],
        fleet: Callable[[], Fleet],
    ) -> None:
        self._commits = commits
        self._memory = memory
        self._decide = decide
        self._fleet = fleet
        self._turn = asyncio.Lock()
        self._tasks = set[asyncio.Task[Any]]()
        self.claimed: frozenset[str] = frozenset()

    async def submit(
        self,
        submissions: Sequence[SubmitJob],
        caller: Caller,
        render: Render[list[T]],
        *,
        is_atomic: bool,
    ) -> list[T]:
        """Carry out many submissions; see `Service.submit_all`."""
        work = self._submit(submissions, caller, render, is_atomic=is_atomic)
        task = asyncio.create_task(work, name="batch")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def check_unclaimed(self, command: Command) -> None:
        """Raise `UndoneError` if a command has an idempotency key of the batch in hand."""
        if isinstance(command, SubmitJob) and command.idempotency_key in self.claimed:
            raise UndoneError("a batch with this Idempotency-Key is being submitted")

    async def _submit(
        self,
        submissions: Sequence[SubmitJob],
        caller: Caller,
        render: Render[list[T]],
        *,
        is_atomic: bool,
    ) -> list[T]:
        answers: list[asyncio.Future[list[T]]] = []
        fault: str | None = None
        keys = frozenset(it.idempotency_key for it in submissions if it.idempotency_key is not None)
        needed = frozenset(job_id for it in submissions for job_id in it.after)
        async with self._turn:
            await self._memory.complete(*submissions)
            if self._commits.refusal is not None:
                raise UndoneError(self._commits.refusal)
            if is_atomic:
                found = refusals(self._fleet(), submissions)
                if any(found):
                    await self._commits.durable()  # what they are refused for
                    raise NoneSubmittedError(found)
                self.claimed = keys
            try:
                with self._memory.keeping(keys, needed), self._commits.together() as whole:
                    for first in range(0, len(submissions), PART):
                        if first:
                            await asyncio.sleep(0)
                        if (fault := whole.fault) is not None:
                            break
                        part = SubmitJobs(tuple(submissions[first : first + PART]))
                        ticket, _ = self._decide(part, caller, render)
                        answers.append(ticket.answer)
            finally:
                self.claimed = frozenset()
        answered = await asyncio.gather(*answers, return_exceptions=True)
        for part_answered in answered:
            if isinstance(part_answered, BaseException):
                raise part_answered
        if fault is not None:
            raise UnavailableError(fault)
        return [
            it
            for part_answered in answered
            if isinstance(part_answered, list)
            for it in part_answered
        ]

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # nobody else may look at it
