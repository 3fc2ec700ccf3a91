"""Snapshots: past states on disk, so that a start need not replay the whole log.

Laws:
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
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from dispatcher import files
from dispatcher.core.events import JobSubmitted
from dispatcher.core.fleet import Engine, Fleet
from dispatcher.core.job import Job
from dispatcher.core.queue import Queue
from dispatcher.errors import DispatcherError
from dispatcher.log import Log, LogError
from dispatcher.log.merkle import Frontier, subtrees
from dispatcher.state.replay import State
from projections import Projections, ProjectionsSnapshot

__all__ = [
    "EVERY",
    "FOLD",
    "FOLD_VERSION",
    "Header",
    "SnapshotError",
    "Snapshots",
    "decode",
    "encode",
    "header_of",
]

EVERY: Final = 50_000
"""Events between two snapshots, unless the operator sets another number."""

FOLD_VERSION: Final = 1
"""Raise it by one with each change of what `State.apply` makes of some log, or of what a snapshot
says of a state. Snapshots of another version are not used. A change that no log can show, such as
a comment, needs no other version."""

FOLD: Final = f"{FOLD_VERSION}-{sys.byteorder}"
"""The fold version as a snapshot has it. The chains of `projections.history` have a byte order."""

_FORMAT: Final = 1
_NAME: Final = re.compile(r"([0-9]{12,19})\.snapshot")
_HEADER_LIMIT_BYTES: Final = 4_096

logger = logging.getLogger(__name__)


class SnapshotError(DispatcherError):
    """A snapshot can't be used or written; the text says why."""


class FleetSnapshot(msgspec.Struct, frozen=True):
    """A fleet. Its queue follows from its jobs. `paused` maps jobs to the end of their pause."""

    jobs: list[Job]
    engines: list[Engine]
    paused: dict[str, datetime]
    newest: datetime
    idempotent: dict[str, JobSubmitted]


class _Body(msgspec.Struct, frozen=True):
    """The body of a snapshot. `tree` is the frontier of the log's tree at this seq."""

    tree: tuple[bytes, ...]
    fleet: FleetSnapshot
    projections: ProjectionsSnapshot


class Header(msgspec.Struct, frozen=True):
    """The first line of a snapshot. The rest of the file is the body, with this checksum."""

    format: int
    fold: str
    seq: int
    sha256: str


# JSON and not a binary format: it can hold all that the log's JSON can hold, and is as fast.
_encode = msgspec.json.Encoder().encode
_body_decoder = msgspec.json.Decoder(_Body)
_header_decoder = msgspec.json.Decoder(Header)


def encode(state: State, tree: Frontier) -> bytes:
    """Encode a state as a snapshot. Equal states give equal bytes. `tree` has the state's size."""
    body = _encode(_Body(tree.roots, _fleet_snapshot(state.fleet), state.projections.snapshot()))
    header = Header(_FORMAT, FOLD, state.seq, hashlib.sha256(body).hexdigest())
    return _encode(header) + b"\n" + body


def decode(snapshot: bytes) -> tuple[State, Frontier]:
    """Decode a snapshot. Raises `SnapshotError` if it is damaged or of another version."""
    header = _header(snapshot)
    end = snapshot.index(b"\n")
    if (header.format, header.fold) != (_FORMAT, FOLD):
        raise SnapshotError("it was made by another version of the dispatcher")
    body_bytes = memoryview(snapshot)[end + 1 :]
    with ThreadPoolExecutor(1) as pool:  # hashing releases the GIL: no extra time
        hashing = pool.submit(hashlib.sha256, body_bytes)

        def is_damaged() -> bool:
            return hashing.result().hexdigest() != header.sha256

        try:
            body = _body_decoder.decode(body_bytes)
            tree = Frontier(body.projections.seq, body.tree)
        except (msgspec.DecodeError, ValueError) as error:
            why = "its checksum does not match" if is_damaged() else str(error)
            raise SnapshotError(f"it is damaged: {why}") from error
        if is_damaged():
            raise SnapshotError("it is damaged: its checksum does not match")
    if tree.size != header.seq:
        raise SnapshotError("its header is damaged: it tells of another seq")
    state = State(_fleet_restored(body.fleet), Projections.restore(body.projections))
    return state, tree


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

    def due_after(self, seq: int) -> int:
        """Return the seq from which the next snapshot after one at `seq` is due."""
        return (seq // self._every + 1) * self._every

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


def _fleet_snapshot(of: Fleet) -> FleetSnapshot:
    jobs = [_in_one_order(job) for job in of.jobs.values()]
    paused = dict(sorted(of.queue.paused.items()))
    return FleetSnapshot(jobs, list(of.engines.values()), paused, of.newest, of.idempotent)


def _in_one_order(job: Job) -> Job:
    """Return the job in a form that every process encodes alike; a set has no fixed order."""
    if len(job.failed_by) <= 1:
        return job
    return msgspec.structs.replace(job, failed_by=sorted(job.failed_by))


def _fleet_restored(snapshot: FleetSnapshot) -> Fleet:
    restored = Fleet(
        {job.job_id: job for job in snapshot.jobs},
        {engine.engine_id: engine for engine in snapshot.engines},
        newest=snapshot.newest,
        idempotent=snapshot.idempotent,
    )
    waiting = [job for job in snapshot.jobs if job.status == "pending"]
    restored.queue = Queue.restore(waiting, snapshot.paused)
    return restored
