"""Simulated engines: they send heartbeats, ask for work, do it and report, and sometimes die.

They behave like `dispatcher.engine.agent`. An engine sends exactly one answer for every job, and
repeats it until the dispatcher has replied. Heartbeats go on meanwhile, and bring back its orders.
"""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, Final, Literal, get_args

import msgspec

from dispatcher.core.commands import (
    AssignJob,
    CompleteJob,
    FailJob,
    ReportedCause,
    ReportHeartbeat,
    SplitJob,
)
from dispatcher.core.replies import NoWork, Orders, Refused
from dispatcher.segments import ABILITY
from dispatcher.simulation.agenda import MICROS
from dispatcher.simulation.calls import Call, Endpoint
from dispatcher.simulation.dispatching import Assignment
from dispatcher.simulation.films import BUILDS, Step, parts_of, share_of, step_of
from dispatcher.simulation.plan import COSTS, Plan
from dispatcher.simulation.world import World

__all__ = ["BROKEN", "FATES", "Build", "Fate", "Machine", "Task", "build"]

BROKEN: Final = "broken"
"""No engine can transcode a source whose URL has this word."""
PAUSE_S: Final = 10.0
"""The pause after a request that was lost."""
POLL_S: Final = 5.0
"""The pause after a response without work."""
QUICK_FAILURE_S: Final = 3.0

CODECS: Final = {tuple(COSTS): 0.7, ("h264", "hevc"): 0.2, ("h264", "vp9"): 0.1}
"""The codecs that machines have, with the share of such machines."""

ABILITIES: Final[tuple[list[str], ...]] = (
    ["recipes", "vmaf", ABILITY, BUILDS[0]],
    ["recipes", ABILITY, BUILDS[0]],
    ["recipes", ABILITY, BUILDS[1]],
    [],
)
"""The abilities of one machine after the other."""

Fate = Literal["useful", "failed", "crashed", "taken away", "too late"]
"""What became of the time that an engine worked."""
FATES: Final[tuple[Fate, ...]] = get_args(Fate)


class Build(msgspec.Struct, frozen=True):
    """A machine. `speed` is relative to a typical one; `failing` is the share of attempts."""

    engine_id: str
    rack: int
    speed: float
    codecs: list[str]
    storage_gb: float
    streams: bool
    failing: float
    abilities: list[str]


def build(number: int, plan: Plan, rng: Random) -> Build:
    """Make a random machine. Most can do every job, some can't."""
    speed = min(max(rng.lognormvariate(0.0, 0.3), 0.7), 2.0)
    (codecs,) = rng.choices(list(CODECS), list(CODECS.values()))
    streams = rng.choice([True, False])
    storage_gb = round(rng.choice([1.0, 4.0, 4.0, 50.0, 500.0]) * plan.mean_mb / 1000, 1)
    is_black_hole = rng.random() < plan.weather.black_holes
    return Build(
        engine_id=f"engine-{number}",
        rack=number // 20,
        speed=round(speed, 3),
        codecs=list(codecs),
        storage_gb=storage_gb,
        streams=streams,
        failing=1.0 if is_black_hole else plan.weather.failing,
        abilities=ABILITIES[number % len(ABILITIES)],
    )


class Task:
    """The current job of an engine. Once `answer` is set, it must be sent."""

    def __init__(self, given: Assignment, began_us: int, ends_us: int) -> None:
        self.job = given.job
        self.attempt = given.attempt
        self.step: Step = step_of(given.job, given.ties)
        self.began_us = began_us
        self.ends_us = ends_us
        self.answer: CompleteJob | FailJob | SplitJob | None = None

    def worked_s(self, now_us: int) -> float:
        """Return how long the engine has worked on it."""
        return max(0, min(now_us, self.ends_us) - self.began_us) / MICROS


class Machine(Endpoint):
    """An engine. `spent` is called with the seconds worked and what became of them.

    If `always_resumes` is true, every request for work has `resume`. Then the engine also gets a
    job that was assigned to a request for which nobody waits any more (it came twice, or its
    caller died). Otherwise a request has `resume` only after a start or a lost request.
    """

    always_resumes = True
    spread = 0.2
    """By which share a job may take longer or shorter than its size tells."""

    def __init__(
        self,
        built: Build,
        world: World,
        rng: Random,
        spent: Callable[[float, Fate], None],
    ) -> None:
        super().__init__(built.engine_id)
        self.built = built
        self.is_on = False
        self.task: Task | None = None
        self.failing = built.failing
        self._plan, self._agenda, self._network, self._story = world
        self._rng = rng
        self._spent = spent
        self._stalled_until_us = 0
        self._is_drained = False
        self._may_hold_job = True
        self._open_request: Call | None = None
        self._report: dict[str, Any] = {
            "engine_type": "transcoder",
            "supported_codecs": built.codecs,
            "abilities": built.abilities,
            "status": "idle",
            "storage_capacity_gb": built.storage_gb,
            "streaming_support": built.streams,
            "benchmark_time": round(10.0 / built.speed, 3),
        }
        self._idle_beat = ReportHeartbeat(self.name, self._report)

    # Faults and restarts

    def boot(self) -> None:
        """Start a new process, which finishes the work of the one before."""
        self.is_on = True
        self.life += 1
        self._is_drained = False
        self._may_hold_job = True
        self._open_request = None
        self._report = self._report | {"instance": f"{self.name}/{self.life}"}
        self._idle_beat = ReportHeartbeat(self.name, self._report)
        self._note(f"starts, with {self._current_job()}")
        self._beat()
        if self.task is None:  # a new engine runs its benchmark first
            self._after(self._plan.beats_every_s if self.life == 1 else 1.0, self._ask)
        elif self.task.answer is not None:
            self._answer()
        else:  # the work is lost: it asks for the job again and starts over
            self.task = None
            self._after(1.0, self._ask)

    def die(self, hung_up: Callable[[Call], None] | None, *, forgets: bool) -> None:
        """Die at once. `hung_up` is called with the open request, if its connection gets closed."""
        self.is_on = False
        self.life += 1
        self._note(f"dies, with {self._current_job()}{', and forgets it' if forgets else ''}")
        if self._open_request is not None and hung_up is not None:
            hung_up(self._open_request)
        self._open_request = None
        if self.task is not None and self.task.answer is None:
            self._spent(self.task.worked_s(self._agenda.now_us), "crashed")
        if forgets:
            if self.task is not None and self.task.answer is not None:
                self._spent(self.task.worked_s(self._agenda.now_us), "crashed")
            self.task = None

    def stand_still(self, seconds: float) -> None:
        """Stall for a while, and then go on as if nothing had happened."""
        self._note(f"stands still for {seconds:.1f} s, with {self._current_job()}")
        still_us = int(seconds * MICROS)
        self._stalled_until_us = max(self._stalled_until_us, self._agenda.now_us + still_us)
        if self.task is not None and self.task.answer is None:
            self.task.began_us += still_us
            self.task.ends_us += still_us

    # Work

    def _beat(self) -> None:
        task, now_us = self.task, self._agenda.now_us
        if task is None:
            beat = self._idle_beat
        else:
            whole_us = max(task.ends_us - task.began_us, 1)
            percent = round(100 * min(max((now_us - task.began_us) / whole_us, 0.0), 1.0), 1)
            beat = ReportHeartbeat(self.name, self._report, task.job.job_id, task.attempt, percent)
        known = Orders(drain=self._is_drained)
        self._network.send(Call(self, beat, partial(self._obey, beat.attempt), known=known))
        self._after(self._plan.beats_every_s, self._beat)

    def _obey(self, attempt: int | None, orders: Orders) -> None:
        """Obey the orders in the response to a heartbeat that named this attempt."""
        was_drained, self._is_drained = self._is_drained, orders.drain
        task = self.task
        if orders.cancel is not None and task is not None and task.answer is None:
            if (orders.cancel, attempt) == (task.job.job_id, task.attempt):
                self._spent(task.worked_s(self._agenda.now_us), "taken away")
                self.task = None
                self._ask()
        elif was_drained and not orders.drain:
            self._ask()

    def _ask(self) -> None:
        """Ask for a job."""
        if self.task is None and self._open_request is None and not self._is_drained:
            self._open_request = call = Call(
                self,
                AssignJob(self.name, resume=self.always_resumes or self._may_hold_job),
                self._on_assigned,
                self._on_request_lost,
                self._plan.wait_s,
            )
            self._network.send(call)

    def _on_assigned(self, answer: Assignment | Refused | NoWork) -> None:
        self._open_request, self._may_hold_job = None, False
        if isinstance(answer, Assignment):
            self._begin(answer)
        elif isinstance(answer, Refused):  # it was forgotten: its next heartbeat registers it
            self._after(self._plan.beats_every_s, self._ask)
        else:
            self._after(POLL_S, self._ask)

    def _on_request_lost(self) -> None:
        self._open_request, self._may_hold_job = None, True
        self._after(PAUSE_S, self._ask)

    def _begin(self, given: Assignment) -> None:
        now_us, built, job = self._agenda.now_us, self.built, given.job
        jitter = 1.0 + self.spread * (2 * self._rng.random() - 1.0)
        share = share_of(step_of(job, given.ties))
        seconds = job.job_size * COSTS.get(job.target_codec, 1.0) * share * jitter
        seconds = 1.0 + seconds / (self._plan.mb_per_s * built.speed)
        fails = BROKEN in job.source_url or self._rng.random() < self.failing
        if fails:
            seconds = min(seconds, QUICK_FAILURE_S if self.failing == 1.0 else seconds / 2)
        self.task = task = Task(given, now_us, now_us + int(seconds * MICROS))
        what = f"begins job {job.job_id}, attempt {task.attempt} ({task.step})"
        self._note(f"{what}, for {seconds:.0f} s")
        self._agenda.at(task.ends_us, self.run, self.life, self._end, task, fails)

    def _end(self, task: Task, fails: bool) -> None:
        if self.task is not task:
            return
        if self._agenda.now_us < task.ends_us:  # it stalled meanwhile
            self._agenda.at(task.ends_us, self.run, self.life, self._end, task, fails)
            return
        job_id, film = task.job.job_id, task.job
        is_inexact = task.step == "segment" and self._rng.random() < self._plan.weather.inexact
        if fails or is_inexact:
            error = f"{self.name} could not do it"
            cause: ReportedCause = "reported" if fails else "inexact"
            task.answer = FailJob(job_id, error, self.name, task.attempt, cause=cause)
        elif task.step == "index":
            build = next(it for it in self.built.abilities if it in BUILDS)
            parts = tuple(parts_of(film, build))
            task.answer = SplitJob(job_id, parts, self.name, task.attempt)
        else:
            url = f"http://media/{job_id}-{task.attempt}.mp4"
            task.answer = CompleteJob(job_id, url, self.name, task.attempt)
        self._answer()

    def _answer(self) -> None:
        """Send the answer of the current job. It is sent again if it is lost."""
        if (task := self.task) is not None and task.answer is not None:
            self._network.send(
                Call(
                    self,
                    task.answer,
                    self._on_reply,
                    self._on_answer_lost,
                )
            )

    def _on_answer_lost(self) -> None:
        self._after(PAUSE_S, self._answer)

    def _on_reply(self, verdict: object) -> None:
        if (task := self.task) is None or task.answer is None:
            return
        fate: Fate = "useful"
        if isinstance(verdict, Refused):
            fate = "too late"
        elif isinstance(task.answer, FailJob):
            fate = "failed"
        self._spent(task.worked_s(self._agenda.now_us), fate)
        self.task = None
        self._ask()

    # Time

    def run(self, life: int, call: Callable[..., None], *args: object) -> None:
        """Make a call unless this process has died. If the engine is stalled, make it later."""
        if life != self.life:
            return
        if self._agenda.now_us < self._stalled_until_us:
            self._agenda.at(self._stalled_until_us, self.run, life, call, *args)
        else:
            call(*args)

    def _after(self, seconds: float, call: Callable[..., None]) -> None:
        self._agenda.after(seconds, self.run, self.life, call)

    def _note(self, text: str) -> None:
        self._story.note(self._agenda.now_us, self.name, text)

    def _current_job(self) -> str:
        task = self.task
        return "nothing" if task is None else f"job {task.job.job_id}, attempt {task.attempt}"
