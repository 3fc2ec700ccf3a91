"""The engine's life: register, beat, poll, work, report; and its end.

Laws:
- Exactly one report follows every job that was taken: complete, or fail with the reason. It is
  repeated until the dispatcher has answered it.
- A dispatcher that is away is waited for. Only a refusal ends a request.
- Heartbeats go on while ffmpeg works.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

import msgspec
import stamina

from dispatcher.client import Client, DispatcherAwayError, RequestRefusedError
from dispatcher.engine.delivery import Delivery, DeliveryError
from dispatcher.engine.ffmpeg import Ffmpeg, FfmpegError
from dispatcher.engine.sources import SourceError, open_source
from dispatcher.engine.workspace import Workspace, file_name
from projections.jobs import JobView

__all__ = ["Agent", "Settings"]

AWAY_S: Final = 10.0
"""The longest pause between two tries to reach a dispatcher that is away."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Settings(msgspec.Struct, frozen=True):
    """How often an engine speaks to its dispatcher."""

    poll_s: float = 1.0
    heartbeat_s: float = 10.0


class Agent:
    """An engine at work for one dispatcher."""

    def __init__(
        self,
        client: Client,
        ffmpeg: Ffmpeg,
        workspace: Workspace,
        delivery: Delivery,
        settings: Settings,
    ) -> None:
        self._client = client
        self._ffmpeg = ffmpeg
        self._workspace = workspace
        self._delivery = delivery
        self._settings = settings
        self._id = workspace.engine_id
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End soon: the job in hand is stopped and reported as failed."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until `stop`. `RequestRefusedError` if the dispatcher will not have this engine."""
        if not await self._unless_stopped(self._register()):
            return
        beats = asyncio.create_task(self._beat(), name="heartbeat")
        try:
            await self._poll_and_work()
        finally:
            beats.cancel()
            with suppress(asyncio.CancelledError):
                await beats

    async def _register(self) -> bool:
        logger.info("%s: measuring how fast this machine encodes", self._id)
        benchmark_time = await self._ffmpeg.benchmark()
        await _patiently(lambda: self._client.heartbeat(self._id, self._report()))
        await _patiently(lambda: self._client.benchmark_result(self._id, benchmark_time))
        codecs = ", ".join(self._ffmpeg.encoders)
        logger.info("%s: ready for %s; benchmark %.2f s", self._id, codecs, benchmark_time)
        return True

    def _report(self) -> dict[str, Any]:
        return {
            "engine_type": "transcoder",
            "supported_codecs": list(self._ffmpeg.encoders),
            "status": "idle",  # the dispatcher knows better than we do whether a job is ours
            "storage_capacity_gb": self._workspace.free_gb,
            "streaming_support": self._ffmpeg.streams,
        }

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._settings.heartbeat_s)
            try:
                await self._client.heartbeat(self._id, self._report())
            except (DispatcherAwayError, RequestRefusedError) as error:
                logger.warning("%s: heartbeat: %s", self._id, error)

    async def _poll_and_work(self) -> None:
        """Ask for jobs and do them. A poll is never cancelled: its answer may be a job."""
        resume = True  # a job that this id held when it last ended is still its own
        pause_s = self._settings.poll_s
        while not self._stopping.is_set():
            try:
                job = await self._client.assign(self._id, resume=resume)
            except DispatcherAwayError as error:
                resume = True  # the job may have been ours, had the answer come through
                pause_s = min(2 * pause_s, AWAY_S)
                logger.warning("%s: waiting %.0f s: %s", self._id, pause_s, error)
            except RequestRefusedError as error:
                if error.text != "Engine not found":
                    raise
                # The dispatcher has started on another log, where nobody knows us yet.
                await self._unless_stopped(self._register())
                continue
            else:
                resume, pause_s = False, self._settings.poll_s
                if job is not None:
                    await self._do(job)
                    continue
            await self._unless_stopped(asyncio.sleep(pause_s))

    async def _do(self, job: JobView) -> None:
        """Carry one job out and report how it went."""
        logger.info("%s: job %s: %s to %s", self._id, job.job_id, job.source_url, job.target_codec)
        try:
            output_url = await self._unless_stopped(self._transcode(job))
        except (SourceError, FfmpegError, DeliveryError, OSError) as error:
            await self._report_failure(job, str(error))
        else:
            if output_url is None:
                await self._report_failure(job, f"engine {self._id} was stopped during the job")
            else:
                await self._report_output(job, output_url)

    async def _transcode(self, job: JobView) -> str:
        if job.target_codec not in self._ffmpeg.encoders:
            raise FfmpegError(f"engine {self._id} can't encode {job.target_codec}")
        codec, _ = self._ffmpeg.encoders[job.target_codec]
        with self._workspace.job_folder() as folder:
            source = await open_source(
                job.source_url, job.job_size, folder, streams=self._ffmpeg.streams
            )
            output = folder / f"output{codec.suffix}"
            await self._ffmpeg.transcode(source, job.target_codec, output)
            # The attempt keeps a late output of an earlier attempt apart from this one.
            name = f"{file_name(job.job_id)}-{job.attempt}{codec.suffix}"
            return await self._delivery.deliver(output, name, codec.media_type)

    async def _report_output(self, job: JobView, output_url: str) -> None:
        try:
            await _patiently(lambda: self._client.complete(job.job_id, output_url))
        except RequestRefusedError as error:
            logger.warning("%s: job %s: output not wanted: %s", self._id, job.job_id, error)
            await self._delivery.discard(output_url)
        else:
            logger.info("%s: job %s: completed, %s", self._id, job.job_id, output_url)

    async def _report_failure(self, job: JobView, reason: str) -> None:
        try:
            verdict = await _patiently(lambda: self._client.fail(job.job_id, reason))
        except RequestRefusedError as error:
            verdict = str(error)
        logger.warning("%s: job %s: failed: %s\n%s", self._id, job.job_id, reason, verdict)

    async def _unless_stopped(self, work: Awaitable[T]) -> T | None:
        """Await `work`, but cancel it and give `None` when the engine is told to stop."""
        task = asyncio.ensure_future(work)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        return None if task.cancelled() else task.result()


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Call the dispatcher until it answers."""
    async for attempt in stamina.retry_context(
        on=DispatcherAwayError, attempts=None, timeout=None, wait_initial=0.2, wait_max=AWAY_S
    ):
        with attempt:
            return await call()
    raise AssertionError  # retry_context without limits does not end
