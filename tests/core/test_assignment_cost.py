"""An assignment looks at the fronts of the lines, not at all who wait in them."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from sortedcontainers import SortedKeyList

from dispatcher.core import queue as queue_module
from dispatcher.core.commands import AssignJob
from dispatcher.core.decider import decide
from dispatcher.core.events import EngineReported, JobAssigned, JobSubmitted
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.core.policy import DEFAULT_POLICY

MANY: Final = 100_000
CODECS: Final = ["h264", "vp9", "av1", "hevc"]
START: Final = datetime(2024, 1, 1, tzinfo=UTC)

looked_at: Counter[str] = Counter()


class CountedLine(SortedKeyList[Any, Any]):
    """A line that counts the jobs that somebody looked at."""

    def __getitem__(self, index: Any) -> Any:
        looked_at["front"] += 1
        return super().__getitem__(index)

    def __iter__(self) -> Iterator[Any]:
        for job in super().__iter__():
            looked_at["walked"] += 1
            yield job


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A farm where very many jobs of mixed codecs, sizes and priorities wait."""
    monkeypatch.setattr(queue_module, "SortedKeyList", CountedLine)
    fleet = Fleet()
    for n in range(MANY):
        priority = n * 7919 % 101
        since = START + timedelta(seconds=n - 60 * priority)
        codec, size = CODECS[n % 4], float(n * 104_729 % 2000)
        evolve(fleet, JobSubmitted(f"j{n}", "u", codec, size, 3, priority, since))
    looked_at.clear()
    return fleet


@pytest.mark.parametrize("engine_id", ["any codec", None])
def test_an_assignment_looks_at_no_more_jobs_than_there_are_lines(
    crowded: Fleet, engine_id: str | None
) -> None:
    for name, codecs in (("any codec", []), ("one codec", ["av1"])):
        report = {"supported_codecs": codecs, "benchmark_time": 1.0}
        evolve(crowded, EngineReported(name, report))
    engines = 1 if engine_id is not None else 2
    lines = len(CODECS) * 12  # sizes under 2,000 MB fall into twelve classes
    given = decide(crowded, AssignJob(engine_id), START, DEFAULT_POLICY)
    (event,) = given.events
    assert isinstance(event, JobAssigned)
    assert 0 < looked_at["front"] <= engines * lines
    assert looked_at["walked"] == 0
    evolve(crowded, event)
    assert looked_at["walked"] == 0
    assert len(crowded.queue) == MANY - 1


def test_the_job_that_is_given_is_the_first_of_all(crowded: Fleet) -> None:
    evolve(crowded, EngineReported("e", {}))
    first = min(crowded.jobs.values(), key=lambda job: job.place)
    given = decide(crowded, AssignJob("e"), START, DEFAULT_POLICY)
    assert given.events == (JobAssigned(first.job_id, "e", 1, "asked by name"),)
