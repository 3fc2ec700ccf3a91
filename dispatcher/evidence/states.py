"""What follows from the events of a log that is audited, beside what was made of them before.

Law: from the first event that is missing or can't be read on, nothing is folded or compared.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, takewhile
from pathlib import Path
from typing import Final, NamedTuple

from dispatcher.core.legality import breach
from dispatcher.evidence.beside import differences
from dispatcher.evidence.findings import Finding, Findings
from dispatcher.evidence.statistics import Statistics
from dispatcher.index import IndexFaultError
from dispatcher.index.file import index_path
from dispatcher.index.reading import Index
from dispatcher.log import serialization
from dispatcher.log.merkle import Frontier
from dispatcher.log.serialization import LogEntry, UndecodableError
from dispatcher.state.replay import State
from dispatcher.state.snapshots import (
    FOLD,
    FOLD_VERSION,
    SnapshotError,
    Snapshots,
    agrees,
    header_of,
)

__all__ = ["Look", "States"]

MOST_DIFFERENCES: Final = 20
"""Most differences of the index that are reported."""


class Look(NamedTuple):
    """A comparison to make with the state and the tree as of `seq`."""

    seq: int
    compare: Callable[[State, Frontier], Iterator[Finding]]


class States:
    """The state so far, and the snapshots, the index and the looks that are still to come.

    They begin after seq `begin` with `state`, which is `None` if it is not known. `close` them.
    """

    def __init__(
        self,
        path: Path,
        findings: Findings,
        looks: Sequence[Look],
        begin: int = 0,
        state: State | None = None,
    ) -> None:
        self.state = state or State()
        self.statistics = Statistics()
        self.notes: list[str] = []
        self._is_foldable = state is not None or not begin
        self._findings = findings
        self._looks = sorted(looks, key=lambda look: look.seq)
        # Listed before the log is opened, so that no snapshot is newer than the log.
        self._snapshots = sorted(it for it in Snapshots(path).found() if it[0] > begin or not begin)
        self._index = self._opened(index_path(path))

    def _opened(self, path: Path) -> Index | None:
        try:
            return Index(path, FOLD_VERSION)
        except IndexFaultError as error:
            if path.exists():
                self.notes.append(f"The index was not compared: {error}.")
            return None

    def close(self) -> None:
        """Close the index."""
        if self._index is not None:
            self._index.close()

    def lose(self) -> None:
        """Give up: an event is missing or can't be read."""
        self._is_foldable = False

    def fold(self, entry: LogEntry) -> None:
        """Fold an event, and report it if the rules of the core could not have made it."""
        try:
            recorded = serialization.decode(entry)
            if not self._is_foldable:
                return
            if (broken := breach(self.state.fleet, recorded.event)) is not None:
                rule = f"against the rules of the core: {broken}"
                self._findings.add(Finding.of(entry.seq, rule, which="this or an earlier one"))
            self.state.apply(recorded)
            self.statistics.apply(recorded)
        except UndecodableError as error:
            self._findings.report_at(entry.seq, f"can't be read: {error}")
            self.lose()
        except Exception as error:  # noqa: BLE001 - a forged event may raise anything
            self._findings.report_at(entry.seq, f"can't be folded: {type(error).__name__}: {error}")
            self.lose()

    def compare_at(self, seq: int, tree: Frontier) -> None:
        """Compare what follows from the events up to a seq with the snapshots and looks at it."""
        while self._is_foldable and self._snapshots and self._snapshots[0][0] == seq:
            self._compare_snapshot(self._snapshots.pop(0)[1], tree)
        if self._is_foldable and self._index is not None and self._index.upto == seq > 0:
            self._compare_index(self._index, tree)
        while self._is_foldable and self._looks and self._looks[0].seq == seq:
            for finding in self._looks.pop(0).compare(self.state, tree):
                self._findings.add(finding)

    def _compare_snapshot(self, path: Path, tree: Frontier) -> None:
        try:
            if header_of(path).fold != FOLD:
                self.notes.append(f"{path.name} was made by another version, and not compared.")
            elif not agrees(path.read_bytes(), self.state, tree):
                self._findings.report(f"the snapshot {path.name} is not what a replay gives")
        except FileNotFoundError:
            pass  # a running dispatcher has deleted it
        except (OSError, SnapshotError) as error:
            self._findings.report(f"the snapshot {path.name} can't be read: {error}")

    def _compare_index(self, index: Index, tree: Frontier) -> None:
        try:
            for difference in islice(differences(index, self.state, tree), MOST_DIFFERENCES):
                self._findings.report(difference)
        except (IndexFaultError, ValueError, zlib.error) as error:
            self._findings.report(f"the index can't be read: {error}")

    def conclude(self, head: int) -> Iterator[str]:
        """Report what was made of events after the last one, and yield what was not compared."""
        for seq, path in takewhile(lambda found: found[0] > head, reversed(self._snapshots)):
            what = f"missing: there is a snapshot of them, {path.name}"
            self._findings.report_at(head + 1, what, seq)
        if self._index is not None and self._index.upto > head:
            what = "missing: the index was made of them"
            self._findings.report_at(head + 1, what, self._index.upto)
        if not self._is_foldable and any(it.seq is not None for it in self._findings):
            yield (
                "From the first event on that is missing or can't be read, the rules of the core "
                "and the snapshots were not checked, and nothing was summed up."
            )
        elif self._looks:
            yield (
                f"What was asked for at seq {self._looks[0].seq} was not compared: the log ends "
                f"before, at seq {head}."
            )
