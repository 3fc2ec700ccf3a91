"""The index says of jobs and engines, as of any of its steps, what a replay of everything says."""

import itertools
import random
from pathlib import Path
from typing import Final

import pytest

from dispatcher.core.events import Recorded, engine_of, job_of
from dispatcher.index import IndexFaultError, JobRow
from dispatcher.index import file as index_file
from dispatcher.index.reading import Index
from dispatcher.index.records import seqs_of, seqs_packed
from dispatcher.index.steps import evict, step_of, write
from dispatcher.state.replay import State
from dispatcher.state.snapshots import FOLD_VERSION
from projections.filters import JobFilter
from tests.log.golden.make import told
from tests.support.histories import genuine
from tests.support.remembered import Remembered

SIZE: Final = 600
STORY: Final = genuine(SIZE, seed=13)
HEAD: Final = len(STORY)
FILTERS: Final = [
    *(JobFilter(), JobFilter(frozenset({"cancelled"})), JobFilter(frozenset({"completed"}))),
    JobFilter(frozenset({"cancelled", "failed_permanently", "pending"})),
    *(JobFilter(codec="vp9"), JobFilter(engine="é"), JobFilter(engine="nobody")),
    *(JobFilter(words=("é",)), JobFilter(words=("broke", "media/1")), JobFilter(words=("x",))),
    JobFilter(since=STORY[200].at, until=STORY[400].at),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db.index"


def made(path: Path, steps: list[int], story: list[Recorded] = STORY) -> Remembered:
    """Make an index in such steps, evicting what each has; gives what it should say."""
    index_file.new(path)
    finished = Remembered()
    state, whole, after = State(finished=finished), State(), 0
    for recorded in story:
        state.apply(recorded)
        whole.apply(recorded)
        finished.notice(whole)
        if recorded.seq in steps:
            write(path, FOLD_VERSION, step_of(state.fleet, state.projections, after), ())
            after = recorded.seq
            evict(state.fleet, state.projections, after, set())
    return finished


def check_pages(
    index: Index, finished: Remembered, at: int, limit: int, wanted: JobFilter, *, newest: bool
) -> None:
    """Compare all pages after the first job and all after another, without what is not wanted."""
    for first in (None, 7):
        after, found = first, list[JobRow]()
        while page := index.page(after, at, limit, wanted, newest=newest):
            assert len(page) <= limit
            found += page
            after = page[-1][0]
        expected = finished.page(first, at, 1_000_000, wanted, newest=newest)
        assert [row for row in found if row[1] is not None] == expected
        assert [number for number, _ in found] == sorted({it for it, _ in found}, reverse=newest)


def check(path: Path, finished: Remembered, steps: list[int]) -> None:
    """Compare all that an index can be asked, as of the seqs of its steps."""
    upto = max(steps)
    whole = State()
    for recorded in STORY[:upto]:
        whole.apply(recorded)
    jobs = {job_id for it in STORY if (job_id := job_of(it.event)) is not None}
    engines = {engine_id for it in STORY if (engine_id := engine_of(it.event)) is not None}
    with Index(path, FOLD_VERSION) as index:
        assert index.upto == upto
        for at in (0, *random.Random(0).sample(steps[:-1], min(5, len(steps) - 1)), upto):
            for job_id in jobs:
                assert index.job(job_id, at) == finished.job(job_id, at)
                assert index.number_of(job_id, at) == finished.number_of(job_id, at)
            for limit in (3, 1_000):
                for wanted, newest in itertools.product(FILTERS, (False, True)):
                    check_pages(index, finished, at, limit, wanted, newest=newest)
        history = whole.projections.history
        for after, last, at_most in ((0, upto, 9_999), (100, 300, 9_999), (50, upto, 7)):
            for job_id in jobs:
                seqs = [seq for seq in history.of_job(job_id) if after < seq <= last]
                assert index.seqs_of_job(job_id, after, last, at_most) == seqs[:at_most]
            for engine in engines:
                seqs = [seq for seq in history.of_engine(engine) if after < seq <= last]
                assert index.seqs_of_engine(engine, after, last, at_most) == seqs[:at_most]


@pytest.mark.parametrize(
    "steps",
    [
        *([HEAD], [1, 2, 3, HEAD], [*range(5, HEAD, 5)]),
        *(sorted(random.Random(seed).sample(range(HEAD), 9)) for seed in range(3)),
    ],
    ids=["one step", "few", "many", "random", "random", "random"],
)
def test_it_says_what_a_replay_of_everything_says(path: Path, steps: list[int]) -> None:
    check(path, made(path, steps), steps)


def test_a_step_that_overlaps_what_it_has_adds_only_what_is_new(path: Path) -> None:
    """As after a kill between a step and its snapshot: the next start begins before the step."""
    finished = made(path, [300, 500])
    state = State(finished=finished)
    for recorded in STORY:
        state.apply(recorded)
        if recorded.seq == 300:
            evict(state.fleet, state.projections, 300, set())
        if recorded.seq in {400, 450, HEAD}:
            write(path, FOLD_VERSION, step_of(state.fleet, state.projections, 300), ())
    check(path, finished, [300, 500, HEAD])


def test_a_job_is_found_by_its_idempotency_key(path: Path) -> None:
    story = told()
    finished = made(path, [len(story)], story)
    with Index(path, FOLD_VERSION) as index:
        keyed = [it for it in finished.all(len(story)) if it.submitted is not None]
        assert keyed
        for found in keyed:
            assert found.submitted is not None
            assert index.job_of_key(found.submitted.idempotency_key or "") == found
        assert index.job_of_key("nobody's") is None


@pytest.mark.parametrize("seqs", [[7], [1, 2, 300], [5, 70_000, 70_001], [1, 1 << 40, 1 << 41]])
def test_seqs_are_unpacked_as_they_were(seqs: list[int]) -> None:
    assert seqs_of(seqs[0], seqs_packed(seqs)) == seqs


def test_what_is_no_index_of_this_version_is_not_read(path: Path) -> None:
    with pytest.raises(IndexFaultError, match="there is none"):
        Index(path, FOLD_VERSION)
    path.write_bytes(b"something else" * 100)
    with pytest.raises(IndexFaultError, match="not a database"):
        Index(path, FOLD_VERSION)
    made(path, [HEAD])
    with pytest.raises(IndexFaultError, match="was made by another version of the dispatcher"):
        Index(path, FOLD_VERSION + 1)
    path.chmod(0o666)
    with pytest.raises(IndexFaultError, match="every user can write to it"):
        Index(path, FOLD_VERSION)
    path.chmod(0o644)
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))
    with pytest.raises(IndexFaultError, match="is no regular file"):
        Index(path, FOLD_VERSION)
