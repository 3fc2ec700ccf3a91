"""The job that waits longest is known without a look at all jobs."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections import oldest
from projections.oldest import Numbered, Oldest

FEW = 3


class Farm:
    """Jobs by number, and whether each is pending; it counts those that are looked at."""

    def __init__(self, submitted: int = 0) -> None:
        self.pending = [True] * submitted
        self.looked_at = 0
        self.oldest = Oldest(upto=0) if submitted else Oldest()

    def submit(self) -> None:
        self.oldest.add(len(self.pending), str(len(self.pending)))
        self.pending.append(True)

    def turn(self, number: int) -> None:
        """End a job, or give it back."""
        self.pending[number] = not self.pending[number]
        if self.pending[number]:
            self.oldest.add(number, str(number))

    def found(self) -> str | None:
        return self.oldest.job_id(self._is_pending, self._pending_from)

    def expected(self) -> str | None:
        return next((str(at) for at, pending in enumerate(self.pending) if pending), None)

    def _is_pending(self, job_id: str) -> bool:
        self.looked_at += 1
        return self.pending[int(job_id)]

    def _pending_from(self, number: int) -> Iterator[Numbered]:
        for at in range(number, len(self.pending)):
            self.looked_at += 1
            if self.pending[at]:
                yield at, str(at)


@pytest.fixture(autouse=True, scope="module")
def _few() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(oldest, "MOST", FEW)
        yield


@given(st.integers(0, 9), st.lists(st.one_of(st.just("ask"), st.just("submit"), st.integers(0, 9))))
def test_it_is_the_one_that_a_look_at_all_finds(restored: int, story: list[str | int]) -> None:
    farm = Farm(restored)
    for step in story:
        if step == "submit":
            farm.submit()
        elif isinstance(step, int) and step < len(farm.pending):
            farm.turn(step)
        elif step == "ask":
            assert farm.found() == farm.expected()
    assert farm.found() == farm.expected()


def test_jobs_that_ended_are_looked_at_once_however_often_somebody_asks() -> None:
    farm = Farm(1_000)
    for number in range(999):
        farm.turn(number)
    assert farm.found() == "999"
    farm.looked_at = 0
    for _ in range(10):
        assert farm.found() == "999"
    assert farm.looked_at == 10


def test_on_a_farm_where_nothing_waits_none_is_looked_at() -> None:
    farm = Farm(1_000)
    for number in range(1_000):
        farm.turn(number)
    assert farm.found() is None
    farm.looked_at = 0
    farm.submit()
    assert farm.found() == "1000"
    assert farm.looked_at == 1
