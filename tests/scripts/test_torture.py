"""The tortures in short, and whether they would see it if something were lost."""

from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from tests.support.outcomes import counted
from torturing import Outcome, kill, power
from torturing.load import Ledger
from torturing.report import Run, page
from torturing.volatile import SECTOR_BYTES, Disk, PowerCutError

pytestmark = pytest.mark.anyio

SEED = 1
JOB: Final[dict[str, Any]] = {
    "job_id": "1",
    "source_url": "http://media.test/1",
    "target_codec": "vp9",
    "job_size": 1.5,
    "max_retries": 3,
    "priority": 0,
    "submitted_at": "2026-01-01T00:00:00Z",
    "status": "pending",
    "output_url": None,
}
FIELDS: Final = {name: JOB[name] for name in ("source_url", "target_codec", "job_size")}


def ignore(line: str) -> None:
    """Let it run silently."""


async def test_a_killed_dispatcher_comes_back_with_all_it_has_answered() -> None:
    (outcome,) = await kill.run(kill.SHORT, SEED, ignore)
    assert outcome.failures == []
    for of in ("submissions", "completions"):
        assert counted(outcome, f"{of} acknowledged") > 0
    assert counted(outcome, "killed under load") > 0
    assert counted(outcome, "killed at a start") > 0
    assert counted(outcome, "killed after SIGTERM") > 0


async def test_no_power_cut_loses_what_was_acknowledged() -> None:
    outcome = await power.tried(power.FULL, power.SHORT, SEED, ignore)
    assert outcome.failures == []
    assert counted(outcome, "events acknowledged") > 0
    assert str(outcome.facts["lost"]).startswith("0 points")


async def test_a_log_that_does_not_sync_each_commit_is_seen_to_lose_what_was_acknowledged() -> None:
    outcome = await power.tried(power.NORMAL, power.SHORT, SEED, ignore)
    assert outcome.failures == []
    assert not str(outcome.facts["lost"]).startswith("0 points")


async def test_a_log_that_does_not_sync_its_segments_is_seen_to_lose_what_is_in_them() -> None:
    outcome = await power.tried(power.UNSYNCED, 2 * power.SHORT, SEED, ignore)
    assert outcome.failures == []
    assert counted(outcome, "segments sealed") > 0


async def test_no_power_cut_after_a_kill_loses_what_the_next_start_has_shown() -> None:
    outcome = await power.tried(power.AFTER_A_KILL, power.SHORT, SEED, ignore)
    assert outcome.failures == []


def test_what_was_synced_survives_and_what_was_not_may(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    disk = Disk(tmp_path)
    disk.write("file", 0, b"synced" * SECTOR_BYTES)
    disk.sync("file", with_directory=False)
    disk.write("file", 6 * SECTOR_BYTES, b"later")
    found = {disk.survivors(Random(seed))["file"] for seed in range(50)}
    assert found == {b"synced" * SECTOR_BYTES, b"synced" * SECTOR_BYTES + b"later"}


def test_a_write_may_survive_in_part_by_sectors(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"-" * 2 * SECTOR_BYTES)
    disk = Disk(tmp_path)
    disk.write("file", 0, b"+" * 2 * SECTOR_BYTES)
    found = {disk.survivors(Random(seed))["file"][::SECTOR_BYTES] for seed in range(100)}
    assert found == {b"--", b"+-", b"-+", b"++"}


def test_a_new_name_survives_once_the_directory_is_synced(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"content")
    disk = Disk(tmp_path)
    disk.rename("old", "new")
    assert {*disk.survivors(Random(0)), *disk.survivors(Random(1))} == {"old", "new"}
    disk.sync_directory()
    assert all(disk.survivors(Random(seed)) == {"new": b"content"} for seed in range(50))


def test_without_power_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    disk = Disk(tmp_path)
    disk.cut_after(1)
    disk.write("file", 0, b"before")
    for _ in range(2):
        with pytest.raises(PowerCutError):
            disk.sync("file", with_directory=False)
    assert disk.cut_by == "sync"


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        ([], "not there"),
        ([JOB | {"target_codec": "av1"}], "acknowledged as"),
        ([JOB, JOB | {"job_id": "2"}], "2 times"),
    ],
)
def test_a_lost_a_changed_and_a_doubled_submission_are_seen(
    shown: list[dict[str, Any]], told: str
) -> None:
    ledger = Ledger()
    ledger.submitted[JOB["source_url"]] = JOB
    assert any(told in failure for failure in ledger.check(shown))


def test_a_lost_completion_is_seen() -> None:
    ledger = Ledger()
    ledger.completed["1"] = "http://media.test/out/1"
    assert any("as completed" in failure for failure in ledger.check([JOB]))


def test_what_was_not_answered_may_be_there_or_not_but_not_in_part() -> None:
    for shown in ([], [JOB]):
        ledger = Ledger()
        ledger.unsure[FIELDS["source_url"]] = FIELDS
        assert list(ledger.check(shown)) == []
    ledger.unsure[FIELDS["source_url"]] = FIELDS
    assert list(ledger.check([JOB | {"job_size": 0.0}])) != []


def test_what_was_not_there_does_not_come_later() -> None:
    ledger = Ledger()
    ledger.unsure[FIELDS["source_url"]] = FIELDS
    assert list(ledger.check([])) == []
    assert list(ledger.check([JOB])) != []


def test_the_report_says_what_held_and_where_another_failed() -> None:
    held = Outcome("One", "It is so", 1_000, 1.0, {"seen": 2_000}, [])
    failed = Outcome("Other", "So is it", 5, 1.0, {}, ["at point 3 it was | not so"])
    told = page(Run("scripts/torture.py --seed 7", 7, 0.0, 60.0), [held, failed])
    assert "| **One.** It is so. | 1,000 | seen: 2,000 | held |" in told
    assert "| **Other.** So is it. | 5 |  | **failed** |" in told
    assert "- at point 3 it was \\| not so" in told
    assert "scripts/torture.py --seed 7" in told
