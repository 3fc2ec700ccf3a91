"""What a log says of how the farm has fared, told as stories."""

from datetime import timedelta

from hypothesis import given as examples
from hypothesis import strategies as st

from dispatcher.core.events import (
    AnswerRefused,
    EngineSeen,
    Event,
    JobCancelled,
    JobFailedPermanently,
    JobRetried,
    Recorded,
)
from dispatcher.evidence.statistics import EngineTotals, Spread, Statistics, Totals
from tests.support.given import START, assigned, completed, engine, job, requeued
from tests.support.histories import genuine
from tests.support.strategies import any_events


def totals(*story: tuple[float, Event]) -> Totals:
    """Sum up what happened, each so many seconds after the start."""
    statistics = Statistics()
    for seq, (at_s, event) in enumerate(story, 1):
        statistics.apply(Recorded(seq, START + timedelta(seconds=at_s), "tester", event))
    return statistics.totals()


def lost(job_id: str, engine_id: str | None, attempt: int = 1) -> JobFailedPermanently:
    return JobFailedPermanently(job_id, engine_id, attempt, 1, "broke")


def test_of_nothing_there_is_nothing_to_sum_up() -> None:
    assert totals() == Totals(0, {}, 0, 0, None, None, [])


def test_jobs_are_counted_by_what_became_of_them() -> None:
    summed = totals(
        *((0, job(name)) for name in ("a", "b", "c", "d", "e", "f")),
        (0, assigned("a", "x")),
        (1, completed("a", "x")),
        (1, assigned("b", "x")),
        (2, lost("b", "x")),
        (2, JobCancelled("c", None, 0)),
        (2, assigned("d", "x")),
        (3, JobCancelled("e", None, 0)),
        (4, JobRetried("e")),
    )
    assert summed.events == 14
    assert summed.jobs == {
        "assigned": 1,
        "cancelled": 1,
        "completed": 1,
        "failed_permanently": 1,
        "pending": 2,
    }


def test_a_retry_is_an_attempt_that_was_not_the_last() -> None:
    summed = totals(
        (0, job("a")),
        (0, assigned("a", "x", 1)),
        (1, requeued("a", "x", attempt=1)),
        (1, assigned("a", "y", 2)),
        (2, requeued("a", "y", attempt=2)),
        (2, assigned("a", "x", 3)),
        (3, lost("a", "x", 3)),
    )
    assert summed.retries == 2
    assert summed.attempts == Spread(3, 1.0, 1.0)


def test_a_job_waits_from_its_submission_to_its_first_assignment() -> None:
    summed = totals(
        (0, job("a")),
        (5, assigned("a", "x", 1)),
        (6, requeued("a", "x", attempt=1)),
        (60, assigned("a", "x", 2)),
        (100, job("b")),
    )
    assert summed.waits == Spread(1, 5.0, 5.0)


def test_a_job_that_was_given_up_before_it_was_assigned_has_waited_for_nothing() -> None:
    summed = totals(
        (0, job("a")),
        (9, JobCancelled("a", None, 0)),
        (9, JobRetried("a")),
        (10, assigned("a", "x")),
    )
    assert summed.waits is None


def test_percentiles_are_times_that_really_occurred() -> None:
    story: list[tuple[float, Event]] = [(0, job(str(n))) for n in range(1, 21)]
    story += [(n, assigned(str(n), "x")) for n in range(20, 0, -1)]
    assert totals(*story).waits == Spread(20, 10.0, 19.0)
    assert totals(story[0], story[-1]).waits == Spread(1, 1.0, 1.0)
    assert totals(*story[:2], *story[-2:]).waits == Spread(2, 1.0, 2.0)
    assert totals(*story[:3], *story[-3:]).waits == Spread(3, 2.0, 3.0)


def test_engines_are_shown_with_the_busiest_first() -> None:
    summed = totals(
        (0, engine("idle")),
        *((0, job(name)) for name in ("a", "b", "c", "d")),
        (0, assigned("a", "x")),
        (0, assigned("b", "y")),
        (3, completed("a", "x")),
        (3, assigned("c", "x")),
        (4, requeued("c", "x")),
        (5, JobCancelled("b", "y", 1)),
        (5, assigned("d", "y")),
    )
    assert summed.busiest_engines == [
        EngineTotals("y", attempts=2, completed=0, failed=0, busy_s=5.0),
        EngineTotals("x", attempts=2, completed=1, failed=1, busy_s=4.0),
    ]


def test_of_engines_that_were_as_busy_the_name_decides() -> None:
    summed = totals(
        *((0, job(name)) for name in ("a", "b")),
        *((0, event) for event in (assigned("a", "y"), assigned("b", "x"))),
    )
    assert [it.engine_id for it in summed.busiest_engines] == ["x", "y"]


def test_an_end_that_no_engine_was_at_counts_for_no_engine() -> None:
    summed = totals(
        (0, job("a")), (1, completed("a", None, 0)), (1, job("b")), (2, lost("b", None))
    )
    assert summed.jobs == {"completed": 1, "failed_permanently": 1}
    assert summed.busiest_engines == []
    assert summed.attempts is None


def test_a_late_answer_is_counted_and_changes_nothing() -> None:
    late = AnswerRefused("a", "x", 1, "complete", "too late")
    summed = totals((0, job("a")), (1, late), (2, late), (3, EngineSeen("x")))
    assert summed.refused_answers == 2
    assert summed.jobs == {"pending": 1}
    assert summed.busiest_engines == []


def test_a_clock_that_was_set_back_makes_no_time_negative() -> None:
    summed = totals(
        (100, job("a")), (40, assigned("a", "x")), (10, completed("a", "x")), (500, engine("x"))
    )
    assert (summed.waits, summed.attempts) == (Spread(1, 0.0, 0.0), Spread(1, 0.0, 0.0))
    assert summed.busiest_engines[0].busy_s == 0.0


@examples(st.lists(any_events, max_size=30))
def test_whatever_happens_can_be_summed_up(story: list[Event]) -> None:
    assert totals(*((0, event) for event in story)).events == len(story)


def test_what_is_summed_up_of_a_farm_agrees_with_itself() -> None:
    statistics = Statistics()
    log = genuine(1_000)
    for recorded in log:
        statistics.apply(recorded)
    summed = statistics.totals()
    engines, jobs = summed.busiest_engines, summed.jobs
    assert summed.events == len(log)
    assert summed.waits is not None
    assert summed.attempts is not None
    assert sum(it.attempts for it in engines) == summed.attempts.count + jobs.get("assigned", 0)
    assert sum(it.busy_s for it in engines) > 0
    assert summed.waits.p50_s <= summed.waits.p95_s
