"""Lives of procrastinate jobs: `procrastinate_lives.py PORT CONNECTIONS SECONDS`.

Runs in the peers' environment. A life ends when the worker has marked the job as succeeded.
"""

import asyncio
import json
import sys
import time
from typing import Any

import uvloop
from procrastinate import App, PsycopgConnector
from procrastinate.jobs import Job, Status

port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
POOL = 64
WARM_UP = 0.1

app = App(
    connector=PsycopgConnector(
        conninfo=f"host=127.0.0.1 port={port} user=bench dbname=postgres",
        min_size=POOL,
        max_size=POOL,
    )
)


@app.task(name="transcode")
async def transcode(source: str, codec: str) -> str:
    """Do nothing, for the queue is what is measured."""
    return f"{source}.{codec}"


async def main() -> None:
    """Let clients defer and wait, while a worker of the same concurrency works."""
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        ended: dict[int, asyncio.Event] = {}
        durations: list[float] = []
        finish = app.job_manager.finish_job

        def event(job_id: int) -> asyncio.Event:
            return ended.setdefault(job_id, asyncio.Event())

        async def finish_and_tell(job: Job, status: Status, **options: Any) -> None:
            await finish(job, status, **options)
            assert job.id is not None  # noqa: S101 - it has been in the database
            event(job.id).set()

        app.job_manager.finish_job = finish_and_tell

        async def live(end: float) -> None:
            while (began := time.perf_counter()) < end:
                job_id = await transcode.defer_async(
                    source="http://media.example.com/1.mp4", codec="h264"
                )
                await event(job_id).wait()
                del ended[job_id]
                durations.append(time.perf_counter() - began)

        working = asyncio.create_task(
            app.run_worker_async(concurrency=connections, install_signal_handlers=False)
        )

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
    print(json.dumps({"durations_s": durations, "elapsed_s": elapsed}))


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
