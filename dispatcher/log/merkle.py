"""The Merkle tree of a log (RFC 9162, 2.1): one root for the whole log, short proofs for parts.

Laws:
- Nothing here reads or writes. Leaves come in as hashes. What a proof needs from a stored tree is
  named, not fetched. A perfect subtree never changes once its last leaf is in, so it may be stored.
- A proof is exactly what RFC 9162 defines. One that is longer, shorter or otherwise made is
  refused. No forged input raises an exception.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "KEPT_LEVEL",
    "Frontier",
    "Growth",
    "Span",
    "Subtree",
    "consistency",
    "grow",
    "inclusion",
    "leaf_hash",
    "node_hash",
    "span_root",
    "subtrees",
    "verify_consistency",
    "verify_inclusion",
]

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256().digest()
"""The root of a tree without leaves."""
KEPT_LEVEL: Final = 8
"""Subtrees from this level up are worth storing: those of 256 leaves and more."""
_SIZE_LIMIT: Final = 1 << 64
"""RFC 9162 counts leaves in 64 bits; it also bounds the work that a forged proof can make."""


class Subtree(NamedTuple):
    """A perfect subtree: leaves [number << level, (number + 1) << level), counted from 0."""

    level: int
    number: int


Span = list[Subtree]
"""The perfect subtrees of a run of leaves, largest first. `span_root` makes one hash of theirs."""


def leaf_hash(line: bytes) -> bytes:
    """Hash a leaf. The prefix keeps a leaf from being taken for a node."""
    return hashlib.sha256(b"\x00" + line).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into the one above them."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def span_root(hashes: Sequence[bytes]) -> bytes:
    """Fold the roots of a span's subtrees, from the right, into the root of the span."""
    if not hashes:
        return EMPTY_ROOT
    *others, root = hashes
    for left in reversed(others):
        root = node_hash(left, root)
    return root


class Frontier:
    """The right edge of a tree, which suffices to append. Storing or copying it takes O(log n).

    `roots` are those of its perfect subtrees, largest first, as `subtrees(0, size)` names them. The
    frontier can be rebuilt from its size and its roots.
    """

    __slots__ = ("_roots", "_size")

    def __init__(self, size: int = 0, roots: Iterable[bytes] = ()) -> None:
        self._size = size
        self._roots = list(roots)
        if not 0 <= size < _SIZE_LIMIT or len(self._roots) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has no edge of {len(self._roots)} subtrees")
        if not _are_hashes(self._roots):
            raise ValueError(f"each root of a frontier has {HASH_BYTES} bytes")

    @property
    def size(self) -> int:
        """The number of leaves in the tree."""
        return self._size

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The roots of the perfect subtrees, largest first."""
        return tuple(self._roots)

    def copy(self) -> "Frontier":
        """Return a copy that grows independently."""
        return Frontier(self._size, self._roots)

    def append(
        self, root: bytes, from_level: int = 0, *, level: int = 0
    ) -> list[tuple[Subtree, bytes]]:
        """Append a leaf's hash; return the subtrees of at least `from_level` that it completes.

        The subtree of level 0 is the leaf itself. With a `level`, the root of a perfect subtree of
        that level is appended, whose place must be the next.
        """
        if self._size & (leaves := 1 << level) - 1:
            raise ValueError(f"after {self._size} leaves there is no place for {leaves}")
        completed = []
        while True:
            if level >= from_level:
                completed.append((Subtree(level, self._size >> level), root))
            if not self._size >> level & 1:
                break
            level, root = level + 1, node_hash(self._roots.pop(), root)
        self._roots.append(root)
        self._size += leaves
        return completed

    def root(self) -> bytes:
        """Return the root of the whole tree."""
        return span_root(self._roots)


class Growth(NamedTuple):
    """What lines add to a tree, which then is `frontier`.

    `subtrees` are level, number and root.
    """

    frontier: Frontier
    leaf_hashes: list[bytes]
    subtrees: list[tuple[int, int, bytes]]


def grow(frontier: Frontier, lines: Iterable[bytes]) -> Growth:
    """Return what a tree becomes with these lines; `frontier` itself is not changed."""
    grown = frontier.copy()
    leaf_hashes, completed = [], []
    for text in lines:
        leaf = leaf_hash(text)
        leaf_hashes.append(leaf)
        for done, root in grown.append(leaf, KEPT_LEVEL):
            completed.append((done.level, done.number, root))
    return Growth(grown, leaf_hashes, completed)


def subtrees(begin: int, end: int) -> Span:
    """Return the perfect subtrees that together have the leaves [begin, end) of a tree.

    `begin` must be a multiple of a power of two that is not less than the number of leaves.
    """
    length = end - begin
    if begin < 0 or length < 0 or (length and begin % (1 << (length - 1).bit_length())):
        raise ValueError(f"leaves [{begin}, {end}) are no part of a tree")
    pieces: Span = []
    for level in reversed(range(length.bit_length())):
        if length >> level & 1:
            pieces.append(Subtree(level, begin >> level))
            begin += 1 << level
    return pieces


def inclusion(index: int, size: int) -> list[Span]:
    """Return what proves that leaf `index` is in the tree of `size` leaves (2.1.3.1).

    These are O(log n) subtrees in all: only one of the spans, the one that reaches the end of the
    tree, may have more than one.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    path: list[Span] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = _middle(begin, end)
        if index < middle:
            path.append(subtrees(middle, end))
            end = middle
        else:
            path.append(subtrees(begin, middle))
            begin = middle
    path.reverse()
    return path


def consistency(old: int, new: int) -> list[Span]:
    """Return what proves that the tree of `new` leaves begins with that of `old` (2.1.4.1)."""
    if not 0 < old <= new:
        raise ValueError(f"there is no consistency proof from {old} to {new} leaves")
    path: list[Span] = []
    begin, end = 0, new
    while end != old:
        middle = _middle(begin, end)
        if old <= middle:
            path.append(subtrees(middle, end))
            end = middle
        else:
            path.append(subtrees(begin, middle))
            begin = middle
    if begin:  # otherwise the rest is the old tree, whose root the verifier has
        path.append(subtrees(begin, end))
    path.reverse()
    return path


def verify_inclusion(
    leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes
) -> bool:
    """Return whether a path proves that a leaf's hash is at `index` below `root` (2.1.3.2)."""
    if not (0 <= index < size < _SIZE_LIMIT and _are_hashes([leaf, root, *path])):
        return False
    at, last = index, size - 1
    reached = leaf
    for sibling in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            reached = node_hash(sibling, reached)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            reached = node_hash(reached, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and reached == root


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]
) -> bool:
    """Return whether a path proves that the tree of `new_root` begins with that of `old_root`.

    The algorithm is that of 2.1.4.2. A tree is consistent with itself, which takes an empty path.
    Nothing can be proved of the empty tree.
    """
    if not (0 < old <= new < _SIZE_LIMIT and _are_hashes([old_root, new_root, *path])):
        return False
    if old == new:
        return not path and old_root == new_root
    if not path:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    is_perfect = at == 0  # the old tree is a subtree of the new, and the proof starts at its root
    start, *siblings = (old_root, *path) if is_perfect else path
    old_reached = new_reached = start
    for sibling in siblings:
        if last == 0:
            return False
        if at & 1 or at == last:
            old_reached = node_hash(sibling, old_reached)
            new_reached = node_hash(sibling, new_reached)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new_reached = node_hash(new_reached, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and old_reached == old_root and new_reached == new_root


def _middle(begin: int, end: int) -> int:
    """Return where RFC 9162 splits leaves [begin, end).

    This is after the largest power of two that is smaller than their number.
    """
    return begin + (1 << (end - begin - 1).bit_length() - 1)


def _are_hashes(values: Iterable[bytes]) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
