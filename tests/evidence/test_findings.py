"""Findings: how they read, and which of them is about the first bad event."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.evidence.findings import Finding, Findings, Which

BREACH: Final = Finding.of(9, "against the rules", which="this or an earlier one")


def test_a_finding_reads_as_a_sentence() -> None:
    assert str(Finding("the file is damaged")) == "the file is damaged"
    assert str(Finding.of(5, "missing")) == "seq 5: missing"
    assert str(Finding.of(5, "missing", 9)) == "seq 5 to 9: missing"
    vague = Finding.of(1, "changed", 256, which="one or more")
    assert str(vague) == "one or more of seq 1 to 256: changed"


def test_the_same_of_neighbours_is_one_finding() -> None:
    findings = Findings()
    for seq in (5, 6, 7, 9):
        findings.add(Finding.of(seq, "missing"))
        findings.add(Finding.of(seq, "odd", which="this or an earlier one"))
    told = [str(it) for it in findings if it.what == "missing"]
    assert told == ["seq 5 to 7: missing", "seq 9: missing"]
    assert len(findings) == 6


@pytest.mark.parametrize(
    ("findings", "first"),
    [
        ([], None),
        ([Finding("the file")], None),
        ([Finding.of(7, "a"), Finding.of(3, "b"), Finding("the file")], 3),
        # What is known more exactly explains what is known of a run.
        ([Finding.of(1, "a", 256, "one or more"), Finding.of(200, "b")], 200),
        ([Finding.of(1, "a", 256, "one or more"), Finding.of(101, "b", 300, "one or more")], 101),
        ([Finding.of(1, "a", 256, "one or more"), Finding.of(300, "b")], 1),
        # A rule that is broken may be so for the sake of an earlier event.
        (
            [
                Finding.of(1, "a", 256, "one or more"),
                Finding.of(9, "b", 9, "this or an earlier one"),
            ],
            1,
        ),
        ([Finding.of(9, "b", 9, "this or an earlier one")], 9),
    ],
)
def test_the_first_bad_event_is_told_as_exactly_as_it_is_known(
    findings: list[Finding], first: int | None
) -> None:
    found = Findings()
    for finding in findings:
        found.add(finding)
    bad = found.first_bad()
    assert (None if bad is None else bad.seq) == first


MANY: Final = 100_000
FEW_RUNS: Final = st.builds(
    lambda seq, length, which: Finding.of(seq, f"{which}", seq + length, which),
    st.integers(1, 12),
    st.integers(0, 6),
    st.sampled_from(["each", "one or more", "this or an earlier one"]),
)


@given(st.lists(FEW_RUNS, max_size=8))
def test_only_a_run_in_which_nothing_else_is_known_to_be_bad_is_told_as_a_run(
    runs: list[Finding],
) -> None:
    found = Findings()
    for finding in runs:
        found.add(finding)
    bad = found.first_bad()
    assert (bad is None) == (not runs)
    if bad is not None:
        causes = {it.seq or 0 for it in found if it.which != "this or an earlier one"}
        explained = {
            it
            for it in found
            if it.which == "one or more"
            and causes & set(range((it.seq or 0) + 1, (it.upto or 0) + 1))
        }
        assert bad not in explained
        assert bad.seq == min(it.seq or 0 for it in found if it not in explained)


@pytest.mark.parametrize("which", ["each", "one or more"])
def test_the_first_of_a_great_many_is_found(which: Which) -> None:
    """In about a second. Each with each, they would make ten thousand million pairs."""
    found = Findings()
    for seq in range(2, 2 * MANY, 2):
        found.add(Finding.of(seq, "changed", 2 * MANY if which == "one or more" else seq, which))
    bad = found.first_bad()
    assert bad is not None
    assert bad.seq == (2 * MANY - 2 if which == "one or more" else 2)
