"""When jobs will be done, if all goes on as it is: a forecast, not a promise.

Laws:
- It follows from the events up to its seq alone, and its times begin at that of the newest one.
- A job that runs goes on as it went so far, once it has done `TELLING` percent. Before that, and
  for jobs that wait, the past speed counts: of the codec on that engine, else on the farm, by the
  job's size if it is known. Without such a speed nothing is guessed, and `how` says so.
- Which engine gets which job, and in what order, is for `dispatcher.core.placing` to say.
"""

from collections import Counter
from collections.abc import Generator
from datetime import datetime, timedelta
from math import inf, isfinite
from typing import Final, NamedTuple

from dispatcher.core.job import Job
from dispatcher.core.placing import STEP, Blocked, Picture, Placed, in_order, place
from projections import Projections
from projections.forecast import MOST_SHOWN, Forecast, How, RunningJob, WaitingJob
from projections.jobs import JobView
from projections.speeds import LONGEST_S, Speed, Speeds

__all__ = ["Outlook", "at_once", "forecast", "outlook_of"]

TELLING: Final = 2.0
"""From this percentage on, the progress of a job says more than the past of others."""
NOTHING_TO_DO: Final = "Nothing runs, and nothing waits."
_WORDS: Final[dict[How, str]] = {
    "progress": "by their own progress",
    "engine": "by the past of their codec on their engine",
    "codec": "by the past of their codec on the farm",
    "unknown": "of codecs of which nothing is known yet",
    "unplaced": "wait for an engine that takes them",
    "waits": "wait for other jobs",
}


class Outlook(NamedTuple):
    """What a forecast is made of: a copy, so that the farm may go on meanwhile."""

    seq: int
    time: datetime | None
    picture: Picture
    running: list[JobView]
    speeds: Speeds


def outlook_of(picture: Picture, projections: Projections) -> Outlook:
    """Add to a picture of the fleet what readers see at the same seq."""
    held = [engine.holds for engine in picture.engines.values() if engine.holds is not None]
    running = [view for it in held if (view := projections.jobs.get(it)) is not None]
    speeds = projections.speeds.copied()
    return Outlook(projections.seq, projections.time, picture, running, speeds)


def forecast(outlook: Outlook) -> Generator[None, None, Forecast]:
    """Return the forecast, with the first `MOST_SHOWN` jobs that wait.

    It works in steps, as `placing.place` does, and yields between them.
    """
    picture, now = outlook.picture, outlook.time
    if now is None:  # nothing has happened
        return Forecast(outlook.seq, None, None, 0.0, 0, NOTHING_TO_DO, [], [])
    times = _Times(outlook, now)
    running = [times.running(job) for job in outlook.running]
    placed = yield from place(picture, now, times.free_in_s, times.takes_s)
    blocked = {it.job.job_id: it for it in picture.blocked}
    for number, job in enumerate(picture.all()):
        if number % STEP == 0:
            yield
        if (found := placed.get(job.job_id)) is None:
            times.leave(job, blocked.get(job.job_id))
        else:
            times.last_s = max(times.last_s, found.ends_s)
    waiting = []
    for count, (in_queue, job) in enumerate(in_order(picture, MOST_SHOWN)):
        if count % STEP == 0:
            yield
        how: How = "waits" if job.job_id in blocked else "unplaced"
        waiting.append(times.waiting(job, in_queue, placed.get(job.job_id), how))
    return Forecast(
        outlook.seq,
        now,
        times.at(times.last_s),
        times.work_s,
        times.hows["unplaced"],
        times.how(),
        running,
        waiting,
        times.unknown,
    )


class _Times:
    """How long the jobs of an outlook take, what was found of them so far, and how."""

    def __init__(self, outlook: Outlook, now: datetime) -> None:
        self.work_s = 0.0
        self.unknown = 0
        self.last_s = -inf
        self.hows: Counter[How] = Counter()
        self._now = now
        self._speeds = outlook.speeds
        self._free_in_s: dict[str, float] = {}

    def at(self, in_s: float) -> datetime | None:
        """Return the time in so many seconds; `None` if that is not known, or beyond all times."""
        try:
            return self._now + timedelta(seconds=in_s)
        except (OverflowError, ValueError):
            return None

    def running(self, job: JobView) -> RunningJob:
        """Look at a job that runs."""
        engine_id = job.assigned_engine or ""
        left_s, how = self._left_s(job, engine_id)
        self._free_in_s[engine_id] = left_s
        self.last_s = max(self.last_s, left_s)
        self._note(left_s, how)
        return RunningJob(job.job_id, engine_id, self.at(left_s), how)

    def waiting(self, job: Job, number: int | None, placed: Placed | None, how: How) -> WaitingJob:
        """Show a job that waits; `how`, if it is not placed."""
        if placed is None:
            return WaitingJob(job.job_id, number, None, None, how)
        _, how = self._speed(placed.engine_id, job.codec)
        begins, ends = self.at(placed.begins_s), self.at(placed.ends_s)
        return WaitingJob(job.job_id, number, begins, ends, how)

    def free_in_s(self, engine_id: str) -> float:
        """Return in how many seconds an engine is done with the job that it holds."""
        return self._free_in_s.get(engine_id, inf)

    def takes_s(self, engine_id: str, codec: str, size_mb: float) -> float:
        """Return how long a job takes an engine that gets it."""
        speed, how = self._speed(engine_id, codec)
        seconds = inf if speed is None else speed.seconds_of(size_mb)
        self._note(seconds, how)
        return seconds

    def leave(self, job: Job, blocked: Blocked | None) -> None:
        """Note a job that no engine takes now. Of a film in parts, these are the work."""
        if blocked is not None and blocked.is_in_parts:
            self._note(0.0, "waits")
            return
        speed = self._speeds.of_farm(job.codec)
        how: How = "unplaced" if blocked is None else "waits"
        self._note(inf if speed is None else speed.seconds_of(job.size_mb), how)

    def how(self) -> str:
        """Say in a sentence how the times were got."""
        told = [f"{self.hows[how]} {words}" for how, words in _WORDS.items() if self.hows[how]]
        return f"{', '.join(told)}." if told else NOTHING_TO_DO

    def _note(self, seconds: float, how: How) -> None:
        self.hows[how] += 1
        if isfinite(seconds):
            self.work_s += seconds
        else:
            self.unknown += 1

    def _left_s(self, job: JobView, engine_id: str) -> tuple[float, How]:
        """Return how many seconds a job that runs still takes."""
        began = self._now if job.assigned_at is None else job.assigned_at
        spent_s = max(0.0, (self._now - began).total_seconds())
        if job.progress is not None and job.progress >= TELLING and spent_s > 0:
            left_s = spent_s * max(0.0, 100.0 - job.progress) / job.progress
            return min(left_s, LONGEST_S), "progress"
        speed, how = self._speed(engine_id, job.target_codec)
        if speed is None:
            return inf, how
        return max(0.0, speed.seconds_of(job.job_size) - spent_s), how

    def _speed(self, engine_id: str, codec: str) -> tuple[Speed | None, How]:
        if (speed := self._speeds.of_engine(engine_id, codec)) is not None:
            return speed, "engine"
        speed = self._speeds.of_farm(codec)
        return speed, "unknown" if speed is None else "codec"


def at_once(making: Generator[None, None, Forecast]) -> Forecast:
    """Return a forecast without a pause between its steps."""
    while True:
        try:
            next(making)
        except StopIteration as made:
            found: Forecast = made.value
            return found
