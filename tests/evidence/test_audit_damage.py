"""A file that is not made as a log is, or not whole any more, is told and never breaks an audit."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.evidence.audit import Audit
from dispatcher.log import LogError
from tests.support.audits import Genuine, audited
from tests.support.tampering import tampering

pytest_plugins = ["tests.support.audit_fixtures"]

# The tree alone, the guards alone


@given(data=st.data())
def test_hashes_of_the_tree_that_were_changed_are_told_from_events_that_were(
    logs: list[Genuine], data: st.DataObject
) -> None:
    log = logs[1]
    level, number = data.draw(st.sampled_from([(8, 0), (8, 1), (9, 0)]))
    change = data.draw(
        st.sampled_from(["UPDATE subtrees SET hash = x'00'", "DELETE FROM subtrees"])
    )
    first, last = (number << level) + 1, (number + 1) << level
    vouched = data.draw(st.integers(0, log.size))
    with log.copy() as path:
        with tampering(path) as connection:
            connection.execute(f"{change} WHERE level = ? AND number = ?", (level, number))
        audit = audited(path, log.known(vouched))
    (finding,) = audit.findings
    if vouched >= last:
        assert finding.seq is None
        assert f"seq {first} to {last}, which are as they were" in finding.what
    else:
        assert (finding.seq, finding.upto) == (max(first, vouched + 1), last)
        assert finding.which == "one or more"


@pytest.mark.parametrize(
    "row",
    [
        "(8, 9000000000000000000, x'00')",
        "(9000000000000000000, 0, x'00')",
        "(3, 0, x'00')",
        "(-8, 0, x'00')",
        "(8, -1, x'00')",
    ],
)
def test_a_hash_of_a_subtree_that_can_not_be_is_told(logs: list[Genuine], row: str) -> None:
    with logs[0].copy() as path:
        with tampering(path) as connection:
            connection.execute(f"INSERT INTO subtrees VALUES {row}")
        audit = audited(path, logs[0].known(logs[0].size))
    assert len(audit.findings) == 1


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DROP TRIGGER events_are_never_changed", "was taken off the file"),
        ("CREATE TABLE more (x)", "the table more is none of a log's"),
        ("CREATE INDEX more ON events (actor)", "the index more is none of a log's"),
        ("ALTER TABLE events ADD COLUMN more TEXT", "the table events was changed"),
        ("DROP TABLE subtrees", "can't be read, nor what follows: no such table: subtrees"),
        ("DROP TABLE events", "can't be read, nor what follows: no such table: events"),
        ("PRAGMA user_version = 1", "the file says that it has no tree (schema 1), but it has one"),
    ],
)
def test_a_file_that_is_made_otherwise_than_a_log_is_told(
    logs: list[Genuine], statement: str, told: str
) -> None:
    with logs[1].copy() as path:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(statement)
        assert any(told in str(finding) for finding in audited(path).findings)


@pytest.mark.parametrize(
    ("word", "other"),
    [
        ("without gaps", "and  so on"),  # in a comment
        ("never changed''", "never -- changed''"),  # in a string, where it begins no comment
        ("BEFORE UPDATE ON events", "BEFORE  UPDATE ON events"),
        ("STRICT", "strict"),
    ],
)
def test_a_log_whose_tables_are_described_in_other_words_is_told(
    logs: list[Genuine], word: str, other: str
) -> None:
    with logs[0].copy() as path:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(
                "PRAGMA writable_schema = ON;"
                f"UPDATE sqlite_master SET sql = replace(sql, '{word}', '{other}');"
            )
        assert any("was changed" in str(finding) for finding in audited(path).findings)


def test_a_table_that_takes_anything_is_read_all_the_same(logs: list[Genuine]) -> None:
    with logs[0].copy() as path:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(
                "ALTER TABLE events RENAME TO former;"
                "CREATE TABLE events AS SELECT * FROM former;"
                "DROP TABLE former;"
                "UPDATE events SET version = 'one' WHERE seq = 3;"
                "UPDATE events SET data = 7 WHERE seq = 5;"
                "UPDATE events SET time = NULL WHERE seq = 7;"
                "UPDATE events SET leaf_hash = 1.5 WHERE seq = 9;"
                "INSERT INTO events SELECT * FROM events WHERE seq = 11;"
                "INSERT INTO events (seq) VALUES (NULL), ('one'), (x'00'), (2.5);"
            )
        audit = audited(path)
    assert {3, 5, 7, 9, 11} <= {it.seq for it in audit.findings}
    assert sum(it.what.startswith("out of place") for it in audit.findings) >= 1


# The file's bytes


@settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_file_is_told_and_never_breaks_the_audit(
    logs: list[Genuine], data: st.DataObject
) -> None:
    log = data.draw(st.sampled_from(logs))
    with log.copy() as path:
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, 200) | st.integers(0, len(content) - 1))
            noise = data.draw(st.binary(min_size=1, max_size=8) | st.just(b"\xff" * 4096))
            content[at : at + len(noise)] = noise[: len(content) - at]
        path.write_bytes(content)
        check_damaged(log, path)


@given(data=st.data())
def test_a_file_that_was_cut_off_is_told(logs: list[Genuine], data: st.DataObject) -> None:
    log = data.draw(st.sampled_from(logs))
    with log.copy() as path:
        content = path.read_bytes()
        left = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 200))
        path.write_bytes(content[:left])
        check_damaged(log, path)


def check_damaged(log: Genuine, path: Path) -> None:
    """Expect a finding, or a refusal in words, or that no event was touched."""
    audit = Audit(path, log.known(log.size))
    with suppress(LogError):
        audit.run()
        if not audit.findings:
            assert (audit.tree.size, audit.tree.root()) == (log.size, log.roots[-1])
