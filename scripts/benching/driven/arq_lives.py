"""Lives of arq jobs: `arq_lives.py PORT CONNECTIONS SECONDS`. Runs in the peers' environment.

A life ends when the worker has stored the job's result. The worker polls far more often than by
default, for its default would bound the figure and not the disk.
"""

import asyncio
import json
import sys
import time
from itertools import count
from typing import Any

import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func

port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
POLL_S = 0.002
WARM_UP = 0.1


async def transcode(_context: dict[str, Any], source: str, codec: str) -> str:
    """Do nothing, for the queue is what is measured."""
    return f"{source}.{codec}"


async def main() -> None:
    """Let clients submit and wait, while a worker of the same concurrency works."""
    ended: dict[str, asyncio.Event] = {}
    durations: list[float] = []

    async def after(context: dict[str, Any]) -> None:
        ended.pop(context["job_id"]).set()

    settings = RedisSettings(host="127.0.0.1", port=port)
    pool = await create_pool(settings)
    worker = Worker(
        functions=[func(transcode, name="transcode")],
        redis_settings=settings,
        max_jobs=connections,
        poll_delay=POLL_S,
        after_job_end=after,
        handle_signals=False,
    )
    working = asyncio.create_task(worker.async_run())

    numbers = count()

    async def live(end: float) -> None:
        while (began := time.perf_counter()) < end:
            job_id = str(next(numbers))
            done = ended[job_id] = asyncio.Event()
            await pool.enqueue_job(
                "transcode", "http://media.example.com/1.mp4", "h264", _job_id=job_id
            )
            await done.wait()
            durations.append(time.perf_counter() - began)

    async def lives(length_s: float) -> None:
        durations.clear()
        end = time.perf_counter() + length_s
        await asyncio.gather(*(live(end) for _ in range(connections)))

    await lives(seconds * WARM_UP)
    start = time.perf_counter()
    await lives(seconds)
    elapsed = time.perf_counter() - start
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await worker.close()
    await pool.aclose()
    print(json.dumps({"durations_s": durations, "elapsed_s": elapsed}))


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
