"""Logs that the core really wrote, long enough for any purpose, and their trees."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Final

from dispatcher.core import commands
from dispatcher.core.commands import Command
from dispatcher.core.decider import decide
from dispatcher.core.events import Recorded
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.core.policy import Policy
from dispatcher.log import serialization
from dispatcher.log.merkle import Frontier, leaf_hash
from dispatcher.log.serialization import LogEntry
from dispatcher.log.sqlite import SqliteLog
from tests.support.given import START

__all__ = ["POLICY", "genuine", "roots", "wish", "written"]

ENGINES: Final = ["x", "y", "z", "é"]
POLICY: Final = Policy(retry_backoff_s=30.0, block_after=2)
BATCH: Final = 7


def genuine(size: int, seed: int = 0) -> list[Recorded]:
    """Let a farm work at random until its log has `size` events or a few more."""
    random, fleet, at, log = Random(seed), Fleet(), START, list[Recorded]()
    while len(log) < size:
        at += timedelta(seconds=random.choice([0.001, 1, 20, -5]))
        outcome = decide(fleet, wish(random, fleet), at, POLICY)
        for event in outcome.events:
            evolve(fleet, event)
            request_id = random.choice([None, f"request {len(log)}"])
            log.append(Recorded(len(log) + 1, at, "tester", event, request_id))
    return log


def wish(random: Random, fleet: Fleet) -> Command:
    """Wish for something at random, often for what is possible."""
    engine_id = random.choice(ENGINES)
    job_id = random.choice([*fleet.jobs, "none"])
    return random.choice(list(_wishes(random, fleet, engine_id, job_id)))


def _wishes(random: Random, fleet: Fleet, engine_id: str, job_id: str) -> Iterator[Command]:
    number, codec_name = len(fleet.jobs), random.choice(["h264", "vp9"])
    for _ in range(4):
        yield commands.SubmitJob(f"job {number}", f"http://media/{number}.mp4", codec_name)
    yield commands.ReportHeartbeat(engine_id, {"status": random.choice(["idle", "busy"])})
    yield commands.ReportHeartbeat(engine_id, {"instance": str(random.randrange(3))})
    yield commands.ReportBenchmark(engine_id, random.randrange(9))
    for _ in range(3):
        yield commands.ReportHeartbeat(engine_id, {})
        yield commands.AssignJob(random.choice([None, engine_id]))
    yield commands.FailJob(job_id, "broke", engine_id, 1)
    yield commands.CancelJob(job_id)
    yield commands.RetryJob(job_id)
    yield commands.PrioritizeJob(job_id, random.randrange(9))
    yield commands.LoseEngine(engine_id, 60.0)
    yield commands.DrainEngine(engine_id)
    yield commands.ResumeEngine(engine_id)
    yield commands.ForgetEngine(engine_id)
    for job in [job for job in fleet.jobs.values() if job.holder is not None]:
        whose = (job.holder, job.attempt)
        yield commands.CompleteJob(job.job_id, f"http://media/{job.attempt}.out", *whose)
        yield commands.FailJob(job.job_id, "broke", *whose)
        yield commands.TimeOutJob(job.job_id, job.attempt, 60.0)
        yield commands.ReportHeartbeat(
            job.holder or "", {}, job.job_id, job.attempt, random.choice([1.0, 50.0])
        )
    for paused in [paused for paused in fleet.queue if paused in fleet.queue.paused]:
        yield commands.ReleaseJob(paused)


async def written(path: Path, log: Sequence[Recorded]) -> list[LogEntry]:
    """Write events to a new log, in batches; gives its entries."""
    entries = [serialization.encode(recorded) for recorded in log]
    async with await SqliteLog.open(path) as opened:
        for first in range(0, len(entries), BATCH):
            await opened.append(entries[first : first + BATCH], first)
    return entries


def roots(entries: Sequence[LogEntry]) -> list[bytes]:
    """Give the root of the tree for each number of entries, from none to all."""
    frontier = Frontier()
    found = [frontier.root()]
    for entry in entries:
        frontier.append(leaf_hash(serialization.line(entry)))
        found.append(frontier.root())
    return found
