"""The tree of a log that is audited: computed anew, and compared with what vouches for it.

Law: whatever the file says of its hashes, the tree is made of the events' own lines. An event that
is missing or can't be read has a hash that no event has, so that all others keep their places.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from dispatcher.evidence.findings import Findings
from dispatcher.log.checkpoints import Checkpoint
from dispatcher.log.merkle import HASH_BYTES, KEPT_LEVEL, Frontier, Subtree
from dispatcher.log.segments import Sealed

__all__ = ["UNHASHABLE", "Hashes", "Known"]

UNHASHABLE: Final = bytes(HASH_BYTES)
"""The leaf hash used for an event that is missing or can't be hashed. No real leaf has it."""
_MAX_LEVELS: Final = 63  # SQLite's integers count the leaves


class Known(NamedTuple):
    """A trusted checkpoint, such as one that was kept elsewhere."""

    name: str
    checkpoint: Checkpoint


class Hashes:
    """The tree so far, the subtrees that the file has, and the checkpoints that are still to come.

    `stored` are the file's subtrees, each of which is taken out when it was compared.
    """

    def __init__(self, findings: Findings, checkpoints: Iterable[Known], tree: Frontier) -> None:
        self.tree = tree
        self.stored: dict[Any, Any] = {}
        self._findings = findings
        self._checkpoints = sorted(
            (it for it in checkpoints if it.checkpoint.size >= tree.size),
            key=lambda known: known.checkpoint.size,
        )
        self._wrong_subtrees: list[tuple[int, int, str]] = []
        self._wrong_checkpoints: list[Known] = []
        self._vouched: Known | None = None

    def skip_to(self, seq: int) -> None:
        """Pass over events that are missing or can't be read, up to and including a seq."""
        self.tree = Frontier(seq, [UNHASHABLE] * seq.bit_count())

    def grow(
        self, appended: bytes, segment: Sealed | None = None, level: int = 0
    ) -> Mapping[Subtree, bytes]:
        """Append to the tree, and compare the subtrees that this completes with those stored.

        Return these. Of an event in a segment, the file need not have all.
        """
        completed = dict(self.tree.append(appended, 0 if segment else KEPT_LEVEL, level=level))
        for done, root in completed.items():
            if segment is not None and segment.contains(done) and done not in self.stored:
                continue
            first, last = (done.number << done.level) + 1, (done.number + 1) << done.level
            kept = self.stored.pop(done, None)
            is_reported = any(first <= wrong for wrong, _, _ in self._wrong_subtrees[-1:])
            if kept != root and not is_reported:
                why = "has no hash" if kept is None else "has another hash"
                self._wrong_subtrees.append((first, last, why))
        return completed

    def compare_at(self, seq: int) -> None:
        """Compare the tree of the events up to a seq with the checkpoints up to it."""
        while self._checkpoints and self._checkpoints[0].checkpoint.size <= seq:
            known = self._checkpoints.pop(0)
            if (known.checkpoint.size, known.checkpoint.root) == (seq, self.tree.root()):
                self._vouched = known
            else:
                self._wrong_checkpoints.append(known)

    def conclude(self) -> Iterator[str]:
        """Report what the hashes show when all was read, and yield what they can't."""
        self._conclude_subtrees()
        self._conclude_checkpoints()
        head, vouched = self.tree.size, self._vouched_size
        if self._vouched is None or vouched == 0:
            yield (
                "No checkpoint vouches for this log. Had its end been cut off, or any of it been "
                "rewritten together with all hashes, this audit could not have found it. Keep "
                "what GET /log/checkpoint gives elsewhere, and name it with --checkpoint."
            )
        elif vouched < head:
            yield (
                f"{self._vouched.name} vouches for seq 1 to {vouched}. Had the {head - vouched} "
                "after it been cut off, or been rewritten together with their hashes, this audit "
                "could not have found it."
            )

    def _conclude_subtrees(self) -> None:
        """Report changed or missing events, or only a changed tree."""
        head, vouched = self.tree.size, self._vouched_size
        for first, last, why in self._wrong_subtrees:
            if last <= vouched:
                self._findings.report(
                    f"the tree {why} for seq {first} to {last}, which are as they were"
                )
            else:
                self._findings.report_some_of(
                    max(first, vouched + 1), last, f"changed: the tree {why} for them"
                )
        missing_upto = 0
        for level, number in self.stored:
            if level not in range(KEPT_LEVEL, _MAX_LEVELS) or number not in range(1 << 63):
                self._findings.report(
                    f"there is a hash of subtree {number!r} of level {level!r}: none is so"
                )
            else:
                missing_upto = max(missing_upto, (number + 1) << level)
        if missing_upto > head:
            self._findings.report_at(
                head + 1, "missing: the tree has hashes for them", missing_upto
            )

    def _conclude_checkpoints(self) -> None:
        head, vouched = self.tree.size, self._vouched_size
        for name, checkpoint in self._wrong_checkpoints:
            if checkpoint.size <= vouched:
                self._findings.report(
                    f"{name} is false: of its {checkpoint.size} events the root is another"
                )
            else:
                self._findings.report_some_of(
                    vouched + 1, checkpoint.size, f"not what {name} was signed for"
                )
        for name, checkpoint in self._checkpoints:
            self._findings.report_at(
                head + 1, f"missing: {name} was signed for them", checkpoint.size
            )

    @property
    def _vouched_size(self) -> int:
        """How many events a checkpoint vouches for."""
        return 0 if self._vouched is None else self._vouched.checkpoint.size
