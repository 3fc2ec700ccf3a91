"""Engines at work over HTTP, on a farm that has a past: they beat, finish jobs, take others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Final

from dispatcher.client import Client, JobView, RequestRefusedError

from .day import CODECS, COST, failure_of, film

__all__ = ["at_work"]

FAILS: Final = 0.02
"""The share of jobs that fail."""


class _Engine:
    """An engine that works at the speed of a middling one, times `haste`."""

    def __init__(self, client: Client, name: str, job: JobView | None, haste: float) -> None:
        self._client, self._name, self._job, self._haste = client, name, job, haste
        self._progress = 0.0 if job is None else job.progress or 0.0
        self._random = Random(name)  # noqa: S311 - a story, no secret

    async def work(self, beat_s: float) -> None:
        """Work until it is cancelled."""
        await asyncio.sleep(beat_s * self._random.random())
        while True:
            try:
                await self._beat(beat_s)
            except RequestRefusedError:
                self._job = None
            await asyncio.sleep(beat_s)

    async def _beat(self, beat_s: float) -> None:
        job = self._job
        if job is None:
            await self._client.heartbeat(self._name, {"status": "idle"})
        else:
            cost = COST.get(job.target_codec, 1.0)
            self._progress += 100 * self._haste * beat_s / max(20.0, job.job_size * cost)
            told = {
                "status": "busy",
                "current_job": job.job_id,
                "attempt": job.attempt,
                "progress": round(min(self._progress, 100.0), 1),
            }
            if await self._client.heartbeat(self._name, told):  # to cancel it
                self._job = None
            elif self._progress >= 100:  # noqa: PLR2004
                await self._answer(job)
        if self._job is None:
            self._job, self._progress = await self._client.assign(self._name), 0.0

    async def _answer(self, job: JobView) -> None:
        self._job = None
        if self._random.random() < FAILS:
            _, error = failure_of(self._random)
            await self._client.fail(
                job.job_id, error, engine_id=self._name, attempt=job.attempt, cause="source_bad"
            )
        else:
            output = f"http://out.example/{job.job_id}.{job.target_codec}.mp4"
            await self._client.complete(
                job.job_id, output, engine_id=self._name, attempt=job.attempt
            )


@asynccontextmanager
async def at_work(
    client: Client, *, beat_s: float, haste: float = 1.0, job_every_s: float = 0.0
) -> AsyncIterator[None]:
    """Let all engines that are online work on until the block ends, and jobs come in.

    An engine whose answer is refused, such as one that comes too late, goes on with other work.
    """
    engines = [engine.engine_id for engine in await client.engines() if engine.online]
    held = {job.assigned_engine: job for job in await client.jobs(status="assigned")}
    deeds = [_Engine(client, name, held.get(name), haste).work(beat_s) for name in engines]
    if job_every_s:
        deeds.append(_submitting(client, job_every_s))
    tasks = [asyncio.create_task(deed) for deed in deeds]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        faults = [it for it in ends if isinstance(it, Exception)]
        if faults:
            raise faults[0]


async def _submitting(client: Client, every_s: float) -> None:
    random = Random(1)  # noqa: S311 - a story, no secret
    number = 0
    while True:
        number += 1
        codec, size_mb = random.choice(CODECS), random.uniform(50, 900)
        await client.submit(film(random, number), codec, job_size=round(size_mb, 1))
        await asyncio.sleep(random.expovariate(1.0) * every_s)
