"""Jobs are placed just as engines would get them that ask whenever they are free."""

from collections.abc import Callable, Generator, Iterator
from datetime import timedelta
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.core.commands import Command
from dispatcher.core.events import EngineDrained, EngineLost, Event, JobReprioritized
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.core.placing import STEP, Picture, Placed, in_order, picture_of, place
from dispatcher.core.policy import Policy
from dispatcher.core.scheduling import Obstacle, obstacle
from tests.state.test_replay import histories, live
from tests.support.given import START, assigned, blocked, engine, job, requeued
from tests.support.histories import genuine
from tests.support.strategies import policies

NOW = START + timedelta(seconds=100)
FOR_NOW = {None, Obstacle.BUSY, Obstacle.BACKOFF}
Times = Callable[[str, str, float], float]


def ten_seconds(_engine_id: str, _codec: str, _size_mb: float) -> float:
    return 10.0


def by_name(engine_id: str, codec: str, size_mb: float) -> float:
    """Some speed, the same each time; of some it is not known."""
    seconds = (len(engine_id) + 3 * len(codec)) * (1 + min(size_mb, 1e6) / 100)
    return inf if codec == "" else seconds


def fleet_of(*events: Event) -> Fleet:
    fleet = Fleet()
    for event in events:
        evolve(fleet, event)
    return fleet


def placed_in(
    fleet: Fleet, takes_s: Times = ten_seconds, free_in_s: float = 5.0
) -> dict[str, Placed]:
    return made_by(place(picture_of(fleet), NOW, lambda _: free_in_s, takes_s))


def made_by(making: Generator[None, None, dict[str, Placed]]) -> dict[str, Placed]:
    while True:
        try:
            next(making)
        except StopIteration as made:
            found: dict[str, Placed] = made.value
            return found


def naively(fleet: Fleet, takes_s: Times, free_in_s: float) -> dict[str, Placed]:
    """Place jobs by a look at every job for every engine, each time."""
    waiting = sorted(
        (it for it in fleet.jobs.values() if it.status == "pending"), key=lambda it: it.place
    )
    paused = fleet.queue.paused
    from_s = {
        it.job_id: max(0.0, (paused[it.job_id] - NOW).total_seconds())
        if it.job_id in paused
        else 0.0
        for it in waiting
    }
    free = {
        name: 0.0 if it.holds is None else free_in_s
        for name, it in fleet.engines.items()
        if it.online and (it.holds is not None or it.idle)
    }
    placed: dict[str, Placed] = {}
    while True:
        found = []
        for number, name in enumerate(free):
            able = [
                it
                for it in waiting
                if obstacle(fleet, fleet.engines[name], it, is_asking=False) in FOR_NOW
            ]
            if able:
                at_s = max(free[name], min(from_s[it.job_id] for it in able))
                first = next(it for it in able if from_s[it.job_id] <= at_s)
                found.append((at_s, number, name, first))
        if not found:
            return placed
        at_s, _, name, first = min(found, key=lambda it: it[:2])
        free[name] = at_s + takes_s(name, first.codec, first.size_mb)
        placed[first.job_id] = Placed(name, at_s, free[name])
        waiting.remove(first)


@settings(max_examples=300)
@given(histories, policies, st.sampled_from([0.0, 5.0, inf]))
def test_jobs_are_placed_as_by_a_look_at_every_job(
    history: list[Command], policy: Policy, free_in_s: float
) -> None:
    fleet = live(history, policy)[0]
    for takes_s in (ten_seconds, by_name):
        assert placed_in(fleet, takes_s, free_in_s) == naively(fleet, takes_s, free_in_s)


@pytest.mark.parametrize("seed", range(12))
def test_so_they_are_on_a_farm_that_worked_for_long(seed: int) -> None:
    fleet = Fleet()
    for recorded in genuine(400, seed):
        evolve(fleet, recorded.event)
    assert placed_in(fleet, by_name) == naively(fleet, by_name, 5.0)


@given(histories, policies)
def test_no_engine_has_two_jobs_at_once_and_none_that_it_can_not_take(
    history: list[Command], policy: Policy
) -> None:
    fleet = live(history, policy)[0]
    busy: dict[str, float] = {}
    for job_id, it in placed_in(fleet).items():
        its = fleet.engines[it.engine_id]
        assert obstacle(fleet, its, fleet.jobs[job_id], is_asking=False) in FOR_NOW
        assert it.begins_s >= busy.get(it.engine_id, 5.0 if its.holds is not None else 0.0)
        busy[it.engine_id] = it.ends_s


def test_engines_take_turns_in_the_order_of_the_queue() -> None:
    jobs = [job(name, waits_since_s=since) for since, name in enumerate("abcde")]
    placed = placed_in(fleet_of(engine("x"), engine("y"), *jobs, assigned("a", "y")))
    assert {name: (it.engine_id, it.begins_s) for name, it in placed.items()} == {
        "b": ("x", 0.0),
        "c": ("y", 5.0),
        "d": ("x", 10.0),
        "e": ("y", 15.0),
    }


def test_who_gets_no_jobs_is_placed_none() -> None:
    engines = [engine(name) for name in "abc"] + [engine("d", status="busy")]
    none = (EngineDrained("a"), EngineLost("b", 60.0), blocked("c", "z"))
    assert placed_in(fleet_of(*engines, *none, job("j"))) == {}


def test_a_job_in_its_pause_begins_after_it_and_delays_nobody() -> None:
    until = NOW + timedelta(seconds=7)
    events = (engine("x"), job("a", waits_since_s=0), job("b", waits_since_s=1))
    placed = placed_in(fleet_of(*events, requeued("a", None, not_before=until)))
    assert (placed["b"].begins_s, placed["a"].begins_s) == (0.0, 10.0)
    placed = placed_in(fleet_of(events[0], events[1], requeued("a", None, not_before=until)))
    assert placed["a"].begins_s == 7.0


def test_two_jobs_that_leave_their_pause_at_once_go_to_both_engines_that_are_free() -> None:
    until = NOW + timedelta(seconds=7)
    only_x = job("narrow", codec="av1", waits_since_s=0)
    either = job("wide", codec="h264", waits_since_s=1)
    engines = (engine("x", supported_codecs=["h264", "av1"]), engine("y"))
    waits = [requeued(it.job_id, None, not_before=until) for it in (only_x, either)]
    narrow_too = engine("y", supported_codecs=["h264"])
    placed = placed_in(fleet_of(*engines, narrow_too, only_x, either, *reversed(waits)))
    assert {it.begins_s for it in placed.values()} == {7.0}
    assert placed["narrow"].engine_id == "x"


def test_jobs_whose_pause_is_over_but_not_ended_yet_keep_no_engine_waiting() -> None:
    later, sooner = (NOW - timedelta(seconds=by) for by in (5, 10))
    fleet = fleet_of(
        *(engine("x"), engine("y", supported_codecs=["h264"])),
        *(job("narrow", codec="av1", waits_since_s=0), job("wide", waits_since_s=1)),
        *(requeued("narrow", None, not_before=later), requeued("wide", None, not_before=sooner)),
    )
    assert placed_in(fleet) == {
        "narrow": Placed("x", 0.0, 10.0),
        "wide": Placed("y", 0.0, 10.0),
    }


def test_a_job_that_just_fits_is_taken_and_a_larger_one_is_not() -> None:
    small = engine("x", storage_capacity_gb=0.01)
    fleet = fleet_of(small, job("fits", size=10.0), job("larger", size=10.01))
    assert set(placed_in(fleet)) == {"fits"}
    failed = [requeued(name, "y") for name in ("fits", "larger")]
    both = fleet_of(small, engine("y"), job("fits", size=10.0), job("larger", size=10.01), *failed)
    assert {name: it.engine_id for name, it in placed_in(both).items()} == {
        "fits": "x",
        "larger": "y",
    }


def test_an_engine_of_which_it_is_not_known_when_it_is_free_gets_jobs_last() -> None:
    jobs = [job(name, waits_since_s=since) for since, name in enumerate("abc")]
    fleet = fleet_of(engine("x"), engine("y"), *jobs, assigned("a", "x"))
    assert {it.engine_id for it in placed_in(fleet, free_in_s=inf).values()} == {"y"}


def test_a_picture_stays_as_it_was_whatever_becomes_of_the_fleet() -> None:
    jobs = [job(name, waits_since_s=since) for since, name in enumerate("abc")]
    fleet = fleet_of(engine("x"), *jobs)
    picture, before = picture_of(fleet), placed_in(fleet)
    making = place(picture, NOW, lambda _: 5.0, ten_seconds)
    evolve(fleet, JobReprioritized("c", 100, START - timedelta(seconds=100)))
    evolve(fleet, assigned("c", "x"))
    evolve(fleet, EngineDrained("x"))
    assert made_by(making) == before
    assert [(number, it.job_id) for number, it in in_order(picture, 2)] == [(1, "a"), (2, "b")]


def test_of_many_lines_few_are_looked_at_between_two_yields() -> None:
    looked_at = 0

    class Counted(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            nonlocal looked_at
            for it in super().__iter__():
                looked_at += 1
                yield it

    codecs = [f"codec {number}" for number in range(5 * STEP)]
    jobs = [job(codec, codec=codec) for codec in codecs]
    paused = [requeued(codec, None, not_before=NOW) for codec in codecs[: 2 * STEP]]
    picture = picture_of(fleet_of(engine("x", supported_codecs=codecs), *jobs, *paused))
    counted = Picture(picture.engines, Counted(picture.lines), picture.paused, [])
    making, most, before = place(counted, NOW, lambda _: 5.0, ten_seconds), 0, 0
    for _ in making:
        most, before = max(most, looked_at - before), looked_at
    assert looked_at >= 3 * STEP
    assert most <= STEP


def test_jobs_in_line_are_numbered_and_those_in_their_pause_come_last() -> None:
    jobs = [
        job(name, codec=codec, waits_since_s=since)
        for since, (name, codec) in enumerate([("a", "h264"), ("b", "av1"), ("c", "h264")])
    ]
    fleet = fleet_of(*jobs, requeued("a", None, not_before=NOW))
    picture = picture_of(fleet)
    found = [(number, it.job_id) for number, it in in_order(picture, 9)]
    assert found == [(1, "b"), (2, "c"), (None, "a")]
    assert found[:2] == [(number, it.job_id) for number, it in in_order(picture, 2)]
    assert sorted(it.job_id for it in picture.all()) == ["a", "b", "c"]
