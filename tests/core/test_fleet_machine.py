"""Whatever is asked of the farm, in whatever order and at whatever time, its laws hold."""

from datetime import timedelta
from typing import Any, Final, get_args

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from dispatcher.core import commands
from dispatcher.core.commands import Command, CompleteJob, FailJob, ReportedCause
from dispatcher.core.decider import decide
from dispatcher.core.events import Event, JobRetried, Recorded
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.core.invariants import check_choices, check_decided
from dispatcher.core.policy import Policy
from dispatcher.core.replies import DONE, Decision, Reason, Refused
from dispatcher.log import serialization
from dispatcher.state.agreement import check_shown
from projections import Projections
from tests.support.fleet_contents import inside
from tests.support.given import START
from tests.support.life_steps import ALL_STEPS, standing_in, steps_between

STEPS: Final = 50
EXAMPLES: Final = 500

jobs = st.sampled_from(["a", "b", "c", "d", "e", "f"])
engines = st.sampled_from(["x", "y", "z"])
codecs = st.sampled_from(["h264", "h264", "vp9"])
attempts = st.none() | st.integers(0, 4)
urls = st.sampled_from(["one", "other"])
causes = st.sampled_from(get_args(ReportedCause))
instances = st.none() | st.sampled_from(["1", "2", "3"])
seconds = st.sampled_from([0.5, 60.0])
reports: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "supported_codecs": st.sampled_from([[], ["h264"], ["h264", "vp9"]]),
        "status": st.sampled_from(["idle", "idle", "busy"]),
        "storage_capacity_gb": st.sampled_from([0.0, 1.0, 500.0]),
        "streaming_support": st.booleans(),
        "benchmark_time": st.sampled_from([0.0, 1.0, 9.0]),
        "instance": st.sampled_from(["1", "2", "3"]),
        "abilities": st.sampled_from([[], ["recipes"], ["recipes", "vmaf"]]),
    },
)
needs = st.sampled_from([(), (), (), ("recipes",), ("recipes", "vmaf")])
policies = st.builds(
    Policy,
    priority_point_s=st.sampled_from([0.0, 60.0]),
    retry_backoff_s=st.sampled_from([0.0, 30.0]),
    block_after=st.sampled_from([0, 1, 3]),
    block_for_s=st.sampled_from([0.0, 60.0]),
    max_losses=st.sampled_from([0, 1, 3]),
    source_patience_s=st.sampled_from([0.0, 30.0, 3600.0]),
)

steps_taken = 0
reached: set[type[Event]] = set()


class Farm(RuleBasedStateMachine):
    """All commands, at times that pass and jump back."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet, self.projections = Fleet(), Projections()
        self.policy = Policy()
        self.at = START
        self.finished: dict[str, str] = {}

    @initialize(policy=policies)
    def open_with(self, policy: Policy) -> None:
        self.policy = policy
        self.carry_out(commands.ReportHeartbeat("x", {}))
        for job_id in ("a", "b"):
            self.carry_out(commands.SubmitJob(job_id, "u", "h264"))
        self.carry_out(commands.AssignJob("x"))

    def carry_out(self, command: Command) -> None:
        global steps_taken  # noqa: PLW0603 - a machine has no other way to tell
        steps_taken += 1
        outcome = decide(self.fleet, command, self.at, self.policy)
        for event in outcome.events:
            before = standing_in(self.fleet)
            evolve(self.fleet, event)
            for step in steps_between(before, event, standing_in(self.fleet)):
                assert step in ALL_STEPS, "a step that is in no table"
            self.projections.apply(Recorded(self.projections.seq + 1, self.at, "tester", event))
            reached.add(type(event))
            if isinstance(event, JobRetried):
                self.finished.pop(event.job_id)

    def answer(self, answer: CompleteJob | FailJob) -> None:
        """Carry out an answer, which must change nothing unless it is the holder's or nobody's."""
        job = self.fleet.jobs.get(answer.job_id)
        named = (answer.engine_id, answer.attempt) != (None, None)
        stale = named and not (
            job is not None
            and job.holder is not None
            and answer.engine_id in {None, job.holder}
            and answer.attempt in {None, job.attempt}
        )
        before = inside(self.fleet)
        outcome = decide(self.fleet, answer, self.at, self.policy)
        self.carry_out(answer)
        if stale:
            assert inside(self.fleet) == before, "a stale answer changed something"
            if job is not None and outcome != Decision((), DONE):
                assert isinstance(outcome.reply, Refused)
                assert outcome.reply.reason is Reason.NOT_THE_HOLDER

    @rule(by_s=st.sampled_from([0.001, 1.0, 45.0, 3600.0, -1.0, -3600.0]))
    def time_passes(self, by_s: float) -> None:
        self.at += timedelta(seconds=by_s)

    @rule(
        job_id=jobs,
        for_codec=codecs,
        size=st.sampled_from([1.0, 50.0, 100.0, 1000.0, 1000.5]),
        max_retries=st.integers(0, 3),
        priority=st.sampled_from([0, 0, 5, 100]),
        key=st.none() | st.sampled_from(["k", "l"]),
        needs=needs,
        after=st.lists(jobs, max_size=2, unique=True).map(tuple) | st.just(()),
    )
    def submit(
        self,
        job_id: str,
        for_codec: str,
        size: float,
        max_retries: int,
        priority: int,
        key: str | None,
        needs: tuple[str, ...],
        after: tuple[str, ...],
    ) -> None:
        submission = commands.SubmitJob(job_id, "u", for_codec, size, max_retries, priority, key)
        recipe = {"quality": 60.0} if needs else None
        self.carry_out(msgspec.structs.replace(submission, recipe=recipe, needs=needs, after=after))

    @rule(job_id=jobs, parts=st.integers(1, 3), again=st.booleans())
    def split(self, job_id: str, parts: int, *, again: bool) -> None:
        """Let the holder of a job split it; it may repeat that."""
        if (job := self.fleet.jobs.get(job_id)) is None or job.holder is None:
            return
        of_it = tuple(commands.SubmitJob(None, "u", job.codec, 1.0, 1) for _ in range(parts))
        told = commands.SplitJob(job_id, of_it, job.holder, job.attempt)
        was_split = job.ties.parts
        self.carry_out(told)
        assert was_split or job.ties.is_whole or len(job.ties.parts) == parts
        if again and not was_split:
            self.carry_out(told)

    @rule(
        number=st.integers(0, 3),
        how=st.sampled_from(["complete", "complete", "fail", "inexact", "cancel", "retry"]),
    )
    def work_on_a_part(self, number: int, how: str) -> None:
        if how == "inexact":  # only whoever holds a part can find that out
            for engine_id in self.fleet.engines:
                self.carry_out(commands.AssignJob(engine_id))
            number = 0
        parts = [it for it in self.fleet.jobs.values() if it.ties.parent is not None]
        if how == "inexact":
            parts.sort(key=lambda it: it.holder is None)
        for part in parts[number : number + 1]:
            holder, attempt = part.holder, part.attempt
            match how:
                case "complete":
                    self.answer(CompleteJob(part.job_id, "part", holder, None))
                case "fail":
                    self.answer(FailJob(part.job_id, "broke", holder, None))
                case "inexact" if holder is not None:
                    self.answer(FailJob(part.job_id, "broke", holder, attempt, cause="inexact"))
                case "cancel":
                    self.carry_out(commands.CancelJob(part.job_id))
                case _:
                    self.carry_out(commands.RetryJob(part.job_id))

    @rule(
        engine_id=engines,
        report=reports,
        job_id=st.none() | jobs,
        attempt=attempts,
        progress=st.sampled_from([None, 0.0, 50.0]),
    )
    def beat(
        self,
        engine_id: str,
        report: dict[str, Any],
        job_id: str | None,
        attempt: int | None,
        progress: float | None,
    ) -> None:
        self.carry_out(commands.ReportHeartbeat(engine_id, report, job_id, attempt, progress))

    @rule(job_id=jobs, progress=st.sampled_from([10.0, 90.0]))
    def tell_progress(self, job_id: str, progress: float) -> None:
        held = sorted(e.engine_id for e in self.fleet.engines.values() if e.holds is not None)
        for engine_id in held:
            job = self.fleet.jobs[self.fleet.engines[engine_id].holds or ""]
            if job.job_id >= job_id:
                self.carry_out(
                    commands.ReportHeartbeat(engine_id, {}, job.job_id, job.attempt, progress)
                )

    @rule(engine_id=engines, benchmark_time=st.sampled_from([1.0, 5.0]))
    def benchmark(self, engine_id: str, benchmark_time: float) -> None:
        self.carry_out(commands.ReportBenchmark(engine_id, benchmark_time))

    @rule(engine_id=st.none() | engines, resume=st.booleans(), instance=instances)
    def assign(self, engine_id: str | None, instance: str | None, *, resume: bool) -> None:
        self.carry_out(commands.AssignJob(engine_id, resume, instance))

    @rule(engine_id=engines, take_back=st.booleans())
    def ask_for_other_work(self, engine_id: str, *, take_back: bool) -> None:
        if (engine := self.fleet.engines.get(engine_id)) is not None and engine.holds is not None:
            job_id = engine.holds
            self.carry_out(commands.NoticeAsking(engine_id, job_id))
            if take_back:
                self.carry_out(commands.TakeBackJob(engine_id, job_id, 60.0))
                assert (engine.holds is None) == (not engine.tells_instance)

    @rule(engine_id=engines)
    def unblock(self, engine_id: str) -> None:
        """Let an engine fail until it is blocked, if it can be, and let the block end."""
        for job_id in ("fails", "fails too", "fails again")[: self.policy.block_after]:
            self.carry_out(commands.SubmitJob(job_id, "u", "h264", priority=100))
            self.carry_out(commands.AssignJob(engine_id))
            engine = self.fleet.engines.get(engine_id)
            if engine is not None and engine.holds is not None:
                self.answer(FailJob(engine.holds, "broke", engine_id, cause="engine_at_fault"))
        for engine in self.fleet.engines.values():
            if engine.blocked_until is not None:
                engine_id, self.at = engine.engine_id, max(self.at, engine.blocked_until)
        self.carry_out(commands.UnblockEngine(engine_id))

    @rule(engine_id=engines)
    def one_engine_alone_lacks_a_source(self, engine_id: str) -> None:
        held = [job for job in self.fleet.jobs.values() if job.holder is not None]
        for job in held[:1]:
            self.carry_out(FailJob(job.job_id, "away", cause="source_away"))
            self.carry_out(commands.ReleaseJob(job.job_id))
            self.carry_out(commands.ReportHeartbeat(engine_id, {}))
            self.carry_out(commands.AssignJob(engine_id))
            if job.holder == engine_id:
                self.carry_out(CompleteJob(job.job_id, "there", engine_id))

    @rule(engine_id=engines)
    def forget_if_lost(self, engine_id: str) -> None:
        self.carry_out(commands.ForgetLostEngine(engine_id))

    @rule(job_id=jobs, url=urls, engine_id=st.none() | engines, attempt=attempts)
    def complete(self, job_id: str, url: str, engine_id: str | None, attempt: int | None) -> None:
        self.answer(CompleteJob(job_id, url, engine_id, attempt))

    @rule(job_id=jobs, engine_id=st.none() | engines, attempt=attempts)
    def fail(self, job_id: str, engine_id: str | None, attempt: int | None) -> None:
        self.answer(FailJob(job_id, "broke", engine_id, attempt))

    @rule(job_id=jobs, url=urls, cause=st.none() | causes)
    def answer_as_the_holder(self, job_id: str, url: str, cause: ReportedCause | None) -> None:
        if (job := self.fleet.jobs.get(job_id)) is not None and job.holder is not None:
            holder, attempt = job.holder, job.attempt
            if cause is None:
                self.answer(CompleteJob(job_id, url, holder, attempt))
            else:
                self.answer(FailJob(job_id, "broke", holder, attempt, cause=cause))
            assert job.holder is None

    @rule(job_id=jobs)
    def cancel(self, job_id: str) -> None:
        self.carry_out(commands.CancelJob(job_id))

    @rule(job_id=jobs)
    def retry(self, job_id: str) -> None:
        self.carry_out(commands.RetryJob(job_id))

    @rule(job_id=jobs, priority=st.sampled_from([0, 5, 100]))
    def prioritize(self, job_id: str, priority: int) -> None:
        self.carry_out(commands.PrioritizeJob(job_id, priority))

    @rule(engine_id=engines)
    def drain(self, engine_id: str) -> None:
        self.carry_out(commands.DrainEngine(engine_id))

    @rule(engine_id=engines)
    def resume(self, engine_id: str) -> None:
        self.carry_out(commands.ResumeEngine(engine_id))

    @rule(engine_id=engines)
    def forget(self, engine_id: str) -> None:
        self.carry_out(commands.ForgetEngine(engine_id))

    @rule(engine_id=engines, silent_s=seconds)
    def lose(self, engine_id: str, silent_s: float) -> None:
        self.carry_out(commands.LoseEngine(engine_id, silent_s))

    @rule(job_id=jobs, attempt=st.integers(0, 4), after_s=seconds)
    def time_out(self, job_id: str, attempt: int, after_s: float) -> None:
        before, job = inside(self.fleet), self.fleet.jobs.get(job_id)
        stale = job is None or job.holder is None or job.attempt != attempt
        self.carry_out(commands.TimeOutJob(job_id, attempt, after_s))
        assert (inside(self.fleet) == before) == stale

    @rule(job_id=jobs)
    def release(self, job_id: str) -> None:
        paused = [it for it in sorted(self.fleet.queue) if it in self.fleet.queue.paused]
        self.carry_out(commands.ReleaseJob(paused[0] if paused else job_id))

    @invariant()
    def the_laws_of_the_fleet_hold(self) -> None:
        check_decided(self.fleet)

    @invariant()
    def no_final_job_has_changed(self) -> None:
        for job_id, told in self.finished.items():
            assert repr(self.fleet.jobs[job_id]) == told
        for job in self.fleet.jobs.values():
            if job.final:
                self.finished[job.job_id] = repr(job)

    @invariant()
    def an_engine_gets_the_first_job_that_nothing_keeps_it_from(self) -> None:
        check_choices(self.fleet)

    @invariant()
    def readers_see_what_the_rules_see(self) -> None:
        check_shown(self.fleet, self.projections)


def test_the_laws_hold_for_ten_thousand_steps() -> None:
    global steps_taken  # noqa: PLW0603 - see above
    steps_taken = 0
    run_state_machine_as_test(
        Farm,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
    assert steps_taken >= 10_000
    assert reached == set(serialization.NAMES), "a kind of event was never reached"
