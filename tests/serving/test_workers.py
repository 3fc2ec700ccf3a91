"""Worker processes: whatever becomes of their caller, none is left that nobody knows of."""

import asyncio
import sys
from pathlib import Path
from typing import Final

import pytest
import uvloop
from anyio import CapacityLimiter

from dispatcher.serving.workers import run_in_worker

CHILDREN: Final = Path("/proc/thread-self/children")


@pytest.mark.skipif(sys.platform != "linux", reason="children are listed by Linux alone")
def test_a_caller_that_is_cancelled_while_its_worker_starts_leaves_a_loop_that_closes() -> None:
    async def cancelled() -> None:
        before = CHILDREN.read_text()
        work = asyncio.create_task(run_in_worker("it", Path("log"), CapacityLimiter(1), sum, [1]))
        while CHILDREN.read_text() == before:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        work.cancel()
        await asyncio.wait({work})
        assert work.cancelled()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(cancelled())


def test_a_worker_works_after_another_caller_was_cancelled() -> None:
    async def both() -> int:
        limiter = CapacityLimiter(1)
        first = asyncio.create_task(run_in_worker("it", Path("log"), limiter, sum, [1]))
        await asyncio.sleep(0)
        first.cancel()
        return await run_in_worker("it", Path("log"), limiter, sum, [1, 2])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(both()) == 3
