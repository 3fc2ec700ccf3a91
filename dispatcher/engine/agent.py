"""The engine's main loop: register, send heartbeats, poll, work, report and shut down.

Laws:
- The engine sends exactly one report for every job that it took, unless the dispatcher has taken
  the job away: complete, or fail with the reason. It repeats the report until the dispatcher has
  answered it. If the engine dies before that, its next process continues.
- While the dispatcher is away, the engine waits for it. Only a refusal ends a request.
- Heartbeats go on while ffmpeg works. Their responses carry the dispatcher's orders.
- Each process is an instance with a name of its own. If another instance takes over the engine's
  id, this one stops its work and ends with the dispatcher's text.
- A film whose plan the dispatcher has taken is not reported: its parts are jobs now.
- A job that is stopped because the engine is stopped is given back at no cost.
- While the engine rests (see `resting`), it reports that it is busy, so that it is given no job,
  and asks only for one that it has already.
- No password or signature of a URL is in what it logs or reports.
"""

import asyncio
import logging
import random
import socket
import time
import uuid
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import msgspec

from dispatcher.client import Client, DispatcherAwayError, RequestRefusedError
from dispatcher.engine.attempts import Attempts
from dispatcher.engine.delivery import Delivery
from dispatcher.engine.ffmpeg import Ffmpeg, FfmpegError
from dispatcher.engine.journal import Journal, JournalEntry
from dispatcher.engine.naming import DEFAULT_TEMPLATE
from dispatcher.engine.patience import AWAY_S, retry_while_away
from dispatcher.engine.resting import Resting
from dispatcher.engine.sources import SourceError, Sources
from dispatcher.engine.workspace import Workspace
from dispatcher.errors import DispatcherError
from dispatcher.results import Result
from dispatcher.segments import Plan
from dispatcher.tags import abilities_of
from dispatcher.urls import masked
from projections.jobs import JobView

__all__ = ["Agent", "EngineReplacedError", "Settings"]

TAKEN_OVER: Final = "Conflict: instance "
"""How a refusal begins if another instance has taken over (docs/protocol.md)."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class EngineReplacedError(DispatcherError):
    """Another instance took over the engine's id; to start this one again would not help."""

    exit_code: ClassVar[int] = 5


class Settings(msgspec.Struct, frozen=True):
    """How often an engine contacts its dispatcher, and how long a poll may wait for work.

    `name_template` is that of the outputs of jobs that have none of their own (see
    `output_names`). `allows_raw_args` permits recipes to give ffmpeg options as they are. It has
    these `tags`, and takes no new jobs while it is `resting`.
    """

    poll_s: float = 1.0
    heartbeat_s: float = 10.0
    wait_s: float = 20.0
    name_template: str = DEFAULT_TEMPLATE
    allows_raw_args: bool = False
    tags: tuple[str, ...] = ()
    resting: Resting = Resting()


class Agent:
    """An engine that works for one dispatcher."""

    def __init__(  # noqa: PLR0913, PLR0917 - all that an agent works with
        self,
        client: Client,
        ffmpeg: Ffmpeg,
        workspace: Workspace,
        delivery: Delivery,
        settings: Settings,
        sources: Sources,
    ) -> None:
        self._client = client
        self._ffmpeg = ffmpeg
        self._workspace = workspace
        self._settings = settings
        self._attempts = Attempts(
            workspace.engine_id,
            ffmpeg,
            sources,
            delivery,
            settings.name_template,
            settings.allows_raw_args,
        )
        self._id = workspace.engine_id
        # With the host's name, so that of two machines with one id each can name the other.
        self._instance = f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}"
        self._journal = Journal(workspace.path / "journal.json")
        self._job: JobView | None = None
        self._progress = 0.0
        self._benchmark_time: float | None = None
        self._drained = False
        self._rests = asyncio.Event()
        self._why_rests: str | None = None
        self._leaving = asyncio.Event()
        self._stopping = asyncio.Event()
        self._cancelled = asyncio.Event()
        self._replaced: str | None = None

    def drain(self) -> None:
        """End after the current job."""
        self._leaving.set()

    def stop(self) -> None:
        """End soon: stop the current job and give it back."""
        self._leaving.set()
        self._stopping.set()

    async def run(self) -> None:
        """Work until `drain` or `stop` is called.

        Finishes first what an earlier process of this engine left unfinished. Raises
        `EngineReplacedError` if another instance took over the engine's id, and
        `RequestRefusedError` if the dispatcher refuses this engine otherwise.
        """
        try:
            await self._work()
        except RequestRefusedError as error:
            if not _is_takeover(error):
                raise
            self._replaced = error.text
        if self._replaced is not None:
            raise EngineReplacedError(self._replaced)

    async def _work(self) -> None:
        left = self._journal.read()
        self._job = None if left is None else left.job  # so that the first heartbeat keeps the job
        await self._look_whether_to_rest()
        beats = asyncio.create_task(self._beat(), name="heartbeat")
        looks = asyncio.create_task(self._keep_looking(), name="resting")
        try:
            if left is not None and left.stage != "working":
                await _until(self._stopping, self._finish(left))
                if self._stopping.is_set():
                    return  # the next process needs the journal and the output
                self._job = None
            self._workspace.sweep()
            await _until(self._leaving, self._register())
            await self._poll_and_work()
        finally:
            for task in (beats, looks):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _register(self) -> None:
        logger.info("%s: measuring how fast this machine encodes", self._id)
        self._benchmark_time = taken_s = await self._ffmpeg.benchmark()
        await retry_while_away(lambda: self._client.heartbeat(self._id, self._report()))
        await retry_while_away(lambda: self._client.benchmark_result(self._id, taken_s))
        codecs = ", ".join(self._ffmpeg.encoders)
        logger.info("%s: ready for %s; benchmark %.2f s", self._id, codecs, taken_s)

    def _report(self) -> dict[str, Any]:
        report: dict[str, Any] = {
            "engine_type": "transcoder",
            "supported_codecs": list(self._ffmpeg.encoders),
            # The dispatcher itself records which job we hold.
            "status": "busy" if self._rests.is_set() else "idle",
            "resting": self._why_rests,
            "storage_capacity_gb": self._workspace.free_gb,
            "streaming_support": self._ffmpeg.streams,
            "instance": self._instance,
            "abilities": [*self._attempts.abilities, *abilities_of(self._settings.tags)],
            "encoders": {it: encoder.name for it, (_, encoder) in self._ffmpeg.encoders.items()},
        }
        if self._benchmark_time is not None:
            report["benchmark_time"] = self._benchmark_time
        if self._job is not None:
            report |= {"current_job": self._job.job_id, "progress": self._progress}
            report |= {"attempt": self._job.attempt} if self._job.attempt else {}
        return report

    async def _beat(self) -> None:
        while True:
            job = self._job
            try:
                orders = await self._client.heartbeat(self._id, self._report())
            except RequestRefusedError as error:
                logger.warning("%s: heartbeat: %s", self._id, error)
                if _is_takeover(error):
                    self._replaced = error.text
                    self.stop()
                    return
            except DispatcherAwayError as error:
                logger.warning("%s: heartbeat: %s", self._id, error)
            except Exception:
                logger.exception("%s: heartbeat: a defect of the engine", self._id)
            else:
                self._drained = "drain" in orders
                if job is not None and job is self._job and f"cancel {job.job_id}" in orders:
                    self._cancelled.set()
            await asyncio.sleep(self._settings.heartbeat_s)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._settings.resting.check_s)
            try:
                await self._look_whether_to_rest()
            except Exception:
                logger.exception("%s: resting: a defect of the engine", self._id)

    async def _look_whether_to_rest(self) -> None:
        why = await self._settings.resting.reason()
        if why is not None and not self._rests.is_set():
            logger.info("%s: takes no new jobs: %s", self._id, why)
            self._rests.set()
        elif why is None and self._rests.is_set():
            logger.info("%s: takes jobs again", self._id)
            self._rests.clear()
        self._why_rests = why

    async def _rest(self) -> None:
        """Take no new job until the rest is over, but do one that this id has already."""
        while self._rests.is_set() and not self._leaving.is_set():
            # It must be known that we are busy before we ask, or we would be given another job.
            await _until(self._leaving, retry_while_away(self._tell))
            held = retry_while_away(
                lambda: self._client.assign(self._id, resume=True, instance=self._instance)
            )
            if (job := await _until(self._leaving, held)) is not None:
                await self._do(job)
                continue
            if self._job is not None and not self._leaving.is_set():  # it was taken away
                self._job = None
                self._journal.clear()
            again = time.monotonic() + self._settings.heartbeat_s
            while self._rests.is_set() and time.monotonic() < again and not self._leaving.is_set():
                await _until(self._leaving, asyncio.sleep(self._settings.poll_s))
        await _until(self._leaving, retry_while_away(self._tell))

    async def _tell(self) -> None:
        await self._client.heartbeat(self._id, self._report())

    async def _poll_and_work(self) -> None:
        """Ask for jobs and do them."""
        may_hold = True  # this id may still hold a job from its last process
        pause_s = self._settings.poll_s
        while not self._leaving.is_set():
            if self._rests.is_set():
                await self._rest()
                may_hold = True
                continue
            if self._drained and not may_hold:
                await _until(self._leaving, asyncio.sleep(pause_s))
                continue
            asked = time.monotonic()
            wait_s = 0 if self._drained else self._settings.wait_s
            try:
                # `resume`: a duplicated or late poll may have assigned us a job unnoticed.
                poll = self._client.assign(
                    self._id, resume=True, wait_s=wait_s, instance=self._instance
                )
                job = await _until(self._leaving, _until(self._rests, poll))
            except DispatcherAwayError as error:
                may_hold = True  # the lost response may have assigned us a job
                # By lot, so that engines that were cut off at once do not come back at once.
                pause_s = random.uniform(0.75, 1) * min(2 * pause_s, AWAY_S)  # noqa: S311
                logger.warning("%s: waiting %.0f s: %s", self._id, pause_s, error)
            except RequestRefusedError as error:
                if error.text != "Engine not found":
                    raise
                # The dispatcher now serves another log, in which this engine is not registered.
                await _until(self._leaving, self._register())
                continue
            else:
                may_hold, pause_s = False, self._settings.poll_s
                if job is not None:
                    await self._do(job)
                    continue
                if self._job is not None:  # the dispatcher has taken it away
                    self._job = None
                    self._journal.clear()
                if time.monotonic() - asked > self._settings.wait_s / 2:
                    continue  # the poll itself has waited
            await _until(self._leaving, asyncio.sleep(pause_s))
        if self._replaced is None:
            await self._do_late_assignment()

    async def _do_late_assignment(self) -> None:
        """Do a job that was assigned to this engine just as it cancelled its poll."""
        with suppress(DispatcherAwayError, msgspec.ValidationError):
            engines = await self._client.engines()
            held = next((e.current_job for e in engines if e.engine_id == self._id), None)
            if held is not None:
                await self._do(await self._client.job(held))

    async def _do(self, job: JobView) -> None:
        """Do one job and report the result."""
        source = masked(job.source_url)
        logger.info("%s: job %s: %s to %s", self._id, job.job_id, source, job.target_codec)
        self._job, self._progress = job, 0.0
        self._cancelled.clear()
        self._record(JournalEntry(job, "working"))
        try:
            with self._workspace.job_folder() as folder:
                entry = await self._attempt(job, folder)
        except OSError as error:
            why = f"engine {self._id} has no room to work in: {error}"
            entry = JournalEntry(job, "failed", why, "engine")
        if entry is not None and entry.stage == "split":
            logger.info("%s: job %s: is split", self._id, job.job_id)
            self._journal.clear()
        elif entry is None:
            logger.warning("%s: job %s: taken away by the dispatcher", self._id, job.job_id)
            self._journal.clear()
        else:
            await self._finish(self._record(entry))
        self._job = None

    async def _attempt(self, job: JobView, folder: Path) -> JournalEntry | None:
        """Work on a job. Return the result, or `None` if the dispatcher took the job away."""
        try:
            work = _until(self._cancelled, self._transcode_and_deliver(job, folder))
            done = await _until(self._stopping, work)
        except (SourceError, FfmpegError) as error:
            return JournalEntry(job, "failed", str(error), error.cause)
        except OSError as error:  # of the disk that this engine works on
            return JournalEntry(job, "failed", str(error), "engine")
        except Exception as error:
            # No job may end the engine: the next process would resume the job and end too.
            logger.exception("%s: job %s: a defect of the engine", self._id, job.job_id)
            return JournalEntry(job, "failed", f"engine {self._id}: {error!r}")
        if done is not None:
            return done
        if self._cancelled.is_set():
            return None
        why = f"engine {self._id} was stopped during the job"
        return JournalEntry(job, "failed", why, given_back=True)

    async def _transcode_and_deliver(self, job: JobView, folder: Path) -> JournalEntry:
        attempts = self._attempts
        transcoded = await attempts.transcoded(job, folder, self._progressed, self._offer)
        if transcoded.stage == "split":
            return transcoded
        return await self._attempts.delivered(self._record(transcoded))

    async def _offer(self, job: JobView, plan: Plan) -> str | None:
        """Give a plan to the dispatcher; gives why it does not take it."""
        try:
            await retry_while_away(
                lambda: self._client.split(job.job_id, plan, **self._as_holder(job))
            )
        except RequestRefusedError as error:
            logger.warning("%s: job %s: is not split: %s", self._id, job.job_id, error)
            return f"the dispatcher does not split it: {error.text}"
        return None

    def _progressed(self, percent: float) -> None:
        self._progress = max(self._progress, percent)  # reports of audio and video alternate

    def _record(self, entry: JournalEntry) -> JournalEntry:
        try:
            self._journal.write(entry)
        except OSError as error:  # a full disk must not prevent the report
            logger.warning("%s: the journal can't be written: %s", self._id, error)
        return entry

    async def _finish(self, entry: JournalEntry) -> None:
        """Deliver the output if that is still to do, and report the result."""
        if entry.stage == "transcoded":
            entry = self._record(await self._attempts.delivered(entry))
        if entry.stage == "delivered":
            await self._report_output(entry.job, entry.result, entry.outcome)
        else:
            await self._report_failure(entry)
        self._journal.clear()

    async def _report_output(self, job: JobView, output_url: str, outcome: Result | None) -> None:
        try:
            told = masked(output_url)  # a journal of an earlier version may have the password
            await retry_while_away(
                lambda: self._client.complete(
                    job.job_id, told, result=outcome, **self._as_holder(job)
                )
            )
        except RequestRefusedError as error:
            if not _is_verdict(error):
                raise
            logger.warning("%s: job %s: output not wanted: %s", self._id, job.job_id, error)
            await self._attempts.discard(job, output_url)
        else:
            logger.info("%s: job %s: completed, %s", self._id, job.job_id, told)

    async def _report_failure(self, entry: JournalEntry) -> None:
        job = entry.job
        reason = masked(entry.result, [job.source_url])
        try:
            verdict = await retry_while_away(
                lambda: self._client.fail(
                    job.job_id,
                    reason,
                    cause=entry.cause,
                    given_back=entry.given_back,
                    **self._as_holder(job),
                )
            )
        except RequestRefusedError as error:
            if not _is_verdict(error):
                raise
            verdict = str(error)
        for line in f"failed: {reason}\n{verdict}".splitlines():  # a record is one line
            logger.warning("%s: job %s: %s", self._id, job.job_id, line)

    def _as_holder(self, job: JobView) -> dict[str, Any]:
        attempt = job.attempt or None
        return {"engine_id": self._id, "attempt": attempt, "instance": self._instance}


def _is_verdict(error: RequestRefusedError) -> bool:
    """Whether a refusal is about the job, rather than about the key or from a proxy.

    A takeover is none: what this instance made may be what the other has reported.
    """
    is_about_job = error.status in {400, 409} or error.text == "Job not found"
    return is_about_job and not _is_takeover(error)


def _is_takeover(error: RequestRefusedError) -> bool:
    return error.text.startswith(TAKEN_OVER)


async def _until(event: asyncio.Event, work: Awaitable[T]) -> T | None:
    """Await `work`, but cancel it and return `None` if the event is set first."""
    task = asyncio.ensure_future(work)
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    return None if task.cancelled() else task.result()
