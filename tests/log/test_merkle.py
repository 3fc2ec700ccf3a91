"""The tree is the one of RFC 9162, its proofs are the RFC's, and no other proof is taken."""

from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Final

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from dispatcher.log.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    Frontier,
    Span,
    Subtree,
    consistency,
    inclusion,
    leaf_hash,
    node_hash,
    span_root,
    subtrees,
    verify_consistency,
    verify_inclusion,
)

# The reference tree of Certificate Transparency: its leaves, and the root at each size.
LEAVES: Final = [
    bytes.fromhex(leaf)
    for leaf in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS: Final = [
    bytes.fromhex(root)
    for root in (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
NODES: Final = {
    (0, 0): "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    (0, 1): "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    (0, 2): "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7",
    (0, 3): "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7",
    (0, 4): "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    (0, 5): "4271a26be0d8a84f0bd54c8c302e7cb3a3b5d1fa6780a40bcce2873477dab658",
    (0, 6): "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
    (0, 7): "46f6ffadd3d06a09ff3c5860d2755c8b9819db7df44251788c7d8e3180de8eb1",
    (1, 0): "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    (1, 1): "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    (1, 2): "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    (1, 3): "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    (2, 0): "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    (2, 1): "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    (3, 0): "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}

# The definitions of RFC 9162, 2.1.1, 2.1.3.1 and 2.1.4.1, as they stand there.


def split(count: int) -> int:
    k = 1
    while 2 * k < count:
        k *= 2
    return k


def mth(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    k = split(len(leaves))
    return node_hash(mth(leaves[:k]), mth(leaves[k:]))


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: Sequence[bytes], *, known: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if known else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], known=known), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], known=False), mth(leaves[:k])]


class Grown:
    """A tree with each perfect subtree that appending to its frontier has completed."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self.lines = lines
        self.kept: dict[Subtree, bytes] = {}
        self.frontier = Frontier()
        self.roots = [self.frontier.root()]
        for line in lines:
            completed = self.frontier.append(leaf_hash(line))
            assert not self.kept.keys() & dict(completed).keys()
            self.kept.update(completed)
            self.roots.append(self.frontier.root())

    def prove(self, spans: list[Span]) -> list[bytes]:
        return [span_root([self.kept[piece] for piece in span]) for span in spans]


MANY: Final = 70
SAMPLE: Final = Grown([b"event %d" % n for n in range(MANY)])
PROVED: Final = [(0, 1), (0, 8), (5, 8), (7, 8), (12, 13), (4, 13), (0, 70), (69, 70), (33, 70)]
GROWTHS: Final = [(1, 2), (1, 8), (4, 8), (6, 8), (6, 7), (8, 13), (12, 13), (13, 70), (64, 70)]


def flipped(value: bytes, bit: int) -> bytes:
    return (int.from_bytes(value) ^ 1 << bit).to_bytes(len(value))


# What is published


def test_the_roots_are_the_published_ones_at_every_size() -> None:
    assert ROOTS[0] == EMPTY_ROOT
    assert Grown(LEAVES).roots == ROOTS


def test_the_subtrees_that_are_completed_are_the_published_ones() -> None:
    kept = {tuple(piece): root.hex() for piece, root in Grown(LEAVES).kept.items()}
    assert kept == NODES


@pytest.mark.parametrize(
    ("index", "size", "nodes"),
    [
        (0, 1, []),
        (0, 8, [(0, 1), (1, 1), (2, 1)]),
        (5, 8, [(0, 4), (1, 3), (2, 0)]),
        (2, 3, [(1, 0)]),
        (1, 5, [(0, 0), (1, 1), (0, 4)]),
    ],
)
def test_inclusion_proofs_are_the_published_ones(
    index: int, size: int, nodes: list[tuple[int, int]]
) -> None:
    published = [bytes.fromhex(NODES[node]) for node in nodes]
    assert Grown(LEAVES).prove(inclusion(index, size)) == published
    assert verify_inclusion(leaf_hash(LEAVES[index]), index, size, published, ROOTS[size])


@pytest.mark.parametrize(
    ("old", "new", "nodes"),
    [
        (1, 1, []),
        (1, 8, [(0, 1), (1, 1), (2, 1)]),
        (6, 8, [(1, 2), (1, 3), (2, 0)]),
        (2, 5, [(1, 1), (0, 4)]),
        (6, 7, [(1, 2), (0, 6), (2, 0)]),
    ],
)
def test_consistency_proofs_are_the_published_ones(
    old: int, new: int, nodes: list[tuple[int, int]]
) -> None:
    published = [bytes.fromhex(NODES[node]) for node in nodes]
    assert Grown(LEAVES).prove(consistency(old, new)) == published
    assert verify_consistency(old, new, ROOTS[old], ROOTS[new], published)


# What the RFC defines


@pytest.mark.parametrize("size", range(MANY + 1))
def test_every_root_and_proof_is_what_the_rfc_defines_and_holds(size: int) -> None:
    lines, root = SAMPLE.lines[:size], SAMPLE.roots[size]
    assert root == mth(lines)
    for index in range(size):
        shown = SAMPLE.prove(inclusion(index, size))
        assert shown == path(index, lines)
        assert verify_inclusion(leaf_hash(lines[index]), index, size, shown, root)
    for old in range(1, size + 1):
        shown = SAMPLE.prove(consistency(old, size))
        assert shown == subproof(old, lines, known=True)
        assert verify_consistency(old, size, SAMPLE.roots[old], root, shown)


def test_so_it_is_in_bigger_trees() -> None:
    chance = Random(6962)
    tree = Grown([b"%d" % n for n in range(5_000)])
    for size in chance.sample(range(MANY, 5_001), 20):
        index, old = chance.randrange(size), chance.randrange(1, size + 1)
        assert tree.roots[size] == mth(tree.lines[:size])
        shown = tree.prove(inclusion(index, size))
        assert shown == path(index, tree.lines[:size])
        assert verify_inclusion(leaf_hash(tree.lines[index]), index, size, shown, tree.roots[size])
        shown = tree.prove(consistency(old, size))
        assert shown == subproof(old, tree.lines[:size], known=True)
        assert verify_consistency(old, size, tree.roots[old], tree.roots[size], shown)


@examples(st.integers(1, 2**63), st.data())
def test_a_proof_takes_few_subtrees_however_big_the_tree_is(size: int, data: st.DataObject) -> None:
    for spans in (
        inclusion(data.draw(st.integers(0, size - 1)), size),
        consistency(data.draw(st.integers(1, size)), size),
    ):
        assert sum(len(span) for span in spans) <= 2 * size.bit_length()
        assert all(span for span in spans)


# Pieces


@examples(st.integers(0, 2**63))
def test_the_pieces_of_a_tree_are_perfect_join_up_and_get_smaller(size: int) -> None:
    pieces = subtrees(0, size)
    edges = [(piece.number << piece.level, piece.number + 1 << piece.level) for piece in pieces]
    assert all(before[1] == after[0] for before, after in pairwise(edges))
    assert sum(end - begin for begin, end in edges) == size
    assert not edges or edges[0][0] == 0
    assert all(before.level > after.level for before, after in pairwise(pieces))


@pytest.mark.parametrize(("begin", "end"), [(-1, 1), (2, 1), (1, 3), (2, 5), (4, 10), (6, 9)])
def test_leaves_that_do_not_hang_together_have_no_pieces(begin: int, end: int) -> None:
    with pytest.raises(ValueError, match="no part of a tree"):
        subtrees(begin, end)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 3), (8, 7)])
def test_of_a_leaf_that_is_not_there_there_is_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        inclusion(index, size)


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 3), (6, 3), (-1, 3)])
def test_between_such_sizes_there_is_no_proof(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="no consistency proof"):
        consistency(old, new)


# The frontier


@pytest.mark.parametrize("size", range(20))
def test_a_frontier_is_given_back_by_its_size_and_roots(size: int) -> None:
    tree = Grown(SAMPLE.lines[:size])
    assert tree.frontier.roots == tuple(tree.kept[piece] for piece in subtrees(0, size))
    again = Frontier(tree.frontier.size, tree.frontier.roots)
    for line in SAMPLE.lines[size:]:
        again.append(leaf_hash(line))
    assert (again.size, again.root()) == (MANY, SAMPLE.roots[MANY])


@examples(st.integers(0, 6), st.integers(0, 9), st.integers(0, 70))
def test_a_perfect_subtree_is_appended_as_its_leaves_are(
    level: int, number: int, more: int
) -> None:
    before, leaves = number << level, [leaf_hash(b"%d" % n) for n in range((10 << 6) + 70)]
    one, other, inner = Frontier(), Frontier(), Frontier()
    for leaf in leaves[:before]:
        one.append(leaf)
        other.append(leaf)
    completed = dict[Subtree, bytes]()
    for leaf in leaves[before : before + (1 << level)]:
        inner.append(leaf)
        completed |= dict(one.append(leaf, level))
    assert dict(other.append(inner.root(), level, level=level)) == completed
    for leaf in leaves[other.size : other.size + more]:
        one.append(leaf)
        other.append(leaf)
    assert (one.size, one.roots) == (other.size, other.roots)


def test_a_subtree_has_a_place_of_its_own() -> None:
    frontier = Frontier()
    frontier.append(leaf_hash(b"x"))
    with pytest.raises(ValueError, match="after 1 leaves there is no place for 4"):
        frontier.append(leaf_hash(b"y"), level=2)
    assert frontier.size == 1


def test_a_copy_grows_on_its_own() -> None:
    tree = Grown(LEAVES[:3]).frontier
    grown = tree.copy()
    grown.append(leaf_hash(LEAVES[3]))
    assert (tree.size, tree.root()) == (3, ROOTS[3])
    assert (grown.size, grown.root()) == (4, ROOTS[4])


@pytest.mark.parametrize(
    ("size", "roots"),
    [(-1, []), (0, [EMPTY_ROOT]), (3, [EMPTY_ROOT]), (1, [b"short"]), (2**64, [EMPTY_ROOT])],
)
def test_a_frontier_of_another_shape_is_refused(size: int, roots: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r"frontier|edge"):
        Frontier(size, roots)


# Forgeries


@pytest.mark.parametrize(("index", "size"), PROVED)
def test_an_inclusion_proof_with_any_bit_flipped_is_refused(index: int, size: int) -> None:
    genuine = [
        leaf_hash(SAMPLE.lines[index]),
        SAMPLE.roots[size],
        *SAMPLE.prove(inclusion(index, size)),
    ]
    for place, value in enumerate(genuine):
        for bit in range(8 * HASH_BYTES):
            forged = [*genuine[:place], flipped(value, bit), *genuine[place + 1 :]]
            leaf, root, *shown = forged
            assert not verify_inclusion(leaf, index, size, shown, root)


@pytest.mark.parametrize(("old", "new"), GROWTHS)
def test_a_consistency_proof_with_any_bit_flipped_is_refused(old: int, new: int) -> None:
    genuine = [SAMPLE.roots[old], SAMPLE.roots[new], *SAMPLE.prove(consistency(old, new))]
    for place, value in enumerate(genuine):
        for bit in range(8 * HASH_BYTES):
            forged = [*genuine[:place], flipped(value, bit), *genuine[place + 1 :]]
            before, after, *shown = forged
            assert not verify_consistency(old, new, before, after, shown)


def mangled(shown: list[bytes], *strangers: bytes) -> list[list[bytes]]:
    """Every path that is one swap, one element more or one less away from this one."""
    swapped = [[*shown[:n], shown[n + 1], shown[n], *shown[n + 2 :]] for n in range(len(shown) - 1)]
    without = [[*shown[:n], *shown[n + 1 :]] for n in range(len(shown))]
    longer = [
        [*shown[:n], stranger, *shown[n:]]
        for n in range(len(shown) + 1)
        for stranger in (*strangers, *shown, EMPTY_ROOT)
    ]
    odd = [[*shown[:n], shown[n] + b"\0", *shown[n + 1 :]] for n in range(len(shown))]
    cut = [[*shown[:n], shown[n][:-1], *shown[n + 1 :]] for n in range(len(shown))]
    return [*swapped, *without, *longer, *odd, *cut]


@pytest.mark.parametrize(("index", "size"), PROVED)
def test_an_inclusion_proof_of_other_elements_is_refused(index: int, size: int) -> None:
    leaf, root = leaf_hash(SAMPLE.lines[index]), SAMPLE.roots[size]
    for forged in mangled(SAMPLE.prove(inclusion(index, size)), leaf, root):
        assert not verify_inclusion(leaf, index, size, forged, root)


@pytest.mark.parametrize(("old", "new"), [*GROWTHS, (1, 1), (7, 7)])
def test_a_consistency_proof_of_other_elements_is_refused(old: int, new: int) -> None:
    before, after = SAMPLE.roots[old], SAMPLE.roots[new]
    for forged in mangled(SAMPLE.prove(consistency(old, new)), before, after):
        assert not verify_consistency(old, new, before, after, forged)


@pytest.mark.parametrize(("index", "size"), PROVED)
def test_a_leaf_is_proved_in_its_own_place_of_its_own_tree_alone(index: int, size: int) -> None:
    leaf, shown = leaf_hash(SAMPLE.lines[index]), SAMPLE.prove(inclusion(index, size))
    for other in range(-1, MANY + 2):
        if other != index:
            assert not verify_inclusion(leaf, other, size, shown, SAMPLE.roots[size])
        if other != size and 0 <= other <= MANY:
            assert not verify_inclusion(leaf, index, other, shown, SAMPLE.roots[other])
        if other != index and 0 <= other < size:
            stranger = leaf_hash(SAMPLE.lines[other])
            assert not verify_inclusion(stranger, index, size, shown, SAMPLE.roots[size])


@pytest.mark.parametrize(("old", "new"), GROWTHS)
def test_growth_is_proved_between_these_two_trees_alone(old: int, new: int) -> None:
    before, after = SAMPLE.roots[old], SAMPLE.roots[new]
    shown = SAMPLE.prove(consistency(old, new))
    assert not verify_consistency(new, old, after, before, shown)
    assert not verify_consistency(old, new, after, before, shown)
    for other in range(MANY + 1):
        if other != old:
            assert not verify_consistency(other, new, SAMPLE.roots[other], after, shown)
        if other != new:
            assert not verify_consistency(old, other, before, SAMPLE.roots[other], shown)


def test_a_tree_of_another_past_is_not_consistent() -> None:
    forked = Grown([*SAMPLE.lines[:9], b"another", *SAMPLE.lines[10:]])
    for old in range(10, MANY + 1):
        shown = forked.prove(consistency(old, MANY))
        assert not verify_consistency(old, MANY, SAMPLE.roots[old], forked.roots[MANY], shown)


def test_a_node_does_not_pass_for_a_leaf() -> None:
    pair = SAMPLE.kept[Subtree(1, 0)]
    shown = SAMPLE.prove(inclusion(0, 4))[1:]
    assert not verify_inclusion(pair, 0, 4, shown, SAMPLE.roots[4])
    line = SAMPLE.kept[Subtree(0, 0)] + SAMPLE.kept[Subtree(0, 1)]
    assert leaf_hash(line) != pair


def test_of_the_empty_tree_nothing_is_proved() -> None:
    assert not verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    assert not verify_consistency(0, 1, EMPTY_ROOT, SAMPLE.roots[1], [])
    assert not verify_inclusion(EMPTY_ROOT, 0, 0, [], EMPTY_ROOT)


def test_a_tree_is_consistent_with_itself_and_with_no_other_of_its_size() -> None:
    assert verify_consistency(5, 5, SAMPLE.roots[5], SAMPLE.roots[5], [])
    assert not verify_consistency(5, 5, SAMPLE.roots[5], SAMPLE.roots[6], [])


@examples(
    st.tuples(st.integers(), st.integers()) | st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.lists(st.binary(max_size=40) | st.sampled_from([*SAMPLE.kept.values()]), max_size=70),
)
def test_garbage_is_refused_and_raises_nothing(
    sizes: tuple[int, int], garbage: list[bytes]
) -> None:
    first, second, *shown = [*garbage, b"", EMPTY_ROOT]
    assert not verify_inclusion(first, *sizes, shown, second)
    assert not verify_consistency(*sizes, first, second, shown)


def test_what_would_lead_to_the_root_of_a_bigger_tree_is_refused() -> None:
    left, right = SAMPLE.kept[Subtree(1, 0)], SAMPLE.kept[Subtree(1, 1)]
    assert not verify_inclusion(right, 0, 1, [left], SAMPLE.roots[4])
    ends = [SAMPLE.kept[Subtree(*piece)] for piece in ((0, 6), (0, 7), (1, 2), (2, 0))]
    assert verify_consistency(7, 8, SAMPLE.roots[7], SAMPLE.roots[8], ends)
    assert not verify_consistency(3, 4, SAMPLE.roots[7], SAMPLE.roots[8], ends)


def test_hashes_of_another_length_are_refused_even_if_their_bytes_join_up() -> None:
    left, right = SAMPLE.kept[Subtree(0, 0)], SAMPLE.kept[Subtree(0, 1)]
    moved = left + right[:1], right[1:]
    assert node_hash(*moved) == SAMPLE.roots[2]
    assert not verify_inclusion(moved[1], 1, 2, [moved[0]], SAMPLE.roots[2])
    assert not verify_consistency(1, 2, moved[0], SAMPLE.roots[2], [moved[1]])


@pytest.mark.parametrize(("levels", "holds"), [(63, True), (64, False)])
def test_a_size_is_of_64_bits(levels: int, holds: bool) -> None:
    leaf = root = leaf_hash(b"the first of many")
    for _ in range(levels):
        root = node_hash(root, EMPTY_ROOT)
    shown = [EMPTY_ROOT] * levels
    assert verify_inclusion(leaf, 0, 2**levels, shown, root) is holds
    assert verify_consistency(1, 2**levels, leaf, root, shown) is holds


@pytest.mark.parametrize("size", [2**64, 2**10_000])
def test_a_size_that_no_log_has_is_refused(size: int) -> None:
    shown = [EMPTY_ROOT] * 70
    assert not verify_inclusion(EMPTY_ROOT, size - 1, size, shown, EMPTY_ROOT)
    assert not verify_consistency(size - 1, size, EMPTY_ROOT, EMPTY_ROOT, shown)
