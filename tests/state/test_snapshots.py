"""A snapshot is the state, and a shortcut to it: it never changes what a replay gives."""

import logging
import math
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dispatcher.core.commands import Command
from dispatcher.core.events import Recorded
from dispatcher.core.invariants import check_fleet, check_jobs
from dispatcher.core.policy import Policy
from dispatcher.core.queue import Sizes
from dispatcher.log import serialization
from dispatcher.log.merkle import Frontier, leaf_hash
from dispatcher.log.sqlite import SqliteLog
from dispatcher.state import snapshots
from dispatcher.state.agreement import check_shown
from dispatcher.state.replay import State, replay
from dispatcher.state.shortcuts import Shortcuts
from dispatcher.state.snapshots import SnapshotError, Snapshots, decode, encode
from tests.log.golden.make import told
from tests.state.test_replay import histories, live
from tests.support.beside import kept_beside
from tests.support.fleet_contents import inside
from tests.support.given import START, job
from tests.support.log_contents import encoded
from tests.support.remembered import Remembered, completed, lightened
from tests.support.strategies import policies, times
from tests.support.watched_log import WatchedLog

HEAD: Final = 40
STORY: Final = told()[:HEAD]


def tree_of(recorded: list[Recorded]) -> Frontier:
    tree = Frontier()
    for one in recorded:
        tree.append(leaf_hash(serialization.line(serialization.encode(one))))
    return tree


def folded(recorded: list[Recorded]) -> State:
    state = State()
    for one in recorded:
        state.apply(one)
    return state


def restored(state: State, finished: Remembered) -> State:
    again = decode(encode(state, a_tree(state.seq)))[0]
    again.finished = finished
    return again


def a_tree(size: int) -> Frontier:
    """Give a tree for those who need none."""
    return Frontier(size, [bytes(32)] * size.bit_count())


def everything_of(state: State) -> list[Any]:
    """All that can be asked of a state, and the bytes of its snapshot."""
    jobs = state.projections.jobs
    fleet = inside(state.fleet)
    fleet["queue"] = sorted(fleet["queue"])  # line by line, and any line may come first
    by_number = sorted(state.fleet.jobs.values(), key=lambda job: job.place.number)
    return [
        encode(state, a_tree(state.seq)),
        msgspec.json.encode(state.projections.state()),
        fleet,
        [state.fleet.queue.ahead_of(job.place) for job in by_number],
        [jobs.after(job.number) for job in jobs.after(None)],
        (jobs.submitted, sorted(jobs.ended.items())),
    ]


# It is the state


@given(histories, policies)
def test_at_every_seq_a_snapshot_is_the_live_state_whatever_happens_next(
    history: list[Command], policy: Policy
) -> None:
    ours, theirs, finished = State(), State(), Remembered()
    for recorded in live(history, policy)[2]:
        ours.apply(recorded)
        finished.notice(ours)
        theirs = restored(theirs, finished)
        theirs.apply(serialization.decode(serialization.encode(recorded)))
        assert everything_of(completed(theirs, finished)) == everything_of(ours)
        check_fleet(theirs.fleet)
        check_jobs(theirs.fleet)
        check_shown(theirs.fleet, theirs.projections)


@given(histories, policies, st.data())
def test_a_snapshot_of_any_seq_and_the_events_after_it_give_the_live_state(
    history: list[Command], policy: Policy, data: st.DataObject
) -> None:
    log = live(history, policy)[2]
    seq = data.draw(st.integers(0, len(log)))
    ours, finished = State(), Remembered()
    for recorded in log:
        ours.apply(recorded)
        finished.notice(ours)
    state = restored(folded(log[:seq]), finished)
    assert state.seq == state.projections.history.since == seq
    for recorded in log[seq:]:
        state.apply(recorded)
    assert everything_of(completed(state, finished)) == everything_of(ours)


@given(histories, policies, st.data())
def test_so_it_is_whatever_the_clock_did(
    history: list[Command], policy: Policy, data: st.DataObject
) -> None:
    log = live(history, policy)[2]
    at = data.draw(st.lists(times, min_size=len(log), max_size=len(log)))
    seq = data.draw(st.integers(0, len(log)))
    log = [replace(it, at=time) for it, time in zip(log, at, strict=True)]
    ours, finished = State(), Remembered()
    for recorded in log:
        ours.apply(recorded)
        finished.notice(ours)
    state = restored(folded(log[:seq]), finished)
    for recorded in log[seq:]:
        state.apply(recorded)
    assert everything_of(completed(state, finished)) == everything_of(ours)


@given(histories, policies, st.sets(st.integers(0, 60)))
def test_whatever_is_evicted_when_a_state_goes_on_as_if_nothing_were(
    history: list[Command], policy: Policy, evictions: set[int]
) -> None:
    ours, theirs, finished = State(), State(), Remembered()
    theirs.finished = finished
    for recorded in live(history, policy)[2]:
        ours.apply(recorded)
        finished.notice(ours)
        theirs.apply(recorded)
        if recorded.seq in evictions:
            lightened(theirs)
        assert encode(theirs, a_tree(theirs.seq)) == encode(ours, a_tree(ours.seq))
    assert everything_of(completed(theirs, finished)) == everything_of(ours)


def test_the_queue_that_is_restored_holds_the_very_jobs_of_the_fleet() -> None:
    fleet = restored(folded([Recorded(1, START, "x", job("a"))]), Remembered()).fleet
    assert fleet.queue.first(None, lambda _: Sizes(-1.0, math.inf)) is fleet.jobs["a"]


def test_a_snapshot_brings_its_tree_along() -> None:
    for size in (0, 1, 2, 3, HEAD):
        state, tree = decode(encode(folded(STORY[:size]), tree_of(STORY[:size])))
        assert (state.seq, tree.size) == (size, size)
        assert tree.root() == tree_of(STORY[:size]).root()


FAILED_ALL_OVER: Final = """
from dispatcher.core.events import *
from dispatcher.state.replay import State
from dispatcher.state.snapshots import encode
from tests.support.given import *
from tests.state.test_snapshots import a_tree

state = State()
for seq, event in enumerate([job("a"), *(requeued("a", str(n), retries=n) for n in range(1, 10))]):
    state.apply(Recorded(seq, START, "tester", event))
print(encode(state, a_tree(state.seq)).hex())
"""


def test_the_same_state_has_the_same_bytes_in_every_process() -> None:
    """Whatever order a set of engines happens to have there."""
    said = {
        subprocess.run(
            [sys.executable, "-c", FAILED_ALL_OVER],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        ).stdout
        for seed in range(1, 4)
    }
    assert len(said) == 1
    fleet = decode(bytes.fromhex(said.pop().decode()))[0].fleet
    assert fleet.jobs["a"].failed_by == {str(n) for n in range(1, 10)}


# It is used only if it is whole and ours


SNAPSHOT: Final = encode(folded(STORY), tree_of(STORY))


def test_a_snapshot_with_any_bit_flipped_is_refused() -> None:
    body = SNAPSHOT.index(b"\n") + 1
    for place in range(len(SNAPSHOT)):
        for bit in range(8) if place < body else [place % 8]:
            damaged = bytearray(SNAPSHOT)
            damaged[place] ^= 1 << bit
            with pytest.raises(SnapshotError):
                decode(bytes(damaged))


@given(st.integers(0, len(SNAPSHOT) - 1), st.integers(1, 255))
def test_a_snapshot_with_any_byte_changed_is_refused(place: int, change: int) -> None:
    damaged = bytearray(SNAPSHOT)
    damaged[place] ^= change
    with pytest.raises(SnapshotError):
        decode(bytes(damaged))


def test_a_snapshot_of_any_other_length_is_refused() -> None:
    for length in range(len(SNAPSHOT)):
        with pytest.raises(SnapshotError):
            decode(SNAPSHOT[:length])
    with pytest.raises(SnapshotError, match="it is damaged: its checksum does not match"):
        decode(SNAPSHOT + b" ")


@given(st.binary(max_size=200))
def test_no_bytes_at_all_make_trouble(content: bytes) -> None:
    with pytest.raises(SnapshotError):
        decode(content)


# Where a replay begins


@pytest.fixture
async def log(db: Path) -> AsyncIterator[WatchedLog]:
    async with await SqliteLog.open(db) as opened:
        await opened.append(encoded(*STORY), 0)
        yield WatchedLog(opened)


async def written(log: WatchedLog, beside: Path, *seqs: int) -> list[Path]:
    """Write the snapshots of so many seqs, as a dispatcher at these would."""
    paths = [await kept_beside(beside, log, seq) for seq in seqs]
    log.replayed.clear()
    return paths


async def check_replay(log: WatchedLog, db: Path, *, reads_after: int, at: int = HEAD) -> None:
    state = await replay(log, at, origin=(origin := Shortcuts(db, Snapshots(db))))
    assert log.replayed == list(range(reads_after + 1, at + 1))
    ours, finished = State(), Remembered()
    for recorded in STORY[:at]:
        ours.apply(recorded)
        finished.notice(ours)
    assert everything_of(completed(state, finished)) == everything_of(ours)
    origin.close()


@pytest.mark.anyio
async def test_without_a_snapshot_everything_is_read(log: WatchedLog, db: Path) -> None:
    await check_replay(log, db, reads_after=0)


@pytest.mark.anyio
async def test_snapshots_that_another_user_could_have_written_are_not_used(
    log: WatchedLog, db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await written(log, db, 10, 30)
    folder = db.with_name(db.name + ".snapshots")
    folder.chmod(0o777)
    await check_replay(log, db, reads_after=0)
    assert f"Using no snapshot: {folder}: every user can write to it" in caplog.text
    with pytest.raises(SnapshotError, match="every user can write to it"):
        Snapshots(db).write(folded(STORY), tree_of(STORY))
    folder.chmod(0o755)
    log.replayed.clear()
    if os.geteuid() == 0:
        os.chown(folder, 54_321, 54_321)
        await check_replay(log, db, reads_after=0)
        os.chown(folder, 0, 0)
        log.replayed.clear()
    await check_replay(log, db, reads_after=30)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("at", "reads_after"), [(0, 0), (9, 0), (10, 10), (11, 10), (29, 10), (30, 30), (HEAD, 30)]
)
async def test_a_replay_reads_what_comes_after_the_newest_snapshot_before_its_end(
    log: WatchedLog, db: Path, at: int, reads_after: int
) -> None:
    await written(log, db, 10, 30)
    await check_replay(log, db, reads_after=reads_after, at=at)


@pytest.mark.anyio
async def test_a_snapshot_of_the_head_leaves_nothing_to_read(log: WatchedLog, db: Path) -> None:
    await written(log, db, HEAD)
    await check_replay(log, db, reads_after=HEAD)


def with_a_byte_flipped(snapshot: bytes) -> bytes:
    middle = len(snapshot) // 2
    return snapshot[:middle] + bytes([snapshot[middle] ^ 4]) + snapshot[middle + 1 :]


def cut_short(snapshot: bytes) -> bytes:
    return snapshot[:-1]


def empty(_: bytes) -> bytes:
    return b""


def of_another_fold(snapshot: bytes) -> bytes:
    return snapshot.replace(f'"fold":"{snapshots.FOLD}"'.encode(), b'"fold":"0"', 1)


def of_another_log(_: bytes) -> bytes:
    others = [msgspec.structs.replace(one, request_id="another") for one in STORY[:30]]
    return encode(folded(others), tree_of(others))


def of_another_seq(_: bytes) -> bytes:
    return encode(folded(STORY[:29]), tree_of(STORY[:29]))


DAMAGE: Final = [
    (with_a_byte_flipped, "it is damaged: its checksum does not match"),
    (cut_short, "it is damaged: its checksum does not match"),
    (empty, "its header is damaged: "),
    (of_another_fold, "it was made by another version of the dispatcher"),
    (of_another_log, "it belongs to another log"),
    (of_another_seq, "it is of seq 29"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("damage", "reason"), DAMAGE)
async def test_a_snapshot_that_is_not_to_be_used_is_passed_over_with_a_warning(
    log: WatchedLog,
    db: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
    reason: str,
) -> None:
    (path,) = await written(log, db, 30)
    path.write_bytes(damage(path.read_bytes()))
    await check_replay(log, db, reads_after=0)
    ((_, level, text),) = caplog.record_tuples
    assert level == logging.WARNING
    assert text.startswith(f"Passing over the snapshot {path}: {reason}")


@pytest.mark.anyio
async def test_an_older_snapshot_is_used_if_the_newest_can_not_be(
    log: WatchedLog, db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, newest = await written(log, db, 10, 30)
    newest.unlink()
    newest.mkdir()
    await check_replay(log, db, reads_after=10)
    assert caplog.messages == [
        f"Passing over the snapshot {newest}: [Errno 21] Is a directory: '{newest}'"
    ]


@pytest.mark.anyio
async def test_what_else_lies_there_is_no_snapshot(
    log: WatchedLog, db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (path,) = await written(log, db, 10)
    for name in (f"{30:012}.4711.new", f"{30:012}.snapshot~", "30.snapshot", "notes"):
        path.with_name(name).write_bytes(b"half a snapshot")
    await check_replay(log, db, reads_after=10)
    await written(log, db, 30)
    await check_replay(log, db, reads_after=30)
    assert caplog.messages == []


# Writing and thinning out


def minimal(seq: int) -> State:
    state = State()
    state.projections.seq = seq
    return state


def kept(store: Snapshots) -> list[int]:
    return sorted(int(path.stem) for path in store.directory.glob("*.snapshot"))


def check_thinning(store: Snapshots, seqs: list[int]) -> None:
    """Write a snapshot at each seq, and see each time that what is kept serves."""
    for number, seq in enumerate(seqs, 1):
        store.write(minimal(seq), a_tree(seq))
        stand = kept(store)
        assert stand[-2:] == seqs[max(number - 2, 0) : number], "the newest two stay"
        assert len(stand) <= 3 + 2 * (seq // seqs[0]).bit_length(), "too many are kept"
        written = {0, *seqs[:number]}
        for older, younger in pairwise([0, *stand]):
            dropped = {one for one in written if older < one < younger}
            assert not dropped or younger - older <= seq - younger, "too few are kept"


def test_of_snapshots_at_even_distances_ever_fewer_are_kept_the_older_they_are(
    tmp_path: Path,
) -> None:
    store = Snapshots(tmp_path / "events.db", every=10)
    check_thinning(store, list(range(10, 2001, 10)))
    assert kept(store) == [640, 1280, 1600, 1760, 1840, 1920, 1960, 1980, 1990, 2000]


@pytest.mark.parametrize("seed", range(3))
def test_of_snapshots_at_odd_distances_too(tmp_path: Path, seed: int) -> None:
    """As one is written at each stop, too, and none while another is being written."""
    chance = random.Random(seed)
    seqs = [10]
    while len(seqs) < 100:
        seqs.append(seqs[-1] + chance.choice([1, 2, 10, 20, 20, 70, 400]))
    check_thinning(Snapshots(tmp_path / "events.db", every=10), seqs)


def test_those_of_a_longer_log_that_stood_here_before_are_not_counted(tmp_path: Path) -> None:
    """As when a log was put back from a backup, without its snapshots."""
    store = Snapshots(tmp_path / "events.db")
    for seq in (1000, 2000, 10, 20):
        store.write(minimal(seq), a_tree(seq))
    assert kept(store) == [10, 20, 1000, 2000]


def test_a_snapshot_is_due_at_each_multiple(tmp_path: Path) -> None:
    store = Snapshots(tmp_path / "events.db", every=10)
    assert [store.due_after(seq) for seq in (0, 7, 10, 11, 19, 35)] == [10, 10, 20, 20, 20, 40]


def test_what_a_killed_writer_has_left_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    store = Snapshots(tmp_path / "events.db")
    store.directory.mkdir()
    for name in ("000000000003.4711.new", "000000000005.4712.new", "notes"):
        (store.directory / name).write_bytes(b"half a snapshot")
    path = store.write(minimal(7), a_tree(7))
    assert {path.name, "notes"} == {left.name for left in store.directory.iterdir()}


def test_a_snapshot_of_a_seq_replaces_the_one_that_is_there(tmp_path: Path) -> None:
    store = Snapshots(tmp_path / "events.db")
    path = store.write(minimal(7), a_tree(7))
    path.write_bytes(b"damaged")
    assert store.write(minimal(7), a_tree(7)) == path
    assert decode(path.read_bytes())[0].seq == 7
    assert list(store.directory.iterdir()) == [path]


def test_a_snapshot_that_can_not_be_written_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    store = Snapshots(tmp_path / "events.db")
    path = store.directory / "000000000007.snapshot"
    path.mkdir(parents=True)
    with pytest.raises(SnapshotError) as told:
        store.write(minimal(7), a_tree(7))
    assert str(told.value) == f"{path}: can't be written: Is a directory"
    assert list(store.directory.iterdir()) == [path]
