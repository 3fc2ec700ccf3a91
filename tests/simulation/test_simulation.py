"""A farm in simulated time: its invariants hold, a seed is one run, and what is broken is seen."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import msgspec
import pytest

from dispatcher.core import decider, dependencies, dispatcher
from dispatcher.core.commands import Command
from dispatcher.core.deadlines import Deadlines
from dispatcher.core.engine import Engine
from dispatcher.core.fleet import Fleet
from dispatcher.core.policy import Policy
from dispatcher.core.replies import Decision
from dispatcher.core.scheduling import Choice, choose_for
from dispatcher.simulation.farm import FailedError, Outcome, simulate
from dispatcher.simulation.machines import Machine
from dispatcher.simulation.plan import FAULTS, Faults, Plan, PlanError

SMALL: Final = Plan(engines=10, hours=6.0, wait_s=60.0, faults="many")
IN_PARTS: Final = msgspec.structs.replace(SMALL, split_share=0.6)


def run(*options: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dispatcher", "simulate", *options],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        timeout=60,
        check=False,
    )


def broken(plan: Plan = SMALL) -> str:
    """Run the plan with more and more seeds, until what is broken comes to light."""
    for seed in range(1, 30):
        try:
            simulate(msgspec.structs.replace(plan, seed=seed))
        except FailedError as failed:
            story = str(failed)
            break
    else:
        pytest.fail("what is broken did not come to light")
    assert f"--seed {seed}" in story.splitlines()[1]
    return story


@pytest.mark.parametrize("seed", range(1, 13))
def test_whatever_goes_wrong_the_invariants_hold_and_every_job_comes_to_its_end(seed: int) -> None:
    outcome = simulate(msgspec.structs.replace(SMALL, seed=seed))
    assert outcome.faults > 20
    assert outcome.lost_messages > 100
    assert outcome.day.jobs["completed"] > 10
    assert outcome.backlog == 0


@pytest.mark.parametrize(
    "plan",
    [
        Plan(job_timeout_s=1_800.0),
        Plan(retry_backoff_s=0.0, block_after=1),
        Plan(block_after=0, retry_backoff_s=600.0),
        Plan(heartbeat_s=10.0, lease_s=15.0),
        Plan(jobs_per_hour=60.0),
    ],
    ids=lambda plan: plan.command_line().partition("--seed 1")[2],
)
def test_they_hold_under_any_settings(plan: Plan) -> None:
    simulate(msgspec.structs.replace(plan, engines=10, hours=3.0, faults="many"))


@pytest.mark.parametrize("seed", range(1, 7))
def test_they_hold_for_films_in_parts_and_jobs_that_wait_for_others(seed: int) -> None:
    plan = msgspec.structs.replace(SMALL, seed=seed, split_share=0.3, mean_mb=2_000.0)
    outcome = simulate(plan)
    assert outcome.day.films_split > 2
    assert outcome.backlog == 0


def test_a_film_that_can_not_be_cut_exactly_is_made_whole_and_comes_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(FAULTS, "none", Faults(inexact=0.1))
    outcome = simulate(Plan(engines=10, hours=6.0, split_share=0.5, faults="none"))
    assert outcome.day.films_whole > 2
    assert outcome.day.films_split > outcome.day.films_whole
    assert (outcome.backlog, outcome.unservable) == (0, 0)


def test_the_same_seed_is_the_same_run_in_every_process() -> None:
    options = ["--engines", "8", "--hours", "3", "--seed", "7", "--faults", "many", "--json"]
    told = [json.loads(run(*options, hash_seed=seed).stdout) for seed in ("1", "2")]
    here = simulate(Plan(engines=8, hours=3.0, seed=7, faults="many"))
    for it in told:
        assert msgspec.convert(it["outcome"], Outcome) == here
    assert simulate(Plan(engines=8, hours=3.0, seed=8, faults="many")).digest != here.digest


def test_a_kind_world_throws_no_work_away() -> None:
    outcome = simulate(Plan(engines=20, hours=12.0, faults="none"))
    assert set(outcome.day.jobs) <= {"completed", "assigned", "pending"}
    assert (outcome.day.thrown_away, outcome.day.lost_engines, outcome.lost_messages) == (0, 0, 0)


def test_a_farm_with_more_to_do_than_it_can_is_busy_and_lets_jobs_wait() -> None:
    plan = Plan(engines=10, hours=12.0, faults="none")
    enough = simulate(plan)
    more = simulate(msgspec.structs.replace(plan, jobs_per_hour=5 * enough.jobs_per_hour))
    assert more.day.utilisation > 0.9 > enough.day.utilisation
    assert more.day.hours[-1].waiting > 50 > enough.day.hours[-1].waiting
    assert more.day.waits is not None
    assert enough.day.waits is not None
    assert more.day.waits.p95_s > enough.day.waits.p95_s


def test_it_sees_a_job_that_is_given_to_two_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(fleet: Fleet, engine: Engine) -> Choice | None:
        held = next((job for job in fleet.jobs.values() if job.holder is not None), None)
        if held is not None and engine.idle:
            return Choice(held, engine, "asked by name", ())
        return choose_for(fleet, engine)

    monkeypatch.setattr(decider, "choose_for", careless)
    story = broken()
    assert story.startswith("Broken: job job-1 is given to engine engine-")
    assert "holds it" in story.splitlines()[0]
    assert "AssignJob" in story
    assert "=> JobAssigned(job_id=job-1" in story


def test_it_sees_a_job_that_begins_before_those_that_it_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dependencies, "all_completed", lambda *_: True)
    assert "is released, but waits for job" in broken(IN_PARTS).splitlines()[0]


def test_it_sees_a_part_that_outlives_its_film(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_of_others(fleet: Fleet, ended: Any) -> Iterator[tuple[Any, Any]]:
        kept = set(ended.job.ties.parts)
        return (it for it in find(fleet, ended) if it[1].job.job_id not in kept)

    find = dependencies._ends_of_others
    monkeypatch.setattr(dependencies, "_ends_of_others", only_of_others)
    first = broken(IN_PARTS).splitlines()[0]
    assert "goes on, but film" in first


def test_it_sees_a_late_answer_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decider, "late_answer", lambda _job, _answer: None)
    story = broken()
    assert "said of attempt" in story.splitlines()[0]
    assert "CompleteJob" in story or "FailJob" in story


def test_it_sees_an_engine_that_is_lost_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Deadlines.__init__

    def hasty(self: Deadlines, policy: Policy) -> None:
        start(self, msgspec.structs.replace(policy, lease_s=policy.lease_s / 2))

    monkeypatch.setattr(Deadlines, "__init__", hasty)
    assert "within its lease" in broken().splitlines()[0]


def test_it_sees_an_engine_that_is_never_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deadlines, "take_due", lambda *_: None)
    assert "but counts as online" in broken().splitlines()[0]


def test_it_sees_a_fleet_that_changes_without_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    def meddling(fleet: Fleet, command: Command, at: datetime, policy: Policy) -> Decision:
        for job in fleet.jobs.values():
            job.error_message = "meddled"
        return decider.decide(fleet, command, at, policy)

    monkeypatch.setattr(dispatcher, "decide", meddling)
    assert "folding the events gives another fleet" in broken().splitlines()[0]


def test_it_sees_a_job_that_is_stuck_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ask that comes twice gives a job to an engine that does not know of it."""
    monkeypatch.setitem(FAULTS, "many", msgspec.structs.replace(FAULTS["many"], doubled=0.2))
    monkeypatch.setattr(Machine, "always_resumes", False)
    story = broken()
    assert "is stuck though nothing goes wrong any more" in story.splitlines()[0]
    assert "holds it, but does not work on it" in story.splitlines()[0]
    assert "twice" in story or "lost" in story


def test_the_command_line_of_a_plan_gives_the_plan_again() -> None:
    plan = Plan(
        engines=3,
        hours=1.5,
        seed=9,
        faults="none",
        mix="av1=1.0",
        lease_s=123.0,
        mean_mb=1234.5678,
    )
    words = plan.command_line().split()[2:]
    told = json.loads(run(*words, "--json").stdout)["plan"]
    assert msgspec.convert(told, Plan) == plan


def test_the_table_tells_what_a_planner_wants_to_know() -> None:
    shown = run("--engines", "5", "--hours", "2", "--faults", "some").stdout
    for words in ("jobs submitted", "completed an hour", "p95", "utilisation", "thrown away"):
        assert words in shown
    assert "dispatcher simulate --engines 5 --hours 2 --seed 1" in shown


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"engines": 0}, "--engines must be more than 0"),
        ({"heartbeat_s": 60.0, "lease_s": 60.0}, "--heartbeat-s must be well below --lease-s"),
        ({"mix": "h264=1,divx=1"}, "'divx=1' is no CODEC=SHARE"),
        ({"mix": "h264=0"}, "the shares must not all be 0"),
        ({"mix": "h264=²"}, "'h264=²' is no CODEC=SHARE"),
        ({"hours": math.inf}, "--hours must be a finite number"),
        ({"lease_s": math.nan}, "--lease-s must be a finite number"),
        ({"retry_backoff_s": -1.0}, "--retry-backoff-s must not be less than 0"),
        ({"split_share": 1.5}, "--split-share must be at most 1"),
        ({"split_share": -0.1}, "--split-share must not be less than 0"),
        ({"faults": "all"}, "--faults must be one of none, some, many"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(PlanError, match=told):
        Plan(**options)


def test_such_a_command_line_is_wrong() -> None:
    refused = run("--engines", "0")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--engines must be more than 0" in refused.stderr
