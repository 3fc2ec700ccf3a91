"""Whether a log is what it says: nothing missing, nothing changed, nothing impossible.

Laws:
- The audit trusts nothing in the file but the events' own lines, and works everything else out
  anew: leaf hashes, tree, states. Where the file says otherwise, that is a finding.
- It never stops at the first finding, and changes nothing.
- What it could not check, it says. Without an earlier checkpoint nobody can tell a log from one in
  which an event, and every hash that depends on it, was written anew.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, NamedTuple

from dispatcher.core.legality import breach
from dispatcher.evidence.findings import Finding, Findings
from dispatcher.evidence.statistics import Statistics
from dispatcher.log import serialization
from dispatcher.log.checkpoints import Checkpoint
from dispatcher.log.merkle import HASH_BYTES, KEPT_LEVEL, Frontier, leaf_hash
from dispatcher.log.serialization import LogEntry, UndecodableError
from dispatcher.log.untrusted import READ_ERRORS, Row, UntrustedLog, opened
from dispatcher.progress import Progress, silent
from dispatcher.state.replay import State
from dispatcher.state.snapshots import FOLD, SnapshotError, Snapshots, encode, header_of

__all__ = ["Audit", "Known", "Look", "head_of"]

_UNHASHABLE: Final = bytes(HASH_BYTES)
"""Stands in the tree for what is missing or can't be hashed. No leaf has it for its hash."""
_MOST_LEVELS: Final = 63  # of a tree whose leaves are counted by SQLite's integers


class Known(NamedTuple):
    """A checkpoint that is known to be true, such as one that was kept elsewhere."""

    name: str
    checkpoint: Checkpoint


class Look(NamedTuple):
    """What is to be compared with the state and the tree as they were at `seq`."""

    seq: int
    compare: Callable[[State, Frontier], Iterator[Finding]]


class Audit:
    """One walk over a log: `run` it once, then read `findings`, `notes`, `tree` and the rest."""

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
        # Found before the log is opened, they are none of a later time than the log.
        self._snapshots = sorted(Snapshots(self.path).found())
        self._subtrees: dict[Any, Any] = {}
        self._wrong_subtrees: list[tuple[int, int, str]] = []
        self._wrong_checkpoints: list[Known] = []
        self._vouched: Known | None = None
        self._is_foldable = True

    def run(self, progress: Progress = silent) -> None:
        """Walk over the whole log. `LogError` if there is no log that could be audited."""
        with opened(self.path) as log:
            if not log.has_tree:
                self.notes.append(
                    f"The log is of schema {log.claimed_schema}, without a tree of its own: only a "
                    "checkpoint could tell of changes to it. `dispatcher serve` brings it up."
                )
            elif log.claimed_schema == 1:
                self._tell("the file says that it has no tree (schema 1), but it has one")
            try:
                self._walk(log, progress)
            except READ_ERRORS as error:
                self._find(self.tree.size + 1, f"can't be read, nor what follows: {error}")
            try:
                for damage in log.damage():
                    self._tell(f"the SQLite file is damaged: {damage}")
            except READ_ERRORS as error:
                self._tell(f"the SQLite file is damaged: {error}")
        self._conclude_tree()
        self._conclude_checkpoints()
        self._conclude_states()

    def _walk(self, log: UntrustedLog, progress: Progress) -> None:
        if log.has_tree:
            for change in log.changes_of_layout():
                self._tell(change)
            self._subtrees = log.subtrees()
        head = log.head()
        self._reach(0)
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
            self._find(self.tree.size + 1, "missing", row.seq - 1)
            # Whatever comes after the gap keeps its place in the tree.
            before = row.seq - 1
            self.tree = Frontier(before, [_UNHASHABLE] * before.bit_count())
            self._is_foldable = False
        leaf = _UNHASHABLE
        try:
            entry = row.entry()
        except ValueError as error:
            self._find(row.seq, f"the row is no event: {error}")
            self._is_foldable = False
        else:
            leaf = leaf_hash(serialization.line(entry))
            if has_tree and leaf != row.leaf_hash:
                self._find(row.seq, "changed: the line and the hash recorded with it don't agree")
            self._fold(entry)
        self._grow(leaf, has_tree=has_tree)
        self._reach(row.seq)

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
            self._find(entry.seq, f"can't be read: {error}")
            self._is_foldable = False
        except Exception as error:  # noqa: BLE001 - of what no dispatcher wrote, anything can come
            self._find(entry.seq, f"can't be folded: {type(error).__name__}: {error}")
            self._is_foldable = False

    def _grow(self, leaf: bytes, *, has_tree: bool) -> None:
        completed = self.tree.append(leaf, KEPT_LEVEL)
        if not has_tree:
            return
        for done, root in completed:
            first, last = (done.number << done.level) + 1, (done.number + 1) << done.level
            kept = self._subtrees.pop(done, None)
            is_told = any(first <= wrong for wrong, _, _ in self._wrong_subtrees[-1:])
            if kept != root and not is_told:
                why = "has no hash" if kept is None else "has another hash"
                self._wrong_subtrees.append((first, last, why))

    def _reach(self, seq: int) -> None:
        """Compare what is known of the log at this seq, or was to be known at one that is not."""
        while self._checkpoints and self._checkpoints[0].checkpoint.size <= seq:
            known = self._checkpoints.pop(0)
            if (known.checkpoint.size, known.checkpoint.root) == (seq, self.tree.root()):
                self._vouched = known
            else:
                self._wrong_checkpoints.append(known)
        while self._is_foldable and self._snapshots and self._snapshots[0][0] == seq:
            self._compare_snapshot(self._snapshots.pop(0)[1])
        while self._is_foldable and self._looks and self._looks[0].seq == seq:
            for finding in self._looks.pop(0).compare(self.state, self.tree):
                self.findings.add(finding)

    def _compare_snapshot(self, path: Path) -> None:
        try:
            if header_of(path).fold != FOLD:
                self.notes.append(f"{path.name} was made by another version, and not compared.")
            elif path.read_bytes() != encode(self.state, self.tree):
                self._tell(f"the snapshot {path.name} is not what a replay gives")
        except FileNotFoundError:
            pass  # thinned out by a dispatcher that runs
        except (OSError, SnapshotError) as error:
            self._tell(f"the snapshot {path.name} can't be read: {error}")

    def _conclude_tree(self) -> None:
        """Say what the tree knows of the events, and what only of itself."""
        head, vouched = self.tree.size, self._vouched_size
        for first, last, why in self._wrong_subtrees:
            if last <= vouched:
                self._tell(f"the tree {why} for seq {first} to {last}, which are as they were")
            else:
                self._some(max(first, vouched + 1), last, f"changed: the tree {why} for them")
        missing_upto = 0
        for level, number in self._subtrees:
            if level not in range(KEPT_LEVEL, _MOST_LEVELS) or number not in range(1 << 63):
                self._tell(f"there is a hash of subtree {number!r} of level {level!r}: none is so")
            else:
                missing_upto = max(missing_upto, (number + 1) << level)
        if missing_upto > head:
            self._find(head + 1, "missing: the tree has hashes for them", missing_upto)

    def _conclude_checkpoints(self) -> None:
        head, vouched = self.tree.size, self._vouched_size
        for name, checkpoint in self._wrong_checkpoints:
            if checkpoint.size <= vouched:
                self._tell(f"{name} is false: of its {checkpoint.size} events the root is another")
            else:
                self._some(vouched + 1, checkpoint.size, f"not what {name} was signed for")
        for name, checkpoint in self._checkpoints:
            self._find(head + 1, f"missing: {name} was signed for them", checkpoint.size)
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
            self._find(head + 1, f"missing: there is a snapshot of them, {path.name}", seq)
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
        """How many events are known to be as they were."""
        return 0 if self._vouched is None else self._vouched.checkpoint.size

    def _tell(self, what: str) -> None:
        self.findings.add(Finding(what))

    def _find(self, seq: int, what: str, upto: int | None = None) -> None:
        self.findings.add(Finding.of(seq, what, upto))

    def _some(self, seq: int, upto: int, what: str) -> None:
        self.findings.add(Finding.of(seq, what, upto, which="one or more"))


def head_of(path: Path) -> int:
    """Give the seq at which a log ends at this moment. `LogError` if there is no log."""
    with opened(path) as log:
        return log.head()
