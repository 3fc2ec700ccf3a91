"""The farm in numbers: what the folds say is what a count of all that happened says."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.commands import Command
from dispatcher.core.events import (
    FINAL,
    EngineBlocked,
    EngineDrained,
    EngineLost,
    EngineSeen,
    Event,
    JobCancelled,
    JobRetried,
    JobSubmitted,
    Recorded,
)
from dispatcher.core.policy import Policy
from projections import Projections
from projections.jobs import STATUSES
from projections.series import LONGEST_H, SeriesShown
from projections.statistics import MOST_CODECS, OTHERS
from tests.state.test_replay import histories, live
from tests.support.given import assigned, completed, engine, failed, job
from tests.support.histories import genuine
from tests.support.strategies import any_events, policies, times

START: Final = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE: Final = timedelta(minutes=1)
HOURS: Final = st.sampled_from([1, 3, 24, 168, 720, 8760, LONGEST_H])
COUNTS: Final = {
    "completed": "completed",
    "failed_permanently": "failed",
    "cancelled": "cancelled",
}


def projected(*events: Event, every_s: float = 1.0) -> Projections:
    """Fold events that happened so many seconds apart."""
    return folded([at_second(number * every_s, it) for number, it in enumerate(events)])


def at_second(second: float, event: Event) -> Recorded:
    return Recorded(0, START + timedelta(seconds=second), "tester", event)


def folded(log: Sequence[Recorded]) -> Projections:
    projections = Projections()
    for seq, it in enumerate(log, 1):
        projections.apply(Recorded(seq, it.at, it.actor, it.event))
    return projections


def series_of(projections: Projections, hours: int) -> SeriesShown:
    seq, time, engines = projections.seq, projections.time, projections.engines
    return projections.statistics.over(hours, seq, time, engines)


def counts_of(projections: Projections) -> dict[str, int]:
    seq, time = projections.seq, projections.time
    jobs, engines = projections.jobs, projections.engines
    return projections.statistics.now(seq, time, jobs, engines).jobs


# The counts of now


def check_counts(projections: Projections) -> None:
    """Compare the counts with all jobs and engines, one by one."""
    jobs, engines = projections.jobs.all(), projections.engines.all()
    seq, time = projections.seq, projections.time
    now = projections.statistics.now(seq, time, projections.jobs, projections.engines)
    assert now.jobs == {status: sum(it.status == status for it in jobs) for status in STATUSES}
    assert now.codecs == {
        codec: {
            status: sum((it.status, it.target_codec) == (status, codec) for it in jobs)
            for status in STATUSES
        }
        for codec in {it.target_codec for it in jobs}
    }
    assert sum(now.engines.values()) == len(engines)
    assert now.engines["silent"] == sum(not it.online for it in engines)
    assert projections.engines.online == sum(it.online for it in engines)
    assert projections.engines.working == sum(it.current_job is not None for it in engines)
    waiting = [it.submitted_at for it in jobs if it.status == "pending"]
    assert now.oldest_waiting_since == (waiting[0] if waiting else None)


@given(histories, policies)
def test_at_every_seq_the_counts_are_those_of_all_jobs_and_engines(
    history: list[Command], policy: Policy
) -> None:
    projections = Projections()
    for recorded in live(history, policy)[2]:
        projections.apply(recorded)
        check_counts(projections)


@given(st.lists(any_events, max_size=30))
def test_so_they_are_whatever_is_in_a_log(events: list[Event]) -> None:
    projections = Projections()
    for seq, event in enumerate(events, 1):
        projections.apply(Recorded(seq, START, "tester", event))
        check_counts(projections)


def test_a_job_that_is_retried_is_counted_once_and_may_end_again() -> None:
    once = (job("a"), JobCancelled("a", None, 0))
    assert counts_of(projected(*once, JobRetried("a")))["pending"] == 1
    twice = projected(*once, JobRetried("a"), JobCancelled("a", None, 0))
    assert sum(counts_of(twice).values()) == counts_of(twice)["cancelled"] == 1
    assert sum(series_of(twice, 1).cancelled) == 2


def test_jobs_that_were_evicted_are_still_counted() -> None:
    projections = projected(job("a"), engine("e"), assigned("a", "e"), completed("a", "e"))
    projections.jobs.evict("a")
    assert counts_of(projections)["completed"] == 1


def test_an_engine_is_counted_as_what_says_most_about_it() -> None:
    events: list[Event] = [engine(name) for name in "abcdefg"]
    events += [job("1"), job("2"), assigned("1", "a"), assigned("2", "b"), EngineDrained("b")]
    events += [EngineDrained("c"), EngineLost("c", 60.0), EngineDrained("d")]
    events += [EngineBlocked("d", "broke"), engine("e", status="busy")]
    projections = projected(*events)
    assert projections.engines.states() == {
        "working": 2,
        "idle": 2,
        "silent": 1,
        "blocked": 1,
        "draining": 1,
    }


def test_memory_is_bounded_however_many_codecs_are_asked_for() -> None:
    many = [job(str(n), codec=f"codec {n}") for n in range(MOST_CODECS + 50)]
    projections = projected(*many, JobCancelled(str(MOST_CODECS + 9), None, 0))
    now = projections.statistics.now(1, START, projections.jobs, projections.engines)
    assert len(now.codecs) == MOST_CODECS + 1
    assert (now.codecs[OTHERS]["pending"], now.codecs[OTHERS]["cancelled"]) == (49, 1)
    assert sum(now.jobs.values()) == len(many)


# The series


def naive_counts(
    log: Sequence[Recorded], first: datetime, step_s: int, steps: int
) -> list[list[int]]:
    """Count submissions and ends in each step by the time of each event, from the first on."""
    counts = [[0] * steps for _ in range(4)]
    projections = Projections()
    for seq, it in enumerate(log, 1):
        before = {job.job_id: job.status for job in projections.jobs.all()}
        projections.apply(Recorded(seq, it.at, it.actor, it.event))
        step = (it.at - first) // timedelta(seconds=step_s)
        for view in projections.jobs.all():
            if 0 <= step < steps and before.get(view.job_id) != view.status:
                if view.job_id not in before:
                    counts[0][step] += 1
                elif view.status in FINAL:
                    counts[1 + list(COUNTS).index(view.status)][step] += 1
    return counts


def after_gaps(gaps: list[float]) -> list[datetime]:
    return [START + timedelta(seconds=40_000 + it) for it in accumulate(gaps)]


def at_times(at: list[datetime], seed: int) -> list[Recorded]:
    """Let a farm work at random, with these times."""
    log = genuine(60, seed)
    return [Recorded(1, time, "x", it.event) for time, it in zip(at, log, strict=False)]


within_a_day = st.floats(0, 86_399).map(lambda second: START + timedelta(seconds=second))
near = st.lists(st.floats(-90, 200), min_size=1, max_size=60).map(after_gaps)


@given(st.integers(0, 20), st.lists(within_a_day, min_size=1, max_size=60) | near, HOURS)
def test_an_event_counts_in_the_step_of_its_own_time_also_if_the_clock_steps_back(
    seed: int, at: list[datetime], hours: int
) -> None:
    log = at_times(at, seed)
    shown = series_of(folded(log), hours)
    assert shown.since is not None
    steps = len(shown.submitted)
    assert [shown.submitted, shown.completed, shown.failed, shown.cancelled] == naive_counts(
        log, shown.since, shown.step_s, steps
    )


@given(st.integers(0, 20), st.lists(st.floats(0, 500), min_size=1, max_size=60), HOURS)
def test_waiting_busy_and_online_are_as_at_the_end_of_each_step(
    seed: int, gaps: list[float], hours: int
) -> None:
    log = at_times(after_gaps(gaps), seed)
    shown = series_of(folded(log), hours)
    assert shown.since is not None
    for number in range(len(shown.waiting)):
        end = shown.since + timedelta(seconds=shown.step_s) * (number + 1)
        then = folded([it for it in log if it.at < end])
        engines = then.engines.all()
        assert shown.waiting[number] == counts_of(then)["pending"]
        assert shown.busy[number] == sum(it.current_job is not None for it in engines)
        assert shown.online[number] == sum(it.online for it in engines)


@given(st.integers(0, 20), st.lists(st.floats(0, 500), max_size=60))
def test_the_sums_of_the_series_are_the_totals(seed: int, gaps: list[float]) -> None:
    log = at_times(after_gaps(gaps), seed)
    projections = folded(log)
    for hours in (24, 168, 720, 8760):
        shown = series_of(projections, hours)
        assert sum(shown.submitted) == projections.jobs.submitted
        assert len(shown.submitted) in {0, hours * 3600 // shown.step_s}
        assert shown.waiting[-1:] == [counts_of(projections)["pending"]][: len(shown.waiting)]


@given(st.lists(st.tuples(any_events, times), max_size=30), HOURS)
def test_any_log_with_any_times_has_a_series(
    events: list[tuple[Event, datetime]], hours: int
) -> None:
    projections = folded([Recorded(1, time, "x", event) for event, time in events])
    shown = series_of(projections, hours)
    lists = [shown.submitted, shown.completed, shown.failed, shown.cancelled]
    assert all(number >= 0 for numbers in lists for number in numbers)
    assert len({*map(len, [*lists, shown.waiting, shown.busy, shown.online])}) == 1


@pytest.mark.parametrize(
    ("hours", "step_s", "steps"),
    [
        *((1, 60, 60), (24, 60, 1440), (25, 600, 150), (168, 600, 1008), (720, 3600, 720)),
        *((768, 3600, 768), (769, 86_400, 33), (8760, 86_400, 365), (LONGEST_H, 86_400, 3660)),
    ],
)
def test_the_further_back_the_longer_the_steps(hours: int, step_s: int, steps: int) -> None:
    shown = series_of(projected(job("a")), hours)
    assert (shown.step_s, len(shown.submitted), sum(shown.submitted)) == (step_s, steps, 1)
    assert shown.submitted[-1] == 1
    assert shown.since is not None
    assert shown.since + timedelta(seconds=step_s) * steps > START


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00", "9999-12-31T23:59:59.999999"])
def test_there_is_a_series_at_the_ends_of_all_times(at: str) -> None:
    time = datetime.fromisoformat(at).replace(tzinfo=UTC)
    projections = folded([Recorded(1, time, "x", job("a")), Recorded(2, time, "x", job("b"))])
    for hours in (1, 24, LONGEST_H):
        assert sum(series_of(projections, hours).submitted) == 2


def test_a_wrong_clock_spoils_nothing_but_its_own_steps() -> None:
    wrong = [timedelta(days=-20_000), timedelta(days=9_000)]
    log = [at_second(0, job("a")), at_second(1, job("b"))]
    log += [Recorded(1, START + by, "x", job(f"at {by}")) for by in wrong]
    log += [at_second(60, job("c"))]
    shown = series_of(folded(log), 1)
    assert (shown.submitted[-2:], shown.waiting[-1]) == ([2, 1], 5)


def test_a_time_that_comes_again_is_shown_as_it_was_the_last_time() -> None:
    log = [at_second(0, job("a")), at_second(3600, engine("e"))]  # an hour fast, and set right
    log += [at_second(second, job(f"at {second}")) for second in range(60, 3660, 600)]
    log += [at_second(3600, engine("e")), at_second(3660, engine("e"))]
    shown = series_of(folded(log), 2)
    assert shown.waiting[-3:] == [7, 7, 7]


def test_memory_is_bounded_however_long_the_farm_works() -> None:
    projections = Projections()
    for hour in range(4_000 * 24):
        projections.apply(Recorded(hour + 1, START + timedelta(hours=hour), "x", EngineSeen("e")))
    levels = projections.snapshot().statistics.series.levels
    assert [len(steps) for steps in levels] == [1_447, 1_009, 769, 3_671]


def test_a_step_of_a_quiet_time_is_as_it_was_before() -> None:
    log = [at_second(0, job("a")), at_second(1, engine("e"))]
    log += [at_second(600, failed("a", None)), at_second(7 * 86_400, engine("e"))]
    shown = series_of(folded(log), 169)
    assert shown.waiting == [0] * (len(shown.waiting))
    assert (shown.online[-1], sum(shown.failed), sum(shown.submitted)) == (1, 1, 1)


def test_what_is_asked_for_changes_nothing() -> None:
    ours, theirs = Projections(), Projections()
    for seq, it in enumerate(genuine(300), 1):
        for projections in (ours, theirs):
            projections.apply(Recorded(seq, it.at, it.actor, it.event))
        series_of(theirs, 1)
        theirs.snapshot()
    assert ours.snapshot().statistics == theirs.snapshot().statistics
    assert any(isinstance(it.event, JobSubmitted) for it in genuine(300))
