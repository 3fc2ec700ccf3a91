"""A farm at work for days, in minutes: what the engines and clients of one would ask a dispatcher.

python -m benching.years_farm LOG SEGMENT_EVENTS

Reads numbers of events from its input, a line each. It works until the log has so many and all that
can be sealed is sealed, closes the log, and prints what it took as a line of JSON.

The service is the real one, with its log, segments, index and snapshots. Only HTTP is left out, and
the time is the farm's.
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final

import uvloop

from dispatcher.core.commands import (
    AssignJob,
    Caller,
    Command,
    CompleteJob,
    FailJob,
    ReportHeartbeat,
    SubmitJob,
)
from dispatcher.core.dispatcher import Settle
from dispatcher.core.replies import JobIs, Reply
from dispatcher.log.sqlite import SqliteLog
from dispatcher.serving.as_of import Past
from dispatcher.serving.sealing import MARGIN, Sealing
from dispatcher.serving.service import Service

ENGINES: Final = 500
BEAT_S: Final = 10
JOBS_A_DAY: Final = 100_000
DAY_S: Final = 86_400
LASTS_S: Final = (200, 400)
"""How long a job takes: so 500 engines are busy for two thirds of the time."""
FAILING: Final = 0.02
LEVEL: Final = 9
"""How hard segments are compressed: an hour of the farm takes seconds here, not an hour."""
BEGINS: Final = datetime(2026, 1, 1, tzinfo=UTC)
LOOK_S: Final = 0.2
CODECS: Final = ("h264", "hevc", "av1", "vp9")


def _reply(settle: Settle, _: object) -> Reply:
    return settle.reply


class Farm:
    """500 engines that beat every ten seconds, and clients that submit 100,000 jobs a day."""

    def __init__(self) -> None:
        self.now = BEGINS
        self._random = Random("a farm")  # noqa: S311 - no secret
        self._requests = count(1)
        self._jobs: dict[str, tuple[str, datetime]] = {}
        self._owed = 0.0
        self._submitted = count()
        self._free_gb = dict.fromkeys((f"engine-{n}" for n in range(ENGINES)), 800.0)

    def seconds(self) -> float:
        """Return the farm's time as a clock that nobody sets."""
        return (self.now - BEGINS).total_seconds()

    async def beat(self, service: Service) -> None:
        """Do all that is done in ten seconds."""
        await self._ask(service, [(it, self._report(it)) for it in self._free_gb])
        await self._ask(service, [self._ended(it) for it in self._free_gb if self._is_done(it)])
        self._owed += JOBS_A_DAY * BEAT_S / DAY_S
        await self._ask(service, [self._submission() for _ in range(int(self._owed))])
        self._owed %= 1
        waiting = len(service._core.fleet.queue)  # noqa: SLF001 - others would wait in a long poll
        idle = [it for it in self._free_gb if it not in self._jobs][:waiting]
        given = await self._ask(service, [(it, AssignJob(it)) for it in idle])
        for engine, reply in zip(idle, given, strict=True):
            if isinstance(reply, JobIs):
                lasts = timedelta(seconds=self._random.uniform(*LASTS_S))
                self._jobs[engine] = reply.job_id, self.now + lasts

    async def _ask(self, service: Service, asked: Sequence[tuple[str, Command]]) -> list[Reply]:
        step = timedelta(seconds=BEAT_S / 4 / max(1, len(asked)))
        answers = []
        for name, command in asked:
            self.now += step
            caller = Caller(name, f"0123456789abcdef{next(self._requests):016x}")
            answers.append(service.execute(command, caller, _reply))
        return await asyncio.gather(*answers)

    def _is_done(self, engine: str) -> bool:
        return engine in self._jobs and self._jobs[engine][1] <= self.now

    def _ended(self, engine: str) -> tuple[str, Command]:
        job_id, _ = self._jobs.pop(engine)
        self._free_gb[engine] = 800 - self._random.uniform(0, 4)
        if self._random.random() < FAILING:
            return engine, FailJob(job_id, "ffmpeg ended with 1: Conversion failed!", engine)
        result = {"encoder": "libx264", "speed": round(self._random.uniform(1, 9), 2)}
        return engine, CompleteJob(job_id, f"file:///out/{job_id}.mp4", engine, result=result)

    def _submission(self) -> tuple[str, Command]:
        number = next(self._submitted)
        return "client", SubmitJob(
            None,
            f"file:///media/films/2026/{number // 1_000}/{number}.mov",
            CODECS[number % len(CODECS)],
            job_size=round(self._random.uniform(50, 4_000), 1),
        )

    def _report(self, engine: str) -> ReportHeartbeat:
        report: dict[str, Any] = {
            "engine_type": "transcoder",
            "supported_codecs": list(CODECS),
            "status": "busy" if engine in self._jobs else "idle",
            "storage_capacity_gb": round(self._free_gb[engine] + self._random.uniform(-1, 1), 1),
            "streaming_support": True,
            "benchmark_time": 4.2,
        }
        job_id = self._jobs[engine][0] if engine in self._jobs else None
        return ReportHeartbeat(engine, report, job_id)


async def work(farm: Farm, db: Path, segment_events: int, upto: int) -> dict[str, float]:
    """Work until the log has `upto` events, and return what that took."""
    log = await SqliteLog.open(db)
    sealing = Sealing(log, segment_events, LEVEL)
    service = Service(log, clock=lambda: farm.now, past=Past(db), sealing=sealing)
    service._now_s = farm.seconds  # noqa: SLF001 - leases are of the farm's time, too
    await service.start()
    before, began_cpu_s = log.head, time.process_time()
    while log.head < upto:
        await farm.beat(service)
    cpu_s, events = time.process_time() - began_cpu_s, log.head - before
    unsealed = segment_events + segment_events // MARGIN
    while log.head - log.sealed_upto >= unsealed:  # noqa: ASYNC110 - a worker process seals
        await asyncio.sleep(LOOK_S)
    await service.close()
    await log.close()
    return {
        "events": log.head,
        "sealed": log.sealed_upto,
        "days": farm.seconds() / DAY_S,
        "cpu_us": cpu_s / events * 1e6,
    }


async def main(db: Path, segment_events: int) -> None:
    """Answer each line of the input."""
    farm = Farm()
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await work(farm, db, segment_events, int(line))), flush=True)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2])))
