"""SIGKILL at random moments under full load, restart, over and over.

The dispatcher is a process of its own, its clients and engines real connections. It is killed
while it answers, while it writes a snapshot, while it seals a segment or lets go of its rows, while
it starts (and replays) and while it stops; every time it is started again on the same log,
everything that was answered is looked up.
"""

import asyncio
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path
from random import Random
from typing import Any, Final

from dispatcher.client import Client
from dispatcher.core import events
from dispatcher.evidence.against_server import Served
from dispatcher.evidence.audit import Audit, head_of
from dispatcher.log import decoded
from dispatcher.log.segments import SUFFIX, folder_of
from dispatcher.log.sqlite import SqliteLog
from dispatcher.state.snapshots import Snapshots

from . import Outcome, Tell
from .child import KEY, START_S, Child, NotStartedError, begin, send, started
from .load import Engine, Hand, Ledger, auditor, submitter
from .wire import Wire

__all__ = ["LONG", "SHORT", "run"]

LONG: Final = 200
SHORT: Final = 5

LIVES: Final = 10
"""So often one log's dispatcher is killed; then another log is begun, so that none grows long."""
ENGINES: Final = 10
SUBMITTERS: Final = 4
LONGEST_LOAD_S: Final = 1.0
LONGEST_STOP_S: Final = 0.3
LONGEST_OPENING_S: Final = 0.2
LONGEST_WAIT_S: Final = 5
LONGEST_SEALING_S: Final = 0.1
MOMENTS: Final = {"load": 8, "seal": 4, "start": 3, "stop": 3, "snapshot": 2}
"""When it is killed, and how often each."""


async def run(rounds: int, seed: int, tell: Tell) -> list[Outcome]:
    """Kill so often."""
    began, random = time.monotonic(), Random(seed)  # noqa: S311 - no secret
    counts, failures = Counter[str](), list[str]()
    with tempfile.TemporaryDirectory(prefix="torture-kill-") as directory:
        for first in range(0, rounds, LIVES):
            farm = _Farm(Path(directory) / str(first) / "events.db", random)
            farm.db.parent.mkdir()
            try:
                for cycle in range(first, min(first + LIVES, rounds)):
                    await farm.cycle(_moment(random, cycle))
                    if (cycle + 1) % 5 == 0:
                        tell(f"kill: {cycle + 1} of {rounds}")
                await farm.end()
            except NotStartedError as error:
                farm.ledger.failures.append(str(error))
            failures += [f"cycles from {first} on: {it}" for it in farm.ledger.failures]
            counts += farm.ledger.counts
    claim = (
        "Killed at any moment, it comes back with all it has answered, with what it has not "
        "answered whole or not at all, and with every job in one hand"
    )
    return [Outcome("Kill", claim, rounds, time.monotonic() - began, _facts(counts), failures)]


def _moment(random: Random, cycle: int) -> str:
    if cycle < len(MOMENTS):  # so that a short run has one of each
        return list(MOMENTS)[cycle]
    return random.choices(list(MOMENTS), list(MOMENTS.values()))[0]


def _facts(counts: Counter[str]) -> dict[str, str | int | float]:
    return {
        "killed under load": counts["killed in load"],
        "killed while it wrote a snapshot": counts["killed with half a snapshot"],
        "killed while a segment was written": counts["killed with half a segment"],
        "killed between a segment's file and its row": counts["killed with a file and no row"],
        "killed before all rows of a segment were gone": counts["killed with rows of a segment"],
        "segments in the logs": counts["segments"],
        "killed at a start": counts["killed in start"],
        "killed at a start, with the log open": counts["killed with the log open"],
        "killed after SIGTERM": counts["killed in stop"],
        "submissions acknowledged": counts["submissions acknowledged"],
        "completions acknowledged": counts["completions"],
        "failures acknowledged": counts["failures"],
        "jobs handed out": counts["jobs handed out"],
        "heartbeats acknowledged": counts["heartbeats"],
        "submissions cut off, and there": counts["unacknowledged there"],
        "submissions cut off, and not there": counts["unacknowledged gone"],
        "reports cut off, and repeated": counts["reports repeated"],
        "checkpoints kept": counts["checkpoints kept"],
        "audits against the restarted dispatcher": counts["audits"],
        "events in the logs": counts["events in the logs"],
    }


class _Farm:
    """One log, whose dispatcher is killed again and again, and its clients and engines."""

    def __init__(self, db: Path, random: Random) -> None:
        self.db = db
        self.ledger = Ledger()
        self._random = random
        self._engines = [Engine(f"engine-{n}", self.ledger, random) for n in range(ENGINES)]
        self._start_s = 1.0

    async def cycle(self, moment: str) -> None:
        """Start, look everything up, and kill."""
        self.ledger.counts[f"killed in {moment}"] += 1
        if moment == "start":
            await self._kill_in_start()
            return
        async with self._started() as child:
            await self._examine(child)
            async with self._load(child):
                await self._until(moment, child)
                send(child.process, signal.SIGKILL)
                code = await child.process.wait()
                self._look_at_segments()
                if code != -signal.SIGKILL and not (moment == "stop" and code == 0):
                    self.ledger.failures.append(f"it ended by itself, with {code}")

    async def end(self) -> None:
        """Look everything up once more, and stop as an operator would."""
        async with self._started() as child:
            await self._examine(child)
            send(child.process, signal.SIGTERM)
            if (code := await child.process.wait()) != 0:
                self.ledger.failures.append(f"stopped by SIGTERM, it ended with {code}")
        self.ledger.counts["events in the logs"] += head_of(self.db)
        self.ledger.counts["segments"] += len([*folder_of(self.db).glob(f"*{SUFFIX}")])

    async def _kill_in_start(self) -> None:
        """Kill it anywhere in its start, mostly while it opens the log, replays and listens."""
        process, random = await begin(self.db), self._random
        if random.random() < 0.3:  # noqa: PLR2004
            await asyncio.sleep(random.uniform(0, self._start_s))
        else:
            deadline = time.monotonic() + START_S
            while self._holder() != process.pid and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await asyncio.sleep(random.uniform(0, LONGEST_OPENING_S))
        if process.returncode is not None:
            self.ledger.failures.append(f"it ended in its start, with {process.returncode}")
        self.ledger.counts["killed with the log open"] += self._holder() == process.pid
        send(process, signal.SIGKILL)
        await process.communicate()

    def _holder(self) -> int:
        """Give the process that has the log, or had it last."""
        lock = self.db.with_name(self.db.name + ".lock")
        text = lock.read_text(encoding="utf-8").strip() if lock.exists() else ""
        return int(text or 0)

    async def _until(self, moment: str, child: Child) -> None:
        """Wait for the moment to kill it."""
        await asyncio.sleep(self._random.uniform(0.05, LONGEST_LOAD_S))
        if moment == "stop":
            send(child.process, signal.SIGTERM)
            await asyncio.sleep(self._random.uniform(0, LONGEST_STOP_S))
        elif moment == "snapshot":
            # A snapshot is made whole under another name: kill while that stands there.
            drafts, deadline = self._drafts(), time.monotonic() + LONGEST_WAIT_S
            while time.monotonic() < deadline:
                if self._drafts() - drafts:
                    self.ledger.counts["killed with half a snapshot"] += 1
                    break
                await asyncio.sleep(0)
        elif moment == "seal":
            # Seconds may pass until the process that seals has started.
            before, deadline = self._segments(), time.monotonic() + 4 * LONGEST_WAIT_S
            while self._segments() == before and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.001)  # it has a low priority
            await asyncio.sleep(self._random.uniform(0, LONGEST_SEALING_S))

    def _segments(self) -> set[str]:
        """Give the names of the segments, and of those that are being written."""
        return {it.name for it in folder_of(self.db).glob(f"*{SUFFIX}*")}

    def _look_at_segments(self) -> None:
        """Count the steps of sealing at which it was killed."""
        with closing(sqlite3.connect(f"{self.db.as_uri()}?mode=ro", uri=True)) as connection:
            sealed, upto = connection.execute("SELECT count(*), max(upto) FROM sealed").fetchone()
            (first,) = connection.execute("SELECT min(seq) FROM events").fetchone()
        names = [it.name for it in folder_of(self.db).glob("*")]
        files = sum(it.endswith(SUFFIX) for it in names)
        self.ledger.counts["killed with half a segment"] += any(".new" in it for it in names)
        self.ledger.counts["killed with a file and no row"] += files > sealed
        self.ledger.counts["killed with rows of a segment"] += sealed > 0 and first <= upto

    def _drafts(self) -> set[Path]:
        """Give the snapshots that are being written, and those that nobody finished."""
        return set(Snapshots(self.db).directory.glob("*.new"))

    @asynccontextmanager
    async def _load(self, child: Child) -> AsyncIterator[None]:
        wires = [await Wire.to(child.port, KEY) for _ in range(ENGINES + SUBMITTERS + 1)]
        ledger, random = self.ledger, self._random
        work = [it.work(wire) for it, wire in zip(self._engines, wires, strict=False)]
        for number, wire in enumerate(wires[ENGINES:-1]):
            work.append(submitter(wire, f"{number}", ledger, random))
        work.append(auditor(wires[-1], ledger))
        try:
            async with asyncio.TaskGroup() as tasks:
                for one in work:
                    tasks.create_task(one)
                yield
        finally:
            for wire in wires:
                wire.close()

    async def _examine(self, child: Child) -> None:
        """Hold what the dispatcher shows, and what stands in its log, against the ledger."""
        ledger = self.ledger
        async with Client(f"http://127.0.0.1:{child.port}", KEY) as client:
            await self._resume_key(child)
            served = await Served.ask(client, self.db, ledger.verifier_key)
            audit = Audit(self.db, ledger.checkpoints, served.looks())
            audit.run()
            found = [*audit.findings, *await served.findings(audit.tree)]
        ledger.failures += [str(it) for it in found]
        jobs: list[dict[str, Any]] = served.jobs[1]
        retried = dict(ledger.unsure)
        ledger.failures += ledger.check(jobs)
        recorded = await self._recorded()
        ledger.failures += self._wrong_hands({job["job_id"]: job for job in jobs}, recorded)
        ledger.counts["audits"] += 1
        await self._submit_again(child, retried)

    async def _resume_key(self, child: Child) -> None:
        wire = await Wire.to(child.port, KEY)
        key = (await wire.ask("GET", "/log/key")).body.decode().strip()
        wire.close()
        if self.ledger.verifier_key not in {"", key}:
            self.ledger.failures.append("the log has another key than before")
        self.ledger.verifier_key = key

    async def _submit_again(self, child: Child, unsure: dict[str, dict[str, Any]]) -> None:
        """Repeat what was not answered, with its Idempotency-Key; it must not be there twice."""
        wire, ledger = await Wire.to(child.port, KEY), self.ledger
        for source, fields in unsure.items():
            answer = await wire.ask("POST", "/jobs/", fields, {"Idempotency-Key": source})
            known = ledger.submitted.get(source, answer.json())
            if answer.json()["job_id"] != known["job_id"]:
                ledger.failures.append(f"{source} was there, and repeating it made another job")
            ledger.submitted[source] = known
            ledger.gone.discard(source)
        wire.close()

    async def _recorded(self) -> list[events.Recorded]:
        log = await SqliteLog.open_for_reading(self.db)
        try:
            async with aclosing(log.entries()) as pages:
                return [it async for page in pages for it in decoded(page)]
        finally:
            await log.close()

    def _wrong_hands(
        self, jobs: dict[str, dict[str, Any]], recorded: list[events.Recorded]
    ) -> Iterator[str]:
        """Follow every job from hand to hand."""
        holders, handed, failed = dict[str, str](), dict[Hand, str](), set[Hand]()
        for it in recorded:
            match it.event:
                case events.JobAssigned(job_id=job_id, engine_id=engine, attempt=attempt):
                    if job_id in holders:
                        yield f"seq {it.seq}: {job_id} goes to {engine}; {holders[job_id]} has it"
                    holders[job_id] = handed[job_id, attempt] = engine
                case events.JobCompleted(job_id=job_id):
                    holders.pop(job_id, None)
                case events.JobRequeued() | events.JobFailedPermanently() as event:
                    holders.pop(event.job_id, None)
                    failed.add((event.job_id, event.attempt))
                case _:
                    pass
        for hand, engine in self.ledger.handed.items():
            if handed.get(hand) != engine:
                yield f"{hand} was handed to {engine}; by the log to {handed.get(hand)}"
        for hand in self.ledger.failed - failed:
            yield f"the failure of {hand} was acknowledged, and is not in the log"
        for one in self._engines:
            if one.hand is not None and one.report is None:
                job_id, attempt = one.hand
                job = jobs.get(job_id, {})
                if (job.get("assigned_engine"), job.get("attempt")) != (one.name, attempt):
                    yield f"{one.name} has {one.hand}; it is shown as {job}"

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[Child]:
        began = time.monotonic()
        async with started(self.db) as child:
            self._start_s = time.monotonic() - began
            yield child
        self.ledger.failures += [f"it said: {it}" for it in child.said if "ERROR" in it]
