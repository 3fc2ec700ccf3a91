"""Snapshots: past states on disk, so that a start need not replay the whole log.

Laws:
- A snapshot has what is alive: no finished job, and no history. The index has these, so a snapshot
  is used only with an index that reaches its seq (`shortcuts`).
- A snapshot is a shortcut and never evidence. All that it says follows from the log. Without it
  everything is the same, only slower.
- It is used only if it is whole (checksum), was folded by the same rules (fold version), and
  belongs to exactly this log (the tree's frontier at its seq). Any other is skipped.
- Whoever changes what the fold makes of a log changes `FOLD_VERSION`. Golden logs guard this: see
  `tests/state/test_fold_version.py`.
- It appears under its name whole or not at all.
- The older the snapshots, the fewer are kept. The newest two are always kept.
"""

import hashlib
import logging
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from dispatcher import files
from dispatcher.core.engine import Engine
from dispatcher.core.events import JobSubmitted
from dispatcher.core.fleet import Fleet
from dispatcher.core.job import Job, MadeId
from dispatcher.core.queue import Queue
from dispatcher.errors import DispatcherError
from dispatcher.log import Log, LogError
from dispatcher.log.merkle import Frontier, subtrees
from dispatcher.state.replay import State
from projections import Projections, ProjectionsSnapshot
from projections.engines import EnginesSnapshot
from projections.jobs import NumberedJob
from projections.speeds import Speed, SpeedsSnapshot
from projections.statistics import StatisticsSnapshot

__all__ = [
    "EVERY",
    "FOLD",
    "FOLD_VERSION",
    "Header",
    "SnapshotError",
    "Snapshots",
    "agrees",
    "decode",
    "encode",
    "header_of",
    "parts_of",
]

EVERY: Final = 50_000
"""Events between two snapshots, unless the operator sets another number."""

FOLD_VERSION: Final = 6
"""Raise it by one with each change of what `State.apply` makes of some log, or of what a snapshot
or the index says of a state. Neither of another version is used. A change that no log can show,
such as a comment, needs no other version."""

FOLD: Final = str(FOLD_VERSION)

_FORMAT: Final = 2
_GROWTH: Final = 20
"""By how many times the size of a snapshot the log grows, at least, before the next one."""
_SMALL_BYTES: Final = 1 << 16
_EVENT_BYTES: Final = 200
"""About how many bytes of log an event takes."""
_PART_ITEMS: Final = 2_048
"""Jobs or engines in a part. So nothing grows with a snapshot but the number of its parts."""
_NAME: Final = re.compile(r"([0-9]{12,19})\.snapshot")
_HEADER_LIMIT_BYTES: Final = 4_096

Item = TypeVar("Item")
logger = logging.getLogger(__name__)


class SnapshotError(DispatcherError):
    """A snapshot can't be used or written; the text says why."""


class _Head(msgspec.Struct, frozen=True):
    """What the first part of a snapshot says. `tree` is the frontier of the log's tree there.

    `time` is that of the event at `seq`. The `statistics` have a bounded size, and so do the
    `speeds` of the whole farm.
    """

    seq: int
    tree: tuple[bytes, ...]
    newest: datetime
    submitted: int
    last_id: str
    time: datetime | None
    statistics: StatisticsSnapshot
    speeds: dict[str, Speed]


class _Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """Some of what is alive: as the rules see it, and as readers do (`shown`).

    The queue of the fleet follows from its jobs. `paused` maps jobs to the end of their pause.
    """

    jobs: list[Job] = []
    keys: dict[str, JobSubmitted] = {}
    paused: dict[str, datetime] = {}
    engines: list[Engine] = []
    shown_jobs: list[NumberedJob] = []
    shown_engines: EnginesSnapshot = {}
    speeds: dict[str, dict[str, Speed]] = {}


class Header(msgspec.Struct, frozen=True):
    """The first line of a snapshot. The rest of the file is the body, with this checksum.

    The body is a number of parts, each of them a length of four bytes (the most significant first)
    and so many bytes of compressed JSON (zlib).
    """

    format: int
    fold: str
    seq: int
    sha256: str


# JSON and not a binary format: it can hold all that the log's JSON can hold, and is as fast.
_encode = msgspec.json.Encoder().encode
_head_decoder = msgspec.json.Decoder(_Head)
_part_decoder = msgspec.json.Decoder(_Part)
_header_decoder = msgspec.json.Decoder(Header)


def encode(state: State, tree: Frontier) -> bytes:
    """Encode what is alive in a state as a snapshot. Equal states give equal bytes.

    `tree` has the state's size.
    """
    body = b"".join(_framed(part) for part in parts_of(state, tree))
    header = Header(_FORMAT, FOLD, state.seq, hashlib.sha256(body).hexdigest())
    return _encode(header) + b"\n" + body


def decode(snapshot: bytes) -> tuple[State, Frontier]:
    """Decode a snapshot. Raises `SnapshotError` if it is damaged or of another version."""
    header = _header(snapshot)
    if (header.format, header.fold) != (_FORMAT, FOLD):
        raise SnapshotError("it was made by another version of the dispatcher")
    body = _checked(snapshot)
    try:
        parts = _unframed(body)
        head = _head_decoder.decode(next(parts))
        tree = Frontier(head.seq, head.tree)
        state = _restored(head, [_part_decoder.decode(part) for part in parts])
    except (msgspec.DecodeError, ValueError, StopIteration, zlib.error) as error:
        raise SnapshotError(f"it is damaged: {error}") from error
    if tree.size != header.seq:
        raise SnapshotError("its header is damaged: it tells of another seq")
    return state, tree


def _checked(snapshot: bytes) -> memoryview:
    """Return the body of a snapshot, if it has its checksum."""
    body = memoryview(snapshot)[snapshot.find(b"\n") + 1 :]
    if hashlib.sha256(body).hexdigest() != _header(snapshot).sha256:
        raise SnapshotError("it is damaged: its checksum does not match")
    return body


def agrees(snapshot: bytes, state: State, tree: Frontier) -> bool:
    """Whether a snapshot says just what `encode` would, however it was compressed."""
    try:
        return list(_unframed(_checked(snapshot))) == list(parts_of(state, tree))
    except (SnapshotError, zlib.error):
        return False


def parts_of(state: State, tree: Frontier) -> Iterator[bytes]:
    """Yield the parts of a snapshot, not compressed. Equal states give equal parts."""
    for part in _parts(state, tree):
        yield _encode(part)


def _parts(state: State, tree: Frontier) -> Iterator[_Head | _Part]:
    fleet, shown = state.fleet, state.projections.snapshot()
    yield _Head(
        state.seq,
        tree.roots,
        fleet.newest,
        fleet.submitted,
        str(fleet.last_id),
        shown.time,
        shown.statistics,
        shown.speeds.codecs,
    )
    alive = [job for job in fleet.jobs.values() if not job.final]
    alive.sort(key=lambda job: job.place.number)
    for jobs in _sliced(alive):
        keys = {}
        for job in jobs:
            if (key := job.idempotency_key) is not None:
                first = fleet.idempotent.get(key)
                if first is not None and first.job_id == job.job_id:
                    keys[key] = first
        yield _Part(jobs=[_in_one_order(job) for job in jobs], keys=keys)
    for paused in _sliced(sorted(fleet.queue.paused.items())):
        yield _Part(paused=dict(paused))
    for engines in _sliced(list(fleet.engines.values())):
        yield _Part(engines=engines)
    for numbered in _sliced(shown.jobs):
        yield _Part(shown_jobs=numbered)
    for shown_engines in _sliced(list(shown.engines.items())):
        yield _Part(shown_engines=dict(shown_engines))
    for speeds in _sliced(list(shown.speeds.engines.items())):
        yield _Part(speeds=dict(speeds))


def _restored(head: _Head, parts: list[_Part]) -> State:
    jobs = [job for part in parts for job in part.jobs]
    fleet = Fleet(
        {job.job_id: job for job in jobs},
        {engine.engine_id: engine for part in parts for engine in part.engines},
        newest=head.newest,
        idempotent={key: first for part in parts for key, first in part.keys.items()},
        submitted=head.submitted,
        last_id=MadeId.of(head.last_id) or MadeId(0, 0),
    )
    paused = {job_id: until for part in parts for job_id, until in part.paused.items()}
    fleet.queue = Queue.restore((job for job in jobs if job.status == "pending"), paused)
    shown = ProjectionsSnapshot(
        head.seq,
        head.time,
        head.submitted,
        [job for part in parts for job in part.shown_jobs],
        {name: engine for part in parts for name, engine in part.shown_engines.items()},
        head.statistics,
        SpeedsSnapshot(
            head.speeds,
            {name: codecs for part in parts for name, codecs in part.speeds.items()},
        ),
    )
    return State(fleet, Projections.restore(shown))


def _framed(part: bytes) -> bytes:
    compressed = zlib.compress(part, 1)
    return len(compressed).to_bytes(4, "big") + compressed


def _unframed(body: memoryview) -> Iterator[bytes]:
    while body:
        length = int.from_bytes(body[:4], "big")
        yield zlib.decompress(body[4 : 4 + length])
        body = body[4 + length :]


def _sliced(items: list[Item]) -> Iterator[list[Item]]:
    for first in range(0, len(items), _PART_ITEMS):
        yield items[first : first + _PART_ITEMS]


def header_of(path: Path) -> Header:
    """Read the header of a snapshot. Raises `SnapshotError` if it is damaged, or `OSError`."""
    with path.open("rb") as file:
        return _header(file.read(_HEADER_LIMIT_BYTES))


def _header(snapshot: bytes) -> Header:
    try:
        return _header_decoder.decode(snapshot[: snapshot.find(b"\n", 0, _HEADER_LIMIT_BYTES) + 1])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SnapshotError(f"its header is damaged: {error}") from error


class Snapshots:
    """The snapshots of a log, in a directory beside it."""

    def __init__(self, log_path: Path, every: int = EVERY) -> None:
        self.directory = log_path.with_name(log_path.name + ".snapshots")
        self._every = every

    async def newest(self, log: Log, upto: int) -> State | None:
        """Return the state of the newest valid snapshot at or before `upto`, or `None`."""
        try:
            self._refuse_planted()
        except SnapshotError as error:
            logger.warning("Using no snapshot: %s", error)
            return None
        for seq, path in self.found():
            if seq <= upto:
                try:
                    return await _read(path, seq, log)
                except (SnapshotError, OSError, LogError) as error:
                    logger.warning("Passing over the snapshot %s: %s", path, error)
        return None

    def due_after(self, seq: int, size_bytes: int = 0) -> int:
        """Return the seq from which the next snapshot is due, after one of this size at `seq`.

        A large one waits until the log has grown by many times its size.
        """
        by_size = seq + max(0, size_bytes - _SMALL_BYTES) * _GROWTH // _EVENT_BYTES
        return max((seq // self._every + 1) * self._every, by_size)

    def write(self, state: State, tree: Frontier) -> Path:
        """Write a snapshot, and delete old ones. Raises `SnapshotError` if it can't be written."""
        path = self.directory / f"{state.seq:012}.snapshot"
        draft = path.with_suffix(f".{os.getpid()}.new")
        try:
            self.directory.mkdir(exist_ok=True)
            self._refuse_planted()
            for leftover in self.directory.glob("*.new"):  # by a killed writer: there is only one
                leftover.unlink(missing_ok=True)
            files.write(path, encode(state, tree), draft)
        except OSError as error:
            raise SnapshotError(f"{path}: can't be written: {error.strerror}") from error
        except (ValueError, OverflowError, MemoryError, msgspec.MsgspecError) as error:
            raise SnapshotError(f"{path}: can't be written: {error}") from error
        self._thin_out(state.seq)
        return path

    def found(self) -> Iterator[tuple[int, Path]]:
        """Yield the seq and path of each snapshot, newest first."""
        try:
            paths = sorted(self.directory.iterdir(), reverse=True)
        except OSError:
            return
        for path in paths:
            if (match := _NAME.fullmatch(path.name)) is not None:
                yield int(match[1]), path

    def clear(self) -> None:
        """Delete all snapshots, since a new index knows nothing of the seqs that they are of."""
        for _, path in self.found():
            with suppress(OSError):
                path.unlink()

    def _refuse_planted(self) -> None:
        """Raise `SnapshotError` if another user could have put snapshots into the directory."""
        try:
            by_name, status = self.directory.lstat(), self.directory.stat()
            beside = self.directory.parent
            owners = [files.foreign_owner(it, beside) for it in (by_name, status)]
        except OSError:
            return  # there is none
        owner = next((it for it in owners if it is not None), None)
        if owner is not None or status.st_mode & stat.S_IWOTH:
            who = "every user" if owner is None else f"another user (uid {owner})"
            raise SnapshotError(
                f"{self.directory}: {who} can write to it, and so change what the dispatcher "
                "decides; remove it, and the dispatcher makes a new one"
            )

    def _thin_out(self, newest: int) -> None:
        """Delete each snapshot whose removal leaves a gap no longer than the gap is old.

        Gaps only get older, so this stays true. Of three neighbours that are kept, the oldest is
        more than twice as old as the youngest, so O(log n) are kept.
        """
        found = [it for it in self.found() if it[0] <= newest]  # others are of a replaced log
        seqs = [*(seq for seq, _ in found), 0]
        younger = seqs[min(1, len(found))]
        for (seq, path), older in zip(found[2:], seqs[3:], strict=False):
            if younger - older <= newest - younger:
                with suppress(OSError):
                    path.unlink()
            else:
                younger = seq


async def _read(path: Path, seq: int, log: Log) -> State:
    state, tree = decode(path.read_bytes())
    if tree.size != seq:
        raise SnapshotError(f"it is of seq {tree.size}")
    if list(tree.roots) != await log.subtree_hashes(subtrees(0, tree.size)):
        raise SnapshotError("it belongs to another log")
    return state


def _in_one_order(job: Job) -> Job:
    """Return the job in a form that every process encodes alike; a set has no fixed order."""
    if len(job.failed_by) <= 1:
        return job
    return msgspec.structs.replace(job, failed_by=sorted(job.failed_by))
