"""Worker processes, for what would hold up the event loop.

Laws:
- Workers ignore Ctrl-C, which reaches them too but is meant for the dispatcher. The dispatcher ends
  them.
- A caller that is cancelled ends the worker that works for it. A worker that is only starting is
  waited for: anyio would neither end it nor know of it, and the event loop could not be closed.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

from anyio import BrokenWorkerProcess, CapacityLimiter, to_process

from dispatcher.log import LogError

__all__ = ["run_in_worker"]

T = TypeVar("T")
Work = TypeVarTuple("Work")

NICENESS: Final = 10
"""By how much the niceness of worker processes is above the dispatcher's."""


async def run_in_worker(
    doing: str, log_path: Path, limiter: CapacityLimiter, work: Callable[[*Work], T], *args: *Work
) -> T:
    """Run `work` in a worker process, within the limit, and return its result.

    Raises `LogError` if the process was ended from outside; `doing` says what of the log it did.
    """
    try:
        await _has_started(limiter)
        return await to_process.run_sync(_run, work, args, cancellable=True, limiter=limiter)
    except (BrokenWorkerProcess, ProcessLookupError, KeyboardInterrupt) as error:
        # KeyboardInterrupt: Ctrl-C has reached a worker that did not ignore it yet.
        raise LogError(f"{log_path}: {doing} was ended from outside") from error


async def _has_started(limiter: CapacityLimiter) -> None:
    """Have a worker that is ready, also if the caller is cancelled meanwhile."""
    starting = asyncio.create_task(to_process.run_sync(_configure_worker, limiter=limiter))
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.gather(starting, return_exceptions=True)
        raise


def _run(work: Callable[[*Work], T], args: tuple[*Work]) -> T:
    """Run `work` in a worker process. Every call of a worker goes through here."""
    _configure_worker()
    return work(*args)


@cache
def _configure_worker() -> None:
    """Make this worker ignore Ctrl-C, and give the dispatcher priority for the processor."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
