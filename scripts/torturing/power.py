"""The power fails: at a random operation of the disk, what was not synced is lost in part.

The log's own code writes, on a disk that forgets (`volatile`): its creation, its appends, its
checkpoints, its segments, the deletion of the rows that are in them, and its recovery from the last
time. What survives is opened by that same code on a
real disk. Then the same once more, with one word changed: `synchronous=NORMAL` must lose what was
acknowledged, or all of this sees nothing. So must a disk on which nobody syncs the segments. And
once more with a process that is killed first: its
unsynced writes are still in the system's cache, and the next process reads them from there. What
that one shows, and answers repetitions with, must survive too.
"""

import shutil
import tempfile
import time
from collections import Counter
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final, NamedTuple
from unittest.mock import patch

from dispatcher.core import commands
from dispatcher.core.decider import decide
from dispatcher.core.events import Recorded
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.core.policy import DEFAULT_POLICY
from dispatcher.evidence.audit import Audit
from dispatcher.log import LogError, releasing, serialization
from dispatcher.log.segments.sealing import write_segment
from dispatcher.log.serialization import LogEntry
from dispatcher.log.sqlite import SqliteLog
from dispatcher.state.replay import replay

from . import Outcome, Tell
from .vfs import mounted
from .volatile import Disk

__all__ = ["AFTER_A_KILL", "FULL", "LONG", "NORMAL", "SHORT", "UNSYNCED", "Trial", "run", "tried"]

LONG: Final = 1_000
SHORT: Final = 40

LIVES: Final = 8
"""So often the power of one log fails, each time over what the last time left."""
BATCHES: Final = 12
SEGMENT_EVENTS: Final = 256
RELEASED_ROWS: Final = 64
COMMANDS: Final = 60
"""In a batch, at most."""
CHECKPOINT_PAGES: Final = (2, 8, 32)
"""Pages in the WAL at which SQLite moves them into the file; by default 1,000."""
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
ENGINES: Final = ("a", "b", "c", "d")


async def run(rounds: int, seed: int, tell: Tell) -> list[Outcome]:
    """Try all four, with as many power cuts each."""
    return [
        await tried(FULL, rounds, seed, tell),
        await tried(NORMAL, rounds, seed, tell),
        await tried(UNSYNCED, rounds, seed, tell),
        await tried(AFTER_A_KILL, rounds, seed, tell),
    ]


class Trial(NamedTuple):
    """What is claimed, with which `PRAGMA synchronous`; `must_lose` if it has to be broken."""

    name: str
    claim: str
    synchronous: str = "FULL"
    is_killed_first: bool = False
    syncs_segments: bool = True
    must_lose: bool = False


FULL: Final = Trial("Power", "Nothing acknowledged is lost when the power fails")
NORMAL: Final = Trial(
    "Power, synchronous=NORMAL",
    "The same run with NORMAL loses acknowledged events, so the run above can see it",
    synchronous="NORMAL",
    must_lose=True,
)
UNSYNCED: Final = Trial(
    "Power, segments not synced",
    "The same run loses events if the files of segments are not synced, so it can see that too",
    syncs_segments=False,
    must_lose=True,
)
AFTER_A_KILL: Final = Trial(
    "Kill, start, power",
    "Nothing that it shows after a kill and a start is lost when the power fails then",
    is_killed_first=True,
)


async def tried(trial: Trial, points: int, seed: int, tell: Tell) -> Outcome:
    """Have the power fail at so many points."""
    began = time.monotonic()
    torture = _Torture(trial, Random(seed))  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory(prefix="torture-power-") as directory:
        for point in range(points):
            if point % LIVES == 0:
                torture.begin(Path(directory) / str(point))
            await torture.cut(point)
            if (point + 1) % 50 == 0:
                tell(f"{trial.name}: {point + 1} of {points} cuts")
    failures = torture.failures
    if not trial.must_lose:
        failures += [f"point {it}: acknowledged events were lost" for it in torture.lost_at]
    elif not torture.lost_at:
        failures.append(f"nothing was lost at {points} points: the harness is blind")
    facts, seconds = torture.facts(), time.monotonic() - began
    return Outcome(trial.name, trial.claim, points, seconds, facts, failures)


class _Torture:
    """One log after another, whose power fails again and again."""

    def __init__(self, trial: Trial, random: Random) -> None:
        self.lost_at: list[int] = []
        self.failures: list[str] = []
        self._trial = trial
        self._random = random
        self._home = self._directory = Path()
        self._lines: list[bytes] = []  # what the log is to hold, in order
        self._ends: set[int] = set()  # where batches end
        self._acknowledged = 0
        self._is_made = False  # whether `open` has returned
        self._counts: Counter[str] = Counter()

    def facts(self) -> dict[str, str | int | float]:
        """Give what was counted."""
        counts = self._counts
        lost = f"{len(self.lost_at)} points, {counts['events lost']} events"
        cuts = ", ".join(
            f"{counts[key]} at {key.removeprefix('cut at ')}"
            for key in sorted(counts, key=lambda it: -counts[it])
            if key.startswith("cut at ")
        )
        return {
            "lost": lost,
            "events acknowledged": counts["events acknowledged"],
            "batches acknowledged": counts["batches acknowledged"],
            "batches cut that were there whole": counts["unacknowledged there"],
            "batches cut that were not there": counts["unacknowledged gone"],
            "cuts": cuts,
            "cuts before the log was made": counts["before it was made"],
            "cuts while it sealed": counts["cuts while it sealed"],
            "segments sealed": counts["segments sealed"],
            "deletions of rows in segments": counts["releases"],
            "unsynced writes at the cuts": counts["unsynced"],
            "syncs": counts["syncs"],
        }

    def begin(self, home: Path) -> None:
        """Take a new log."""
        if self._home != Path():
            shutil.rmtree(self._home)
        self._home, self._directory = home, home / "0"
        self._directory.mkdir(parents=True)
        self._lines, self._ends, self._acknowledged, self._is_made = [], {0}, 0, False

    async def cut(self, point: int) -> None:
        """Write until the power fails, and look at what survives."""
        disk = Disk(self._directory, "events.db.segments")
        pages, word = self._random.choice(CHECKPOINT_PAGES), self._trial.synchronous

        def translate(sql: str) -> str:
            # To set it here is to set it on the writer's connection alone.
            told = f"PRAGMA wal_autocheckpoint={pages}; PRAGMA synchronous={word}"
            return told if sql == "PRAGMA synchronous=FULL" else sql

        with (
            mounted(disk, translate, syncs_inner=self._trial.syncs_segments),
            patch.object(releasing, "RELEASED_ROWS", RELEASED_ROWS),
        ):
            try:
                await self._write(disk)
            except (LogError, OSError) as error:
                if disk.is_on and self._trial.must_lose:
                    self.lost_at.append(point)
                elif disk.is_on:
                    self.failures.append(f"point {point}: {error}")
            disk.cut()
            if self._trial.is_killed_first:
                disk.resume()
                await self._show(disk)
        self._counts[f"cut at {disk.cut_by}"] += 1
        self._counts["unsynced"] += disk.unsynced_writes
        self._counts["syncs"] += disk.syncs
        self._counts["before it was made"] += not self._is_made
        self._directory = self._home / str(point + 1)
        self._directory.mkdir()
        for name, content in disk.survivors(self._random).items():
            (self._directory / name).parent.mkdir(exist_ok=True)
            (self._directory / name).write_bytes(content)
        await self._examine(point)

    async def _write(self, disk: Disk) -> None:
        """Append batches until the power fails, at the latest when all have been."""
        random = self._random
        batches = random.randint(1, BATCHES)
        cut_in = random.randint(-1, batches)  # -1: while it is opened; the last: while it is closed
        if cut_in == -1:
            _arm(disk, random)
        log = await SqliteLog.open(self._directory / "events.db")
        self._is_made = True
        try:
            fleet = (await replay(log)).fleet
            for number in range(batches):
                is_cut_in_sealing = random.random() < 0.5  # noqa: PLR2004 - else before
                if number == cut_in and not is_cut_in_sealing:
                    _arm(disk, random)
                batch = _batch(fleet, log.head, random)
                self._lines += map(serialization.line, batch)
                self._ends.add(len(self._lines))
                await log.append(batch, log.head)
                self._acknowledged = len(self._lines)
                self._counts["batches acknowledged"] += 1
                self._counts["events acknowledged"] += len(batch)
                if number == cut_in and is_cut_in_sealing:
                    _arm(disk, random)
                try:
                    await self._seal(log)
                finally:
                    self._counts["cuts while it sealed"] += not disk.is_on
            if cut_in == batches and random.random() < 0.5:  # noqa: PLR2004 - else it is closed
                _arm(disk, random)
            else:
                disk.cut()
        finally:
            await log.close()

    async def _seal(self, log: SqliteLog) -> None:
        """Take some steps of sealing, or none, as a dispatcher does between its commits."""
        segment = await log.unsealed(SEGMENT_EVENTS, 1)
        if segment is not None and self._random.random() < 0.7:  # noqa: PLR2004
            await log.seal(write_segment(log.path, segment, 1))
            self._counts["segments sealed"] += 1
        for _ in range(self._random.randrange(4)):
            self._counts["releases"] += await log.release()

    async def _show(self, disk: Disk) -> None:
        """Be the next process, which shows all that it finds; then the power fails."""
        async with await SqliteLog.open(self._directory / "events.db") as log:
            self._is_made, self._acknowledged = True, log.head
            disk.cut()

    async def _examine(self, point: int) -> None:
        """Open a copy of what survived, with the log's own code on a real disk."""
        copy = self._home / "copy"
        shutil.copytree(self._directory, copy)
        try:
            survived = await self._surviving(copy / "events.db", point)
        except (LogError, OSError) as error:
            if self._trial.must_lose:
                self.lost_at.append(point)
            else:
                self.failures.append(f"point {point}: can't be opened again: {error}")
            self.begin(self._home.with_name(f"after-{point}"))
            return
        finally:
            shutil.rmtree(copy, ignore_errors=True)
        if survived < self._acknowledged:
            self.lost_at.append(point)
            self._counts["events lost"] += self._acknowledged - survived
        elif len(self._lines) > self._acknowledged:
            fate = "there" if survived > self._acknowledged else "gone"
            self._counts[f"unacknowledged {fate}"] += 1
        self._ends = {end for end in self._ends if end <= survived}
        del self._lines[survived:]
        self._acknowledged = survived

    async def _surviving(self, path: Path, point: int) -> int:
        """Give how many events survived; what is wrong with them is a failure."""
        if self._is_made and not path.exists():
            self.failures.append(f"point {point}: the log is not there any more")
        log = await SqliteLog.open(path)
        try:
            lines: list[bytes] = []
            async with aclosing(log.entries()) as pages:
                async for page in pages:
                    lines += map(serialization.line, page)
            if lines != self._lines[: len(lines)]:
                self.failures.append(f"point {point}: the events are not those that were appended")
            if len(lines) not in self._ends:
                self.failures.append(f"point {point}: a batch is there in part")
            # It has to be good for more than reading.
            await log.append(_batch((await replay(log)).fleet, log.head, self._random), log.head)
        finally:
            await log.close()
        audit = Audit(path)
        audit.run()
        if self._trial.must_lose and audit.findings:
            raise LogError(f"the log is damaged: {next(iter(audit.findings))}")
        self.failures += [f"point {point}: {finding}" for finding in audit.findings]
        return len(lines)


def _arm(disk: Disk, random: Random) -> None:
    """Have the power fail soon: at one of the next syncs, or anywhere between them."""
    if random.random() < 0.5:  # noqa: PLR2004 - either
        disk.cut_after_syncs(random.randrange(6))
    else:
        disk.cut_after(random.randrange(30))


def _batch(fleet: Fleet, head: int, random: Random) -> list[LogEntry]:
    """Decide some commands on top of a fleet, and take what comes of them into it."""
    batch: list[LogEntry] = []
    wanted = random.randint(1, COMMANDS)
    while len(batch) < wanted:
        at = START + timedelta(seconds=head + len(batch))
        outcome = decide(fleet, _wish(fleet, random), at, DEFAULT_POLICY)
        for event in outcome.events:
            evolve(fleet, event)
            batch.append(
                serialization.encode(Recorded(head + len(batch) + 1, at, "torture", event))
            )
    return batch


def _wish(fleet: Fleet, random: Random) -> commands.Command:
    engine_id, number = random.choice(ENGINES), len(fleet.jobs)
    job_id = f"job {random.randrange(number + 1)}"
    # Some events are longer than a page, and so stand in several.
    url = f"http://media.test/{number}/{'x' * random.choice([0, 50, 900, 9_000])}"
    wishes: list[commands.Command] = [
        commands.SubmitJob(f"job {number}", url, "vp9"),
        commands.SubmitJob(f"job {number}", url[:60], "av1"),
        commands.ReportHeartbeat(engine_id, {}),
        commands.ReportHeartbeat(engine_id, {"benchmark_time": random.random()}),
        commands.AssignJob(engine_id),
        commands.CompleteJob(job_id, f"http://media.test/out/{job_id}"),
        commands.FailJob(job_id, "no luck"),
    ]
    return random.choice(wishes)
