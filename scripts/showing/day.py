"""The past of a busy farm, as the dispatcher's own rules make it, written to a log.

Engines beat, take jobs and finish them, and now and then one goes wrong: one fails everything until
it is blocked, one falls silent with its job, one is drained. The same options give the same day, up
to the moment at which it ends.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from dispatcher.core import commands
from dispatcher.core.commands import Command
from dispatcher.core.decider import decide
from dispatcher.core.events import Recorded
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.core.policy import DEFAULT_POLICY
from dispatcher.core.replies import JobIs, Reply
from dispatcher.log import serialization
from dispatcher.log.sqlite import SqliteLog

__all__ = ["CODECS", "FILMS", "Plan", "failure_of", "film", "name_of", "report_of", "write"]

BATCH: Final = 1_000
CODECS: Final = ("h264", "hevc", "av1", "vp9")
COST: Final = {"h264": 0.6, "hevc": 1.3, "av1": 2.2, "vp9": 1.6}
"""Seconds that a middling engine needs for a MB of source."""
FILMS: Final = (
    "Ferien Übung", "interview-take-3", "Tagesschau 2026-11-26", "drone_over_lake", "CAM4_0187",
    "wedding-final-FINAL", "lecture 12, graphs", "Ølympus teaser", "match-highlights", "Żółta łódź",
    "podcast_ep_204", "archive-reel-0093", "news-2100", "trailer v7", "keynote (raw)", "kitchen-b",
)  # fmt: skip
FAILURES: Final = (
    ("source_bad", "the source ends after 6 of 10 s: it was cut off"),
    ("source_bad", "no video stream: the source is no media file"),
    ("reported", "ffmpeg: Error while decoding stream #0:0: Invalid data found"),
)
SICK: Final = "the GPU has fallen off the bus: CUDA_ERROR_UNKNOWN"


class Plan(NamedTuple):
    """How large the farm is, and how long its past. At least `waiting` jobs wait at its end."""

    engines: int = 12
    hours: float = 26.0
    beat_s: float = 30.0
    mean_mb: float = 500.0
    waiting: int = 0
    seed: int = 7


@dataclass
class _Machine:
    """An engine, and the job that it holds."""

    name: str
    speed: float
    job_id: str | None = None
    attempt: int = 0
    codec: str = ""
    began: datetime | None = None
    takes_s: float = 0.0
    is_sick: bool = False
    is_silent: bool = False
    reports: dict[str, Any] = field(default_factory=dict)


class _Day:
    """The fleet as it changes, and the events that changed it."""

    def __init__(self, plan: Plan, end: datetime) -> None:
        self._plan, self._random = plan, Random(plan.seed)  # noqa: S311 - a story, no secret
        self._end, self._now = end, end - timedelta(hours=plan.hours)
        self._begin = self._now
        self._fleet = Fleet()
        self._happened: list[Recorded] = []
        self._seq = 0
        self._due: list[tuple[datetime, int]] = []
        self._machines = [self._machine(number) for number in range(1, plan.engines + 1)]

    def _machine(self, number: int) -> _Machine:
        name = name_of(number)
        speed = self._random.uniform(0.6, 1.6)
        heappush(self._due, (self._begin + timedelta(seconds=number * 0.1), number - 1))
        return _Machine(name, speed, reports=report_of(number, speed))

    def events(self) -> Iterator[Recorded]:
        """Yield what happens until the end."""
        next_job = self._begin
        while self._due[0][0] < self._end:
            self._now, number = heappop(self._due)
            while next_job <= self._now:
                self._submit()
                next_job += self._pause()
            self._beat(self._machines[number])
            again_s = self._plan.beat_s * self._random.uniform(0.95, 1.05)
            heappush(self._due, (self._now + timedelta(seconds=again_s), number))
            yield from self._told()
        self._now = self._end
        while sum(1 for _ in self._fleet.queue) < self._plan.waiting:
            self._submit()
        yield from self._told()

    def _told(self) -> Iterator[Recorded]:
        yield from self._happened
        self._happened.clear()

    def _do(self, command: Command, actor: str) -> Reply:
        decision = decide(self._fleet, command, self._now, DEFAULT_POLICY)
        for event in decision.events:
            evolve(self._fleet, event)
            self._seq += 1
            self._happened.append(Recorded(self._seq, self._now, actor, event, None))
        return decision.reply

    def _pause(self) -> timedelta:
        """Pause so long that the engines are at work most of the day, and less at night."""
        hour = self._now.hour + self._now.minute / 60
        load = 0.75 + 0.3 * math.sin((hour - 9) / 24 * 2 * math.pi)
        a_job_s = 1.35 * self._plan.mean_mb * sum(COST.values()) / len(COST)
        return timedelta(
            seconds=self._random.expovariate(1.0) * a_job_s / self._plan.engines / load
        )

    def _submit(self) -> None:
        source, codec = film(self._random, self._seq), self._random.choice(CODECS)
        size_mb = round(self._random.lognormvariate(math.log(self._plan.mean_mb), 0.6), 1)
        priority = self._random.choice([0, 0, 0, 0, 20, 80])
        self._do(commands.SubmitJob(None, source, codec, size_mb, 3, priority), "studio")

    def _beat(self, machine: _Machine) -> None:
        """Let an engine say how it is, and finish or take a job."""
        left_s = (self._end - self._now).total_seconds()
        self._go_wrong(machine, left_s)
        if machine.is_silent:
            return
        done = self._done_of(machine)
        progress = None if machine.job_id is None else round(100 * min(done, 1.0), 1)
        attempt = None if machine.job_id is None else machine.attempt
        report = machine.reports | {"status": "idle" if machine.job_id is None else "busy"}
        heartbeat = commands.ReportHeartbeat(
            machine.name, report, machine.job_id, attempt, progress
        )
        self._do(heartbeat, machine.name)
        if machine.job_id is not None and (done >= 1 or (machine.is_sick and done > 0.05)):  # noqa: PLR2004
            self._answer(machine)
        if machine.job_id is None:
            self._take(machine)

    def _go_wrong(self, machine: _Machine, left_s: float) -> None:
        """Near the end of the day let one engine fall ill, one silent, and have one drained."""
        minutes = left_s / 60
        if machine.name == name_of(11):
            machine.is_sick = minutes < 7  # noqa: PLR2004
        elif machine.name == name_of(9) and minutes < 22 and not machine.is_silent:  # noqa: PLR2004
            machine.is_silent = True
        elif machine.name == name_of(9) and machine.is_silent:
            self._do(commands.LoseEngine(machine.name, 60.0), "dispatcher")
        elif machine.name == name_of(5) and minutes < 15:  # noqa: PLR2004
            self._do(commands.DrainEngine(machine.name), "olga")

    def _done_of(self, machine: _Machine) -> float:
        """Return how much of its job an engine has done: 1 is all."""
        if machine.began is None:
            return 0.0
        return (self._now - machine.began).total_seconds() / machine.takes_s

    def _take(self, machine: _Machine) -> None:
        reply = self._do(commands.AssignJob(machine.name), machine.name)
        if isinstance(reply, JobIs):
            job = self._fleet.jobs[reply.job_id]
            machine.job_id, machine.attempt, machine.codec = job.job_id, job.attempt, job.codec
            machine.began = self._now
            machine.takes_s = max(20.0, job.size_mb * COST[job.codec] / machine.speed)

    def _answer(self, machine: _Machine) -> None:
        assert machine.job_id is not None  # noqa: S101 - it has one
        cause, error = (
            failure_of(self._random) if not machine.is_sick else ("engine_at_fault", SICK)
        )
        if machine.is_sick or self._random.random() < 0.02:  # noqa: PLR2004
            self._do(
                commands.FailJob(
                    machine.job_id,
                    error,
                    machine.name,
                    machine.attempt,
                    cause=cause,  # type: ignore[arg-type]
                ),
                machine.name,
            )
        else:
            output = f"http://out.example/{machine.job_id}.{machine.codec}.mp4"
            result = self._result(machine)
            self._do(
                commands.CompleteJob(
                    machine.job_id, output, machine.name, machine.attempt, result=result
                ),
                machine.name,
            )
        machine.job_id = machine.began = None

    def _result(self, machine: _Machine) -> dict[str, Any]:
        length_s = machine.takes_s * machine.speed * 2
        size = int(length_s * 700_000)
        return {
            "encoder": f"lib{machine.codec}",
            "crf": self._random.choice([19, 21, 23, 28]),
            "vmaf": round(self._random.uniform(90, 98), 1),
            "source": {"size_bytes": size * 3, "length_s": round(length_s, 2)},
            "output": {"size_bytes": size, "length_s": round(length_s, 2)},
            "kept": ["video 1920x1080 25 fps", "sound de stereo", "subtitles de"],
            "left_out": self._random.choice([[], [], ["sound en 5.1"]]),
            "speed": round(2 * machine.speed, 2),
        }


def name_of(number: int) -> str:
    """Return an engine's id."""
    return f"farm-{number:02d}"


def report_of(number: int, speed: float) -> dict[str, Any]:
    """Return what an engine tells of itself."""
    return {
        "engine_type": "ffmpeg",
        "supported_codecs": [*CODECS] if number % 4 else ["h264", "hevc"],
        "storage_capacity_gb": 200.0 + 50 * (number % 5),
        "streaming_support": bool(number % 3),
        "benchmark_time": round(10 / speed, 2),
        "hostname": f"rack{(number - 1) // 6 + 1}-{number:02d}.farm.example",
        "ffmpeg_version": "5.1.9",
    }


def film(random: Random, number: int) -> str:
    """Return the address of a film."""
    name = quote(random.choice(FILMS))
    return f"http://media.example/2026/{number % 28 + 1:02d}/{name}.{random.choice(['mp4', 'mov'])}"


def failure_of(random: Random) -> tuple[str, str]:
    """Return the cause of a failure, and what the engine says of it."""
    return random.choice(FAILURES)


async def write(db: Path, plan: Plan, end: datetime, events: int | None = None) -> int:
    """Write a day that ends now, or its first `events`, to a new log; return their number."""
    happened = islice(_Day(plan, end).events(), events)
    written = 0
    async with await SqliteLog.open(db) as log:
        while batch := [serialization.encode(it) for it in islice(happened, BATCH)]:
            await log.append(batch, written)
            written += len(batch)
    return written
