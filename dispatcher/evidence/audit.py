"""Audit a log: find events that are missing, changed or against the rules.

Laws:
- The audit trusts only the events' own lines in the file. It recomputes everything else: leaf
  hashes and tree (`hashes`), and states (`states`). A difference between the file and the
  recomputed value is a finding.
- It never stops at the first finding, and changes nothing.
- It reports what it could not check. Without an earlier checkpoint, an audit can't detect that an
  event was rewritten together with every hash that depends on it.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from dispatcher.evidence.findings import Finding, Findings
from dispatcher.evidence.hashes import UNHASHABLE, Hashes, Known
from dispatcher.evidence.segments import Piece, changed, pieces
from dispatcher.evidence.states import Look, States
from dispatcher.evidence.statistics import Statistics
from dispatcher.log import LogError, serialization
from dispatcher.log.merkle import Frontier, Subtree, leaf_hash
from dispatcher.log.segments import Sealed
from dispatcher.log.serialization import UndecodableError
from dispatcher.log.untrusted import READ_ERRORS, Row, UntrustedLog, opened
from dispatcher.progress import Progress, silent
from dispatcher.state.replay import State

__all__ = ["Audit", "Start", "head_of"]


class Start(NamedTuple):
    """Where an audit begins that trusts a checkpoint for what comes before.

    `tree` is that of the events that are not read. `state` follows from them, or is `None` if it
    is not known.
    """

    known: Known
    tree: Frontier
    state: State | None


class Audit:
    """One pass over a log. Call `run` once, then read `findings`, `notes`, `tree` and the rest.

    `begin` is the seq up to which nothing is read.
    """

    def __init__(
        self,
        path: Path,
        checkpoints: Sequence[Known] = (),
        looks: Sequence[Look] = (),
        start: Start | None = None,
    ) -> None:
        self.path = path.resolve()
        self.findings = Findings()
        self.notes: list[str] = []
        tree = Frontier() if start is None else start.tree.copy()
        self.begin = tree.size
        trusted = () if start is None else (start.known,)
        self._hashes = Hashes(self.findings, (*checkpoints, *trusted), tree)
        self._states = States(
            self.path, self.findings, looks, self.begin, None if start is None else start.state
        )
        if start is not None and self.begin:
            self._tell_of(start)

    @property
    def tree(self) -> Frontier:
        """The tree of the events so far."""
        return self._hashes.tree

    @property
    def state(self) -> State:
        """What follows from the events so far."""
        return self._states.state

    @property
    def statistics(self) -> Statistics:
        """The sums over the events that were read."""
        return self._states.statistics

    def run(self, progress: Progress = silent) -> None:
        """Read the whole log. Raises `LogError` if there is no log to audit."""
        with closing(self._states):
            with opened(self.path) as log:
                self._read(log, progress)
            self.notes += [
                *self._states.notes,
                *self._hashes.conclude(),
                *self._states.conclude(self.tree.size),
            ]

    def _read(self, log: UntrustedLog, progress: Progress) -> None:
        if not log.has_tree:
            self.notes.append(
                f"The log is of schema {log.claimed_schema}, without a tree of its own: only a "
                "checkpoint could tell of changes to it. `dispatcher serve` brings it up."
            )
        elif log.claimed_schema == 1:
            self.findings.report("the file says that it has no tree (schema 1), but it has one")
        try:
            self._walk(log, progress)
        except READ_ERRORS as error:
            self.findings.report_at(self.tree.size + 1, f"can't be read, nor what follows: {error}")
        try:
            for damage in log.damage():
                self.findings.report(f"the SQLite file is damaged: {damage}")
        except READ_ERRORS as error:
            self.findings.report(f"the SQLite file is damaged: {error}")

    def _tell_of(self, start: Start) -> None:
        self.notes.append(
            f"Seq 1 to {self.begin:,} were not read: {start.known.name} vouches for their hashes, "
            "and nothing for the files that have them. The sums are of the events after them."
        )
        self.notes.append(
            "The rules of the core and the snapshots were not checked: there is no snapshot at or "
            f"before seq {self.begin:,} to begin with, or no index that has its finished jobs."
            if start.state is None
            else f"What was true at seq {self.begin:,} was taken from a snapshot and the index."
        )

    def _walk(self, log: UntrustedLog, progress: Progress) -> None:
        if log.has_tree:
            for change in log.changes_of_layout():
                self.findings.report(change)
            self._hashes.stored = log.subtrees()
        head = log.head()
        self._compare_at(self.tree.size)
        sealed_upto = 0
        try:
            for segment in log.sealed():
                sealed_upto = segment.upto
                if segment.upto > self.tree.size:
                    self._segment(segment, lambda done: progress(done, head))
        except LogError as error:
            self.findings.report_at(self.tree.size + 1, str(error))
        if head <= sealed_upto != 0:
            self.findings.report_at(
                sealed_upto + 1, "missing: at least one event followed the segments"
            )
        for done, row in enumerate(log.rows(self.tree.size), self.tree.size + 1):
            self._row(row, has_tree=log.has_tree)
            if done % 1_000 == 0:
                progress(done, head)

    def _segment(self, segment: Sealed, progress: Callable[[int], None]) -> None:
        """Read the events of a segment from its file."""
        before = len(self.findings)
        for piece in pieces(self.path, segment):
            if piece.upto <= self.begin:
                continue
            if piece.fault is not None and piece.first <= self.begin:
                self._hashes.skip_to(piece.upto)
            if piece.fault is not None:
                self.findings.report_at(piece.first, piece.fault, piece.upto)
                self._states.lose()
                if self.tree.size < piece.upto:
                    self._hashes.grow(piece.root, segment, level=piece.level)
                self._compare_at(piece.upto)
                continue
            self._piece(piece, segment)
            progress(piece.upto)
        if len(self.findings) == before and (why := changed(self.path, segment)) is not None:
            self.findings.report(why)

    def _piece(self, piece: Piece, segment: Sealed) -> None:
        earliest = []
        for seq, line in enumerate(piece.lines, piece.first):
            if seq <= self.begin:
                continue
            try:
                entry = serialization.parse_line(line)
            except UndecodableError as error:
                self.findings.report_at(seq, f"its line in {segment} is no event: {error}")
                self._states.lose()
            else:
                earliest.append(entry.time)
                if entry.seq != seq:
                    self.findings.report_at(
                        seq, f"out of place: its line in {segment} has another seq"
                    )
                    self._states.lose()
                self._states.fold(entry)
            completed = self._hashes.grow(leaf_hash(line), segment)
            self._compare_at(seq)
        if completed.get(Subtree(piece.level, (piece.first - 1) >> piece.level)) != piece.root:
            what = f"changed: {segment} has another hash for them"
            self.findings.report_some_of(piece.first, piece.upto, what)
        if piece.first > self.begin and min(earliest, default="") != piece.earliest:
            self.findings.report(
                f"{segment} names another earliest time than seq {piece.first} on have"
            )

    def _row(self, row: Row, *, has_tree: bool) -> None:
        if not isinstance(row.seq, int) or row.seq <= self.tree.size:
            at = row.seq if isinstance(row.seq, int) else None
            self.findings.add(Finding("out of place: seq counts 1, 2, 3 …", at, at))
            return
        if row.seq > self.tree.size + 1:
            self.findings.report_at(self.tree.size + 1, "missing", row.seq - 1)
            # The events after the gap keep their places in the tree.
            self._hashes.skip_to(row.seq - 1)
            self._states.lose()
        leaf = UNHASHABLE
        try:
            entry = row.entry()
        except ValueError as error:
            self.findings.report_at(row.seq, f"the row is no event: {error}")
            self._states.lose()
        else:
            leaf = leaf_hash(serialization.line(entry))
            if has_tree and leaf != row.leaf_hash:
                self.findings.report_at(
                    row.seq, "changed: the line and the hash recorded with it don't agree"
                )
            self._states.fold(entry)
        if has_tree:
            self._hashes.grow(leaf)
        else:
            self.tree.append(leaf)
        self._compare_at(row.seq)

    def _compare_at(self, seq: int) -> None:
        """Compare the events up to a seq with what vouches for them or was made of them."""
        self._hashes.compare_at(seq)
        self._states.compare_at(seq, self.tree)


def head_of(path: Path) -> int:
    """Return the seq of the log's last event. Raises `LogError` if there is no log."""
    with opened(path) as log:
        return log.head()
