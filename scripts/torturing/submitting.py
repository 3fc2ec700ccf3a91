"""Clients that submit to a dispatcher whose disk fails."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx2

from .serving import findings_in, jobs_in, until

__all__ = ["Load"]

LOADERS: Final = 4
PATIENCE_S: Final = 60
"""The longest that a fault may take to show, or writes to resume."""


class Load:
    """Clients that submit without a pause, and keep what they were promised."""

    def __init__(self, client: httpx2.AsyncClient, random: Random) -> None:
        self.client = client
        self.acknowledged: set[str] = set()
        self.refused = 0
        self.reads = 0
        self.failures: list[str] = []
        self._random = random
        self._is_over = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Submit until the block ends."""
        self._is_over = False
        loaders = [asyncio.create_task(self._submit()) for _ in range(LOADERS)]
        try:
            yield
        finally:
            self._is_over = True
            await asyncio.gather(*loaders)

    async def _submit(self) -> None:
        while not self._is_over:
            source = "http://media/" + "x" * self._random.randrange(6_000)
            job = {"source_url": source, "target_codec": "h264"}
            try:
                answer = await self.client.post("/jobs/", json=job)
            except httpx2.TransportError as error:
                self.failures.append(f"a submission was not answered: {error!r}")
                return
            match answer.status_code:
                case 200:
                    self.acknowledged.add(answer.json()["job_id"])
                case 503 if "retry-after" in answer.headers:
                    self.refused += 1
                    await asyncio.sleep(0.02)
                case status:
                    self.failures.append(f"a submission got {status}: {answer.text[:200]}")

    async def goes_on(self) -> float:
        """Wait until more is acknowledged, and say how long that took."""
        begun, before = time.monotonic(), len(self.acknowledged)
        await self.reach("no write was taken", lambda: len(self.acknowledged) > before)
        return time.monotonic() - begun

    async def is_refused(self) -> None:
        """Wait until writes are refused, and until /health says so."""
        before = self.refused
        await self.reach("no write was refused", lambda: self.refused > before)

        async def is_told() -> bool:
            health = await self.client.get("/health")
            return health.status_code == 503 and health.json()["status"] == "read-only"  # noqa: PLR2004

        if not await until(is_told, PATIENCE_S):
            self.failures.append("/health never said that writes are refused")

    async def reach(self, otherwise: str, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; that it never does is a failure."""

        async def is_reached() -> bool:
            return condition()

        if not await until(is_reached, PATIENCE_S):
            self.failures.append(f"{otherwise} in {PATIENCE_S} s")

    async def read(self) -> None:
        """Ask in every way that a reader has, and for a job that is there."""
        job_id = self._random.choice(sorted(self.acknowledged))
        for path in (
            "/jobs/?limit=5",
            "/engines/",
            f"/jobs/{job_id}",
            f"/jobs/{job_id}/why",
            f"/jobs/{job_id}/events",
            "/jobs/?limit=1&as_of=1",
            "/events?limit=5",
            "/log/checkpoint",
        ):
            answer = await self.client.get(path)
            self.reads += 1
            if answer.status_code != 200:  # noqa: PLR2004
                self.failures.append(f"GET {path} got {answer.status_code}: {answer.text[:200]}")

    def check_log(self, db: Path) -> None:
        """Check that the log is whole and has all that was acknowledged."""
        self.failures += findings_in(db)
        if lost := self.acknowledged - jobs_in(db):
            self.failures.append(f"acknowledged and lost: {sorted(lost)[:5]}, {len(lost)} in all")

    def counted(self) -> dict[str, Any]:
        """Give what a report says of it."""
        return {
            "acknowledged": len(self.acknowledged),
            "refused": self.refused,
            "reads meanwhile": self.reads,
        }
