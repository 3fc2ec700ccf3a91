"""A double of the engine that came with the protocol's origin, as its source and its traffic show.

It beats `idle` at all times, also in a job. It tells its codecs in its first heartbeat only, and
never an instance, a current job or progress. It polls by name between jobs, in one thread, never
with `resume`. Its reports hold only `output_url` or `error_message`, and one that fails is not
repeated: it takes no notice, and polls again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Self

import httpx2

from tests.support.servers import KEY

__all__ = ["ForeignEngine"]

BEAT_S: Final = 0.05
POLL_S: Final = 0.05

Work = Callable[[dict[str, Any]], Awaitable[str]]
"""Does a job and gives the URL of its output."""


class ForeignEngine:
    """A run of the engine: as a context manager it lives until it is killed or the block ends.

    `report_lost` is set when a report of it was not accepted.
    """

    def __init__(self, url: str, work: Work, engine_id: str = "origin") -> None:
        self._http = httpx2.AsyncClient(
            base_url=url, headers={"X-API-Key": KEY}, timeout=10, trust_env=False
        )
        self._engine_id = engine_id
        self._work = work
        self._tasks: list[asyncio.Task[None]] = []
        self.report_lost = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(it) for it in (self._beat(), self._poll())]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def kill(self) -> None:
        """End at once, without a word."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()

    async def _beat(self) -> None:
        report: dict[str, Any] = {
            "engine_id": self._engine_id,
            "status": "idle",
            "storage_capacity_gb": 500.0,
            "streaming_support": True,
            "local_job_queue": "[]",
        }
        first = {"supported_codecs": ["h264", "h265"], "engine_type": "transcoder"}
        while True:
            with suppress(httpx2.HTTPError):
                await self._http.post("/engines/heartbeat", json=report | first)
                first = {}
            await asyncio.sleep(BEAT_S)

    async def _poll(self) -> None:
        while True:
            with suppress(httpx2.HTTPError):
                body = {"engine_id": self._engine_id}
                response = await self._http.post("/assign_job/", json=body)
                if response.status_code == httpx2.codes.OK:
                    await self._do(response.json())
            await asyncio.sleep(POLL_S)

    async def _do(self, job: dict[str, Any]) -> None:
        output_url = await self._work(job)
        path = f"/jobs/{job['job_id']}/complete"
        try:
            response = await self._http.post(path, json={"output_url": output_url})
        except httpx2.HTTPError:
            self.report_lost.set()
        else:
            if not response.is_success:
                self.report_lost.set()
