"""Finished jobs in and out of memory: handed to the index, evicted, looked up, recalled.

Laws:
- Only what the index has committed is evicted, and nothing of which the fleet knows more than the
  projections, or that an answer on its way will show.
- The core decides with what is in memory. So what a command may need is looked up before it is
  decided, and put into memory in the same synchronous step in which it is. If anything was evicted
  meanwhile, it is looked up again.
- Who decides in several steps says which jobs stay until the last (`keeping`).
- Lookups that are asked for at once are made together, in a thread.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from heapq import nsmallest
from typing import NamedTuple

from dispatcher.core.commands import (
    CancelJob,
    Command,
    CompleteJob,
    FailJob,
    PrioritizeJob,
    RetryJob,
    SplitJob,
    SubmitJob,
    SubmitJobs,
)
from dispatcher.core.dependencies import retry_concerns
from dispatcher.core.events import JobRetried
from dispatcher.core.fleet import Fleet
from dispatcher.core.replies import JobIs, Reply, Submitted
from dispatcher.index import Finished, IndexFaultError
from dispatcher.index.reading import Index
from dispatcher.index.steps import Step, evict, recall, step_of
from dispatcher.log import Log
from dispatcher.serving.as_of import Past
from dispatcher.serving.group_commit import GroupCommit
from dispatcher.serving.listing import ListJobs, place_of
from dispatcher.serving.tickets import UnavailableError
from projections import Projections
from projections.history import History

__all__ = ["Memory"]


class _Question(NamedTuple):
    """Ask for the job with this id as of a seq, or for the job with this idempotency key."""

    job_id: str | None
    key: str | None
    at: int


class Memory:
    """The finished jobs of a service, in memory or in the index of its `past`."""

    def __init__(
        self,
        log: Log,
        fleet: Callable[[], Fleet],
        projections: Callable[[], Projections],
        commits: GroupCommit,
        past: Past | None,
    ) -> None:
        self._log = log
        self._fleet = fleet
        self._projections = projections
        self._commits = commits
        self._past = past
        self._evictions = 0
        self._kept_keys: frozenset[str] = frozenset()
        self._kept_jobs: frozenset[str] = frozenset()
        self._asked: dict[_Question, asyncio.Future[Finished | None]] = {}
        self._asking: asyncio.Task[None] | None = None

    @property
    def index(self) -> Index | None:
        """The index, if it has anything that may not be in memory.

        `UnavailableError` if it no longer has what was evicted.
        """
        index = None if self._past is None else self._past.index
        if (0 if index is None else index.upto) < (since := self._projections().history.since):
            raise UnavailableError(
                f"the index beside the log can't be read, and has what was before seq {since}; "
                "restart the dispatcher"
            )
        return index

    def trail(self) -> tuple[History, Index | None]:
        """Return which events concern what: of the newest, and the index for those before."""
        return self._projections().history.shared(), self.index

    def notice(self) -> None:
        """Let a step of the index, or a snapshot, begin if one is due."""
        if self._past is not None:
            self._past.notice(self._log, self, self._projections().seq, self.ended)

    @property
    def ended(self) -> int:
        """How many finished jobs are in memory."""
        return len(self._projections().jobs.ended)

    def step(self, after: int) -> Step | None:
        """Return what an index that reaches up to seq `after` lacks; `None`: ask again soon."""
        projections = self._projections()
        if self._commits.fault is not None or not self._busy().isdisjoint(projections.jobs.ended):
            return None
        return step_of(self._fleet(), projections, after)

    def evict(self, upto: int) -> int:
        """Evict what the index has, which reaches up to seq `upto`; return how much must stay."""
        if self._commits.fault is not None:
            return self.ended
        evict(self._fleet(), self._projections(), upto, self._busy())
        self._evictions += 1
        return sum(ended <= upto for ended in self._projections().jobs.ended.values())

    def _busy(self) -> set[str]:
        first_of = self._fleet().idempotent
        busy = {first_of[key].job_id for key in self._kept_keys if key in first_of}
        busy |= self._kept_jobs
        for settle in self._commits.in_flight():
            busy |= {it.event.job_id for it in settle.records if type(it.event) is JobRetried}
            busy.update(_named_in(settle.reply))
        return busy

    @contextmanager
    def keeping(
        self, keys: frozenset[str], job_ids: frozenset[str] = frozenset()
    ) -> Iterator[None]:
        """Let none of these jobs go until the block ends, nor those with these idempotency keys."""
        self._kept_keys, self._kept_jobs = keys, job_ids
        try:
            yield
        finally:
            self._kept_keys = self._kept_jobs = frozenset()

    def lacks(self, command: Command) -> bool:
        """Whether the index may have something that the command's decision needs."""
        if type(command) is SubmitJob and command.idempotency_key is None and not command.after:
            return False  # the most frequent, first
        return bool(self._questions_of([command])) and self.index is not None

    async def complete(self, *commands: Command) -> None:
        """Recall what the commands' decisions need. Decide them at once, before any other await.

        `UnavailableError` if the index can't be read.
        """
        unknown = set[tuple[str | None, str | None]]()
        while self.index is not None:
            asked = self._questions_of(commands)
            questions = [it for it in asked if (it.job_id, it.key) not in unknown]
            if not questions:
                return
            evictions = self._evictions
            found = [self._found(question) for question in questions]
            answers = [await asyncio.shield(answer) for answer in found]
            if evictions != self._evictions:
                unknown.clear()
                continue
            for question, answer in zip(questions, answers, strict=True):
                if answer is None:
                    unknown.add((question.job_id, question.key))
                else:  # it may lead to others that the decision needs
                    recall(self._fleet(), self._projections(), answer)
            if any(answers):
                self.notice()  # so that what is recalled leaves again, if nothing else happens

    def _questions_of(self, commands: Iterable[Command]) -> list[_Question]:
        fleet, seq, questions = self._fleet(), self._projections().seq, list[_Question]()
        for command in commands:
            match command:
                case SubmitJob(idempotency_key=str() as key) if key not in fleet.idempotent:
                    questions.append(_Question(None, key, seq))
                case SubmitJobs(submissions):
                    questions += self._questions_of(submissions)
                case RetryJob(job_id):
                    needed = retry_concerns(fleet, job_id)
                    questions += [_Question(it, None, seq) for it in needed if it not in fleet.jobs]
                case CompleteJob() | FailJob() | SplitJob() | CancelJob() | PrioritizeJob() if (
                    command.job_id not in fleet.jobs
                ):
                    questions.append(_Question(command.job_id, None, seq))
                case _:
                    pass
            if isinstance(command, SubmitJob):
                lacking = (it for it in command.after if it not in fleet.jobs)
                questions += [_Question(it, None, seq) for it in lacking]
        return questions

    async def job(self, job_id: str, at: int) -> Finished | None:
        """Look up a job that was finished as of seq `at`. `UnavailableError`: see `complete`."""
        if self.index is None:
            return None
        return await asyncio.shield(self._found(_Question(job_id, None, at)))

    async def place_of(self, view: ListJobs) -> int | None:
        """Return the number after which a list of now begins; `None` for the first job.

        `KeyError` if there is no job with the id `after`. `UnavailableError`: see `complete`.
        """
        projections = self._projections()
        try:
            return place_of(view, projections.jobs, None, projections.seq)
        except KeyError:
            found = await self.job(view.after or "", projections.seq)
            if found is None:
                raise
            return found.job.place.number

    async def is_known(self, job_id: str) -> bool:
        """Whether there is such a job. `UnavailableError`: see `complete`."""
        projections = self._projections()
        if projections.jobs.get(job_id) is not None:
            return True
        return await self.job(job_id, projections.seq) is not None

    async def job_ids(self, prefix: str, limit: int) -> list[str]:
        """Return the first ids of jobs, in their order, that begin with a prefix.

        `UnavailableError`: see `complete`.
        """
        index, here = self.index, self._projections().jobs.ids()
        try:
            return await asyncio.to_thread(_ids, index, here, prefix, limit)
        except IndexFaultError as error:
            raise UnavailableError(str(error)) from error

    def _found(self, question: _Question) -> "asyncio.Future[Finished | None]":
        if (answer := self._asked.get(question)) is None:
            answer = self._asked[question] = asyncio.get_running_loop().create_future()
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="lookups")
        return answer

    async def _ask(self) -> None:
        """Answer all that was asked, until nothing more is."""
        try:
            while self._asked:
                asked, self._asked = self._asked, {}
                index = self.index
                try:
                    found = await asyncio.to_thread(_answers, index, list(asked))
                except IndexFaultError as error:
                    for answer in asked.values():
                        answer.set_exception(UnavailableError(str(error)))
                        answer.exception()  # nobody else may look at it
                else:
                    for answer, it in zip(asked.values(), found, strict=True):
                        answer.set_result(it)
        finally:
            self._asking = None


def _named_in(reply: Reply) -> list[str]:
    """Return the jobs that an answer shows."""
    match reply:
        case JobIs(job_id):
            return [job_id]
        case Submitted(replies):
            return [it.job_id for it in replies if isinstance(it, JobIs)]
        case _:
            return []


def _answers(index: Index | None, questions: list[_Question]) -> list[Finished | None]:
    if index is None:
        return [None] * len(questions)
    return [
        index.job(it.job_id, it.at) if it.job_id is not None else index.job_of_key(it.key or "")
        for it in questions
    ]


def _ids(index: Index | None, here: list[str], prefix: str, limit: int) -> list[str]:
    indexed = [] if index is None else index.job_ids(prefix, limit)
    found = nsmallest(limit, (job_id for job_id in here if job_id.startswith(prefix)))
    return nsmallest(limit, {*found, *indexed})
