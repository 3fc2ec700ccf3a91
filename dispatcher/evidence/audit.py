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
from dispatcher.evidence.statistics import Statistics
from dispatcher.index import IndexFaultError
from dispatcher.index.file import index_path
from dispatcher.index.reading import Index
from dispatcher.log import serialization
from dispatcher.log.checkpoints import Checkpoint
from dispatcher.log.merkle import HASH_BYTES, KEPT_LEVEL, Frontier, leaf_hash
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


class Look(NamedTuple):
    """A comparison to make with the state and the tree as of `seq`."""

    seq: int
    compare: Callable[[State, Frontier], Iterator[Finding]]


class Audit:
    """One pass over a log. Call `run` once, then read `findings`, `notes`, `tree` and the rest."""

    def __init__(
        self, path: Path, checkpoints: Sequence[Known] = (), looks: Sequence[Look] = ()
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

    def _walk(self, log: UntrustedLog, progress: Progress) -> None:
        if log.has_tree:
            for change in log.changes_of_layout():
                self._report(change)
            self._subtrees = log.subtrees()
        head = log.head()
        self._compare_at(0)
        for done, row in enumerate(log.rows(), 1):
            self._event(row, has_tree=log.has_tree)
            if done % 1_000 == 0:
                progress(done, head)

    def _event(self, row: Row, *, has_tree: bool) -> None:
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
        self._grow(leaf, has_tree=has_tree)
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

    def _grow(self, leaf: bytes, *, has_tree: bool) -> None:
        completed = self.tree.append(leaf, KEPT_LEVEL)
        if not has_tree:
            return
        for done, root in completed:
            first, last = (done.number << done.level) + 1, (done.number + 1) << done.level
            kept = self._subtrees.pop(done, None)
            is_reported = any(first <= wrong for wrong, _, _ in self._wrong_subtrees[-1:])
            if kept != root and not is_reported:
                why = "has no hash" if kept is None else "has another hash"
                self._wrong_subtrees.append((first, last, why))

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
        if not self._is_foldable:
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
