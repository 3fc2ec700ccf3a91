"""Logs of any size, made once and kept: of finished jobs, and of jobs that wait."""

import asyncio
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final

from dispatcher.core import events
from dispatcher.core.events import Event, Recorded
from dispatcher.log import serialization
from dispatcher.log.sqlite import SqliteLog

__all__ = ["copy_of", "finished_jobs_log", "waiting_jobs_log"]

ENGINES: Final = 20
BATCH: Final = 1_000
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
STEP: Final = timedelta(milliseconds=20)
REQUEST_ID: Final = "0123456789abcdef0123456789abcdef"


def finished_jobs_log(directory: Path, count: int) -> Path:
    """Give a log of `count` events: jobs that were submitted, assigned and completed."""
    return _kept(directory / f"finished-{count}.db", islice(_finished_jobs(), count))


def waiting_jobs_log(directory: Path, jobs: int) -> Path:
    """Give a log of a farm with `jobs` jobs that wait for an engine."""
    return _kept(directory / f"waiting-{jobs}.db", (_submitted(n) for n in range(jobs)))


def copy_of(log: Path, directory: Path) -> Path:
    """Give a copy that may be written to. The log is closed, so its file is all there is of it."""
    return Path(shutil.copy(log, directory / "events.db"))


def _finished_jobs() -> Iterator[Event]:
    for number in range(ENGINES):
        reported = {"supported_codecs": ["h264", "hevc"], "benchmark_time": number + 1.0}
        yield events.EngineReported(f"engine-{number}", reported)
    number = 0
    while True:
        submitted = _submitted(number)
        engine = f"engine-{number % ENGINES}"
        yield submitted
        yield events.JobAssigned(submitted.job_id, engine, 1, events.ASKED_BY_NAME)
        yield events.EngineSeen(engine)
        yield events.JobCompleted(submitted.job_id, engine, 1, f"file:///out/{number}.mp4")
        number += 1


def _submitted(number: int) -> events.JobSubmitted:
    at = START + number * STEP
    return events.JobSubmitted(
        job_id=f"{1_700_000_000_000_000 + number * 1_000}_0",
        source_url=f"file:///media/{number}.mov",
        target_codec="h264",
        job_size=float(number % 200),
        max_retries=3,
        priority=number % 3 * 10,
        waits_since=at,
        arrived_at=at,
    )


def _kept(path: Path, happened: Iterable[Event]) -> Path:
    if not path.exists():
        draft = path.with_suffix(".draft")
        _clear(draft)
        asyncio.run(_write(draft, happened))
        draft.rename(path)
        _clear(draft)
    return path


def _clear(draft: Path) -> None:
    """Remove what a run that was broken off has left, and the lock that a log leaves beside it."""
    for rest in draft.parent.glob(f"{draft.name}*"):
        rest.unlink()


async def _write(path: Path, happened: Iterable[Event]) -> None:
    log = await SqliteLog.open(path)
    try:
        recorded = (
            serialization.encode(Recorded(seq, START + seq * STEP, "operator", event, REQUEST_ID))
            for seq, event in enumerate(happened, 1)
        )
        while batch := list(islice(recorded, BATCH)):
            await log.append(batch, log.head)
    finally:
        await log.close()
