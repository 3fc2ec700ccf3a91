"""The order in which waiting jobs are owed an engine."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.job import Job, Place
from dispatcher.core.queue import Queue, QueueLine, Sizes
from tests.support.strategies import amounts

ANY = Sizes(-1.0, math.inf)
NOBODY = frozenset[str]()


def waiting(
    job_id: str,
    number: int,
    *,
    codec: str = "h264",
    size: float = 10.0,
    failed_by: frozenset[str] = NOBODY,
) -> Job:
    return Job(job_id, codec, size, 3, Place(0, number), failed_by=failed_by)


def queue_of(*jobs: Job) -> Queue:
    queue = Queue()
    for job in jobs:
        queue.add(job)
    return queue


def first(queue: Queue, *codecs: str, sizes: Sizes = ANY) -> str | None:
    """Give the first job for one of these codecs, or for any if none is named."""
    found = queue.first(codecs or None, lambda _: sizes)
    return None if found is None else found.job_id


def test_the_first_job_is_the_one_with_the_smallest_place_whenever_it_was_added() -> None:
    queue = queue_of(waiting("late", 7), waiting("early", 3, codec="vp9"), waiting("middle", 5))
    assert first(queue) == "early"
    assert first(queue, "h264") == "middle"
    assert first(queue, "h264", "vp9") == "early"


def test_codecs_that_nobody_waits_for_are_no_hindrance() -> None:
    queue = queue_of(waiting("a", 1))
    assert first(queue, "av1", "h264", "h264") == "a"
    assert first(queue, "av1") is None


def test_an_empty_queue_has_no_first_job() -> None:
    assert first(Queue()) is None
    assert len(Queue()) == 0


def test_a_job_that_comes_back_takes_its_old_place() -> None:
    a, b = waiting("a", 1), waiting("b", 2)
    queue = queue_of(a, b)
    queue.remove(a)
    assert first(queue) == "b"
    queue.add(a)
    assert list(queue) == ["a", "b"]


@pytest.mark.parametrize("job", [waiting("b", 2), waiting("c", 1, codec="vp9")])
def test_what_is_not_there_can_not_be_removed_unnoticed(job: Job) -> None:
    queue = queue_of(waiting("a", 1))
    with pytest.raises((KeyError, ValueError)):
        queue.remove(job)
    assert list(queue) == ["a"]


def test_a_line_is_forgotten_with_its_last_job() -> None:
    a = waiting("a", 1)
    queue = queue_of(a, waiting("b", 2, codec="vp9"))
    queue.remove(a)
    seen: list[QueueLine] = []
    queue.first(None, seen.append)
    assert [line.codec for line in seen] == ["vp9"]
    assert len(queue) == 1


def test_a_paused_job_is_in_the_queue_but_in_no_line() -> None:
    queue = queue_of(waiting("b", 2))
    queue.add(waiting("a", 1), datetime(2024, 1, 1, tzinfo=UTC))
    assert "a" in queue.paused
    assert "b" not in queue.paused
    assert first(queue) == "b"
    assert sorted(queue) == ["a", "b"]
    assert len(queue) == 2
    assert queue.ahead_of(Place(0, 9)) == 1


def test_a_paused_job_can_be_removed() -> None:
    queue, a = Queue(), waiting("a", 1)
    queue.add(a, datetime(2024, 1, 1, tzinfo=UTC))
    queue.remove(a)
    assert "a" not in queue.paused
    assert len(queue) == 0


def test_the_jobs_ahead_of_a_place_are_counted_over_all_lines() -> None:
    queue = queue_of(
        waiting("a", 1),
        waiting("b", 2, codec="vp9"),
        waiting("c", 3, size=9000.0),
        waiting("d", 4, failed_by=frozenset({"e"})),
    )
    assert [queue.ahead_of(Place(0, number)) for number in (1, 2, 3, 4, 5)] == [0, 1, 2, 3, 4]
    assert queue.ahead_of(Place(-1, 9)) == 0


def test_a_line_is_asked_for_by_codec_by_failures_and_by_size_class() -> None:
    queue = queue_of(waiting("a", 1), waiting("b", 2, failed_by=frozenset({"e"}), size=1000.0))
    lines: list[QueueLine] = []
    queue.first(None, lines.append)
    assert lines == [QueueLine("h264", NOBODY, 4), QueueLine("h264", frozenset({"e"}), 10)]


@pytest.mark.parametrize("size", [0.0, 0.3, 0.5, 1.0, 2.0, 10.0, 1000.0, 1024.0, 2.0**40])
def test_a_size_may_be_exactly_as_large_as_allowed_and_must_be_larger_than_the_bound_below(
    size: float,
) -> None:
    queue = queue_of(waiting("a", 1, size=size))
    assert first(queue, sizes=Sizes(-1.0, size)) == "a"
    assert first(queue, sizes=Sizes(size, math.inf)) is None
    assert first(queue, sizes=Sizes(math.nextafter(size, -1.0), size)) == "a"
    assert first(queue, sizes=Sizes(-1.0, math.nextafter(size, -1.0))) is None


bounds = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 50.0, math.inf]) | amounts


@given(st.lists(amounts, max_size=12), bounds, bounds)
def test_the_first_job_of_a_size_is_the_one_that_looking_at_all_of_them_finds(
    sizes: list[float], over: float, upto: float
) -> None:
    jobs = [waiting(str(n), n, size=size) for n, size in enumerate(sizes)]
    expected = next((job.job_id for job in jobs if over < job.size_mb <= upto), None)
    assert first(queue_of(*jobs), sizes=Sizes(over, upto)) == expected


@given(st.permutations(range(6)))
def test_the_order_of_adding_does_not_matter(order: list[int]) -> None:
    jobs = [waiting(str(n), n, size=4.0**n) for n in range(6)]
    queue, given_out = queue_of(*(jobs[n] for n in order)), list[str]()
    while (found := queue.first(None, lambda _: ANY)) is not None:
        queue.remove(found)
        given_out.append(found.job_id)
    assert given_out == ["0", "1", "2", "3", "4", "5"]
