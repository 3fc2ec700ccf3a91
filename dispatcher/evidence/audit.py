"""Audit a log: find events that are missing, changed or against the rules.

Laws:
- The audit trusts only the events' own lines in the file. It recomputes everything else: leaf
  hashes, tree, states. A difference between the file and the recomputed value is a finding.
- It never stops at the first finding, and changes nothing.
- It reports what it could not check. Without an earlier checkpoint, an audit can't detect that an
  event was rewritten together with every hash that depends on it.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, Final, NamedTuple

from dispatcher.core.legality import breach
from dispatcher.evidence.beside import differences
from dispatcher.evidence.findings import Finding, Findings
from dispatcher.evidence.segments import Piece, changed, pieces
from dispatcher.evidence.statistics import Statistics
from dispatcher.index import IndexFaultError
from dispatcher.index.file import index_path
from dispatcher.index.reading import Index
from dispatcher.log import LogError, serialization
from dispatcher.log.checkpoints import Checkpoint
from dispatcher.log.merkle import HASH_BYTES, KEPT_LEVEL, Frontier, Subtree, leaf_hash
from dispatcher.log.segments import Sealed
from dispatcher.log.serialization import LogEntry, UndecodableError
from dispatcher.log.untrusted import READ_ERRORS, Row, UntrustedLog, opened
from dispatcher.progress import Progress, silent
from dispatcher.state.replay import State
from dispatcher.state.snapshots import (
    FOLD,
    FOLD_VERSION,
    SnapshotError,
    Snapshots,
    agrees,
    header_of,
)

__all__ = ["Audit", "Known", "Look", "head_of"]

_UNHASHABLE: Final = bytes(HASH_BYTES)
"""The leaf hash used for an event that is missing or can't be hashed. No real leaf has it."""
MOST_DIFFERENCES: Final = 20
"""Most differences of the index that are reported."""
_MAX_LEVELS: Final = 63  # SQLite's integers count the leaves


class Known(NamedTuple):
    """A trusted checkpoint, such as one that was kept elsewhere."""

    name: str
    checkpoint: Checkpoint


class Start(NamedTuple):
    """Where an audit begins that trusts a checkpoint for what comes before.

    `tree` is that of the events that are not read. `state` follows from them, or is `None` if it
    is not known.
    """

    known: Known
    tree: Frontier
    state: State | None


class Look(NamedTuple):
    """A comparison to make with the state and the tree as of `seq`."""

    seq: int
    compare: Callable[[State, Frontier], Iterator[Finding]]


class Audit:
    """One pass over a log. Call `run` once, then read `findings`, `notes`, `tree` and the rest."""

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
        self.tree = Frontier()
        self.state = State()
        self.statistics = Statistics()
        self._checkpoints = sorted(checkpoints, key=lambda known: known.checkpoint.size)
        self._looks = sorted(looks, key=lambda look: look.seq)
        # Listed before the log is opened, so that no snapshot is newer than the log.
        self._snapshots = sorted(Snapshots(self.path).found())
        self._index = self._opened_index()
        self._subtrees: dict[Any, Any] = {}
        self._wrong_subtrees: list[tuple[int, int, str]] = []
        self._wrong_checkpoints: list[Known] = []
        self._vouched: Known | None = None
        self._is_foldable = True
        self.begin = 0
        """The seq up to which nothing is read."""
        if start is not None:
            self._begin_at(start)

    def run(self, progress: Progress = silent) -> None:
        """Read the whole log. Raises `LogError` if there is no log to audit."""
        with opened(self.path) as log:
            if not log.has_tree:
                self.notes.append(
                    f"The log is of schema {log.claimed_schema}, without a tree of its own: only a "
                    "checkpoint could tell of changes to it. `dispatcher serve` brings it up."
                )
            elif log.claimed_schema == 1:
                self._report("the file says that it has no tree (schema 1), but it has one")
            try:
                self._walk(log, progress)
            except READ_ERRORS as error:
                self._report_at(self.tree.size + 1, f"can't be read, nor what follows: {error}")
            try:
                for damage in log.damage():
                    self._report(f"the SQLite file is damaged: {damage}")
            except READ_ERRORS as error:
                self._report(f"the SQLite file is damaged: {error}")
        self._conclude_tree()
        self._conclude_checkpoints()
        self._conclude_states()
        if self._index is not None:
            self._index.close()

    def _opened_index(self) -> Index | None:
        path = index_path(self.path)
        try:
            return Index(path, FOLD_VERSION)
        except IndexFaultError as error:
            if path.exists():
                self.notes.append(f"The index was not compared: {error}.")
            return None

    def _begin_at(self, start: Start) -> None:
        self.begin, self.tree = start.tree.size, start.tree.copy()
        self._is_foldable = start.state is not None or not self.begin
        self.state = start.state or State()
        self._checkpoints.append(start.known)
        self._checkpoints = [it for it in self._checkpoints if it.checkpoint.size >= self.begin]
        self._checkpoints.sort(key=lambda known: known.checkpoint.size)
        self._snapshots = [it for it in self._snapshots if it[0] > self.begin]
        if not self.begin:
            return
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
                self._report(change)
            self._subtrees = log.subtrees()
        head = log.head()
        self._compare_at(self.tree.size)
        sealed_upto = 0
        try:
            for segment in log.sealed():
                sealed_upto = segment.upto
                if segment.upto > self.tree.size:
                    self._segment(segment, lambda done: progress(done, head))
        except LogError as error:
            self._report_at(self.tree.size + 1, str(error))
        if head <= sealed_upto != 0:
            self._report_at(sealed_upto + 1, "missing: at least one event followed the segments")
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
                self.tree = Frontier(piece.upto, [_UNHASHABLE] * piece.upto.bit_count())
            if piece.fault is not None:
                self._report_at(piece.first, piece.fault, piece.upto)
                self._is_foldable = False
                if self.tree.size < piece.upto:
                    self._grow(piece.root, segment, level=piece.level)
                self._compare_at(piece.upto)
                continue
            self._piece(piece, segment)
            progress(piece.upto)
        if len(self.findings) == before and (why := changed(self.path, segment)) is not None:
            self._report(why)

    def _piece(self, piece: Piece, segment: Sealed) -> None:
        earliest = []
        for seq, line in enumerate(piece.lines, piece.first):
            if seq <= self.begin:
                continue
            try:
                entry = serialization.parse_line(line)
            except UndecodableError as error:
                self._report_at(seq, f"its line in {segment} is no event: {error}")
                self._is_foldable = False
            else:
                earliest.append(entry.time)
                if entry.seq != seq:
                    self._report_at(seq, f"out of place: its line in {segment} has another seq")
                    self._is_foldable = False
                self._fold(entry)
            completed = self._grow(leaf_hash(line), segment)
            self._compare_at(seq)
        if completed.get(Subtree(piece.level, (piece.first - 1) >> piece.level)) != piece.root:
            what = f"changed: {segment} has another hash for them"
            self._report_some_of(piece.first, piece.upto, what)
        if piece.first > self.begin and min(earliest, default="") != piece.earliest:
            self._report(f"{segment} names another earliest time than seq {piece.first} on have")

    def _row(self, row: Row, *, has_tree: bool) -> None:
        if not isinstance(row.seq, int) or row.seq <= self.tree.size:
            at = row.seq if isinstance(row.seq, int) else None
            self.findings.add(Finding("out of place: seq counts 1, 2, 3 …", at, at))
            return
        if row.seq > self.tree.size + 1:
            self._report_at(self.tree.size + 1, "missing", row.seq - 1)
            # The events after the gap keep their places in the tree.
            before = row.seq - 1
            self.tree = Frontier(before, [_UNHASHABLE] * before.bit_count())
            self._is_foldable = False
        leaf = _UNHASHABLE
        try:
            entry = row.entry()
        except ValueError as error:
            self._report_at(row.seq, f"the row is no event: {error}")
            self._is_foldable = False
        else:
            leaf = leaf_hash(serialization.line(entry))
            if has_tree and leaf != row.leaf_hash:
                self._report_at(
                    row.seq, "changed: the line and the hash recorded with it don't agree"
                )
            self._fold(entry)
        if has_tree:
            self._grow(leaf)
        else:
            self.tree.append(leaf)
        self._compare_at(row.seq)

    def _fold(self, entry: LogEntry) -> None:
        try:
            recorded = serialization.decode(entry)
            if not self._is_foldable:
                return
            if (broken := breach(self.state.fleet, recorded.event)) is not None:
                rule = f"against the rules of the core: {broken}"
                self.findings.add(Finding.of(entry.seq, rule, which="this or an earlier one"))
            self.state.apply(recorded)
            self.statistics.apply(recorded)
        except UndecodableError as error:
            self._report_at(entry.seq, f"can't be read: {error}")
            self._is_foldable = False
        except Exception as error:  # noqa: BLE001 - a forged event may raise anything
            self._report_at(entry.seq, f"can't be folded: {type(error).__name__}: {error}")
            self._is_foldable = False

    def _grow(
        self, appended: bytes, segment: Sealed | None = None, level: int = 0
    ) -> dict[Subtree, bytes]:
        """Append to the tree, and compare the subtrees that this completes with those stored."""
        completed = dict(self.tree.append(appended, 0 if segment else KEPT_LEVEL, level=level))
        for done, root in completed.items():
            if segment is not None and segment.contains(done) and done not in self._subtrees:
                continue
            first, last = (done.number << done.level) + 1, (done.number + 1) << done.level
            kept = self._subtrees.pop(done, None)
            is_reported = any(first <= wrong for wrong, _, _ in self._wrong_subtrees[-1:])
            if kept != root and not is_reported:
                why = "has no hash" if kept is None else "has another hash"
                self._wrong_subtrees.append((first, last, why))
        return completed

    def _compare_at(self, seq: int) -> None:
        """Compare the log with the checkpoints up to a seq, and the snapshots and looks at it."""
        while self._checkpoints and self._checkpoints[0].checkpoint.size <= seq:
            known = self._checkpoints.pop(0)
            if (known.checkpoint.size, known.checkpoint.root) == (seq, self.tree.root()):
                self._vouched = known
            else:
                self._wrong_checkpoints.append(known)
        while self._is_foldable and self._snapshots and self._snapshots[0][0] == seq:
            self._compare_snapshot(self._snapshots.pop(0)[1])
        if self._is_foldable and self._index is not None and self._index.upto == seq > 0:
            self._compare_index(self._index)
        while self._is_foldable and self._looks and self._looks[0].seq == seq:
            for finding in self._looks.pop(0).compare(self.state, self.tree):
                self.findings.add(finding)

    def _compare_snapshot(self, path: Path) -> None:
        try:
            if header_of(path).fold != FOLD:
                self.notes.append(f"{path.name} was made by another version, and not compared.")
            elif not agrees(path.read_bytes(), self.state, self.tree):
                self._report(f"the snapshot {path.name} is not what a replay gives")
        except FileNotFoundError:
            pass  # a running dispatcher has deleted it
        except (OSError, SnapshotError) as error:
            self._report(f"the snapshot {path.name} can't be read: {error}")

    def _compare_index(self, index: Index) -> None:
        try:
            for difference in islice(differences(index, self.state, self.tree), MOST_DIFFERENCES):
                self._report(difference)
        except (IndexFaultError, ValueError, zlib.error) as error:
            self._report(f"the index can't be read: {error}")

    def _conclude_tree(self) -> None:
        """Report what the subtrees show: changed or missing events, or only a changed tree."""
        head, vouched = self.tree.size, self._vouched_size
        for first, last, why in self._wrong_subtrees:
            if last <= vouched:
                self._report(f"the tree {why} for seq {first} to {last}, which are as they were")
            else:
                self._report_some_of(
                    max(first, vouched + 1), last, f"changed: the tree {why} for them"
                )
        missing_upto = 0
        for level, number in self._subtrees:
            if level not in range(KEPT_LEVEL, _MAX_LEVELS) or number not in range(1 << 63):
                self._report(
                    f"there is a hash of subtree {number!r} of level {level!r}: none is so"
                )
            else:
                missing_upto = max(missing_upto, (number + 1) << level)
        if missing_upto > head:
            self._report_at(head + 1, "missing: the tree has hashes for them", missing_upto)

    def _conclude_checkpoints(self) -> None:
        head, vouched = self.tree.size, self._vouched_size
        for name, checkpoint in self._wrong_checkpoints:
            if checkpoint.size <= vouched:
                self._report(
                    f"{name} is false: of its {checkpoint.size} events the root is another"
                )
            else:
                self._report_some_of(
                    vouched + 1, checkpoint.size, f"not what {name} was signed for"
                )
        for name, checkpoint in self._checkpoints:
            self._report_at(head + 1, f"missing: {name} was signed for them", checkpoint.size)
        if self._vouched is None or vouched == 0:
            self.notes.append(
                "No checkpoint vouches for this log. Had its end been cut off, or any of it been "
                "rewritten together with all hashes, this audit could not have found it. Keep "
                "what GET /log/checkpoint gives elsewhere, and name it with --checkpoint."
            )
        elif vouched < head:
            self.notes.append(
                f"{self._vouched.name} vouches for seq 1 to {vouched}. Had the {head - vouched} "
                "after it been cut off, or been rewritten together with their hashes, this audit "
                "could not have found it."
            )

    def _conclude_states(self) -> None:
        head = self.tree.size
        for seq, path in takewhile(lambda found: found[0] > head, reversed(self._snapshots)):
            self._report_at(head + 1, f"missing: there is a snapshot of them, {path.name}", seq)
        if self._index is not None and self._index.upto > head:
            upto = self._index.upto
            self._report_at(head + 1, "missing: the index was made of them", upto)
        if not self._is_foldable and any(it.seq is not None for it in self.findings):
            self.notes.append(
                "From the first event on that is missing or can't be read, the rules of the core "
                "and the snapshots were not checked, and nothing was summed up."
            )
        elif self._looks:
            self.notes.append(
                f"What was asked for at seq {self._looks[0].seq} was not compared: the log ends "
                f"before, at seq {head}."
            )

    @property
    def _vouched_size(self) -> int:
        """How many events a checkpoint vouches for."""
        return 0 if self._vouched is None else self._vouched.checkpoint.size

    def _report(self, what: str) -> None:
        self.findings.add(Finding(what))

    def _report_at(self, seq: int, what: str, upto: int | None = None) -> None:
        self.findings.add(Finding.of(seq, what, upto))

    def _report_some_of(self, seq: int, upto: int, what: str) -> None:
        self.findings.add(Finding.of(seq, what, upto, which="one or more"))


def head_of(path: Path) -> int:
    """Return the seq of the log's last event. Raises `LogError` if there is no log."""
    with opened(path) as log:
        return log.head()
