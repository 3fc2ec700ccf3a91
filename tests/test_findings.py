"""Findings: how they read, and which of them is about the first bad event."""

from typing import Final

import pytest

from dispatcher.findings import Finding, Findings

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
