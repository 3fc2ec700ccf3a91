"""`dispatcher audit` and `scripts/audit.py`, as an auditor has them."""

import csv
import io
import shutil
from pathlib import Path
from typing import Final

import pytest

from dispatcher.log.checkpoints import Checkpoint, Signer
from tests.support.audits import Genuine
from tests.support.commands import MODULE, Done, command
from tests.support.tampering import change_actor, put, rows, tampering

pytest_plugins = ["tests.support.audit_fixtures"]
pytestmark = pytest.mark.anyio

SCRIPT: Final = (str(Path(__file__).parents[2] / "scripts" / "audit.py"),)
SIGNER: Final = Signer.parse(
    "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
)
OTHER_KEY: Final = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
SPREAD: Final = {"count", "p50_s", "p95_s"}


@pytest.fixture
def log(logs: list[Genuine], tmp_path: Path) -> Genuine:
    """A log of some events, and notes of its end and of its first ten events."""
    path = tmp_path / "events.db"
    shutil.copy(logs[0].path, path)
    copy = logs[0]._replace(path=path)
    for name, size in (("all.note", copy.size), ("ten.note", 10)):
        note = SIGNER.sign(Checkpoint(SIGNER.origin, size, copy.roots[size]))
        (tmp_path / name).write_text(note, encoding="utf-8")
    (tmp_path / "log.key").write_text(SIGNER.verifier_key + "\n", encoding="utf-8")
    return copy


async def audit(cwd: Path, *arguments: str, key: str | None = None) -> Done:
    """Audit events.db in a directory; it must never end in a traceback."""
    done = await command(cwd, "audit", "--db", "events.db", *arguments, key=key)
    assert "Traceback" not in done.err
    return done


def cut_off(path: Path, size: int) -> None:
    with tampering(path) as connection:
        connection.execute("DELETE FROM events WHERE seq > ?", (size,))


# What it says


@pytest.mark.parametrize("program", [(*MODULE, "audit"), SCRIPT])
async def test_a_sound_log_is_summed_up_in_a_table(
    log: Genuine, tmp_path: Path, program: tuple[str, ...]
) -> None:
    arguments = ("--db", str(log.path), "--checkpoint", "all.note", "--key", "log.key")
    done = await command(tmp_path, *arguments, program=program)
    assert (done.status, done.err) == (0, "")
    for shown in ("events", "retries", "refused answers", "p50_s", "p95_s", "busy_s", "engine "):
        assert shown in done.out
    assert done.out.splitlines()[-1] == f"{log.path}: all {log.size} events are sound."
    assert "Note:" not in done.out


async def test_the_first_bad_seq_is_told_and_what_is_wrong_with_it(
    log: Genuine, tmp_path: Path
) -> None:
    change_actor(log.path, 23)
    done = await audit(tmp_path)
    assert done.status == 1
    *_, findings, note, last = done.out.splitlines()
    wrong = "seq 23: changed: the line and the hash recorded with it don't agree"
    assert findings == f"  {wrong}"
    assert note.startswith("Note: No checkpoint vouches for this log.")
    assert last == f"{log.path}: first bad seq 23, findings 1. {wrong}"


async def test_without_a_checkpoint_it_says_what_it_could_not_have_found(
    log: Genuine, tmp_path: Path
) -> None:
    change_actor(log.path, 23, forged=True)
    alone = await audit(tmp_path)
    assert (alone.status, "this audit could not have found it" in alone.out) == (0, True)
    earlier = await audit(tmp_path, "--checkpoint", "ten.note")
    assert earlier.status == 0
    assert "Note: checkpoint ten.note of PeterNeumann vouches for seq 1 to 10." in earlier.out
    both = await audit(tmp_path, "--checkpoint", "all.note", "--checkpoint", "ten.note")
    assert both.status == 1
    assert both.out.endswith(
        f"first bad seq 11, findings 1. one or more of seq 11 to {log.size}: "
        "not what checkpoint all.note of PeterNeumann was signed for\n"
    )


async def test_json_has_everything(log: Genuine, tmp_path: Path) -> None:
    cut_off(log.path, 30)
    done = await audit(tmp_path, "--json", "--checkpoint", "all.note", "--checkpoint", "ten.note")
    assert (done.status, done.err) == (1, "")
    assert set(done.json) == {
        *("log", "size", "root", "first_bad_seq", "findings", "notes", "totals"),
    }
    assert (done.json["log"], done.json["size"]) == (str(log.path), 30)
    assert done.json["first_bad_seq"] == 31
    what = "missing: checkpoint all.note of PeterNeumann was signed for them"
    finding = {"what": what, "seq": 31, "upto": log.size, "which": "each"}
    assert done.json["findings"] == [finding]
    totals = done.json["totals"]
    assert set(totals) == {
        *("events", "jobs", "retries", "refused_answers", "waits", "attempts", "busiest_engines"),
    }
    assert (totals["events"], set(totals["waits"])) == (30, SPREAD)
    assert {name for engine in totals["busiest_engines"] for name in engine} == {
        *("engine_id", "attempts", "completed", "failed", "busy_s"),
    }


async def test_csv_has_the_sums_and_the_rest_is_said_aside(log: Genuine, tmp_path: Path) -> None:
    change_actor(log.path, 23)
    as_json = await audit(tmp_path, "--json")
    done = await audit(tmp_path, "--csv")
    assert done.status == as_json.status == 1
    assert "first bad seq 23" in done.err
    header, *found = csv.reader(io.StringIO(done.out))
    assert header == ["section", "name", "value"]
    sums = {(section, name): value for section, name, value in found}
    totals = as_json.json["totals"]
    assert sums["log", "events"] == str(log.size)
    assert {
        ("jobs", status): str(n) for status, n in totals["jobs"].items()
    }.items() <= sums.items()
    assert float(sums["wait", "p95_s"]) == totals["waits"]["p95_s"]
    for engine in totals["busiest_engines"]:
        assert float(sums[f"engine {engine['engine_id']}", "busy_s"]) == engine["busy_s"]


async def test_what_a_forger_wrote_does_not_command_the_terminal(
    log: Genuine, tmp_path: Path
) -> None:
    with tampering(log.path) as connection:
        row = rows(connection)[22]
        put(connection, row._replace(type="\x1b[2J\u202e\nall is sound".encode()))
    done = await audit(tmp_path)
    assert done.status == 1
    assert "\x1b[2J" not in done.out
    assert "\u202e" not in done.out
    assert not any(line.startswith("all is sound") for line in done.out.splitlines())


# What it is given


async def test_a_key_is_given_as_text_or_as_a_file(log: Genuine, tmp_path: Path) -> None:
    (tmp_path / "a+b.key").write_text(SIGNER.verifier_key, encoding="utf-8")
    for key in ("log.key", "a+b.key", SIGNER.verifier_key):
        done = await audit(tmp_path, "--checkpoint", "all.note", "--key", key)
        assert (done.status, "signatures" in done.out) == (0, False)
    without = await audit(tmp_path, "--checkpoint", "all.note")
    assert without.status == 0
    assert "Note: The checkpoints' signatures were not checked" in without.out
    assert log.path.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--checkpoint", "all.note", "--key", OTHER_KEY), "no signature by sum.golang.org"),
        (("--key", "no+such+key"), "neither a key"),
        (("--key", "none.key"), "neither a key"),
        (("--key", "x" * 5_000), "neither a key"),
        (("--key", "."), "neither a key"),
        (("--checkpoint", "none.note"), "can't be read"),
        (("--checkpoint", "."), "can't be read"),
        (("--checkpoint", "broken.note"), "no signature line"),
        (("--checkpoint", "events.db"), "can't be read"),
        (("--json", "--csv"), "contradict each other"),
    ],
)
async def test_what_is_given_wrongly_is_told_before_anything_is_read(
    log: Genuine, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    (tmp_path / "broken.note").write_text("log\n40\n", encoding="utf-8")
    done = await audit(tmp_path, *arguments)
    assert (done.status, done.out) == (2, "")
    assert told in " ".join(done.err.replace("│", " ").split())
    assert log.path.exists()


@pytest.mark.parametrize("content", [None, b"", b"no log\n" * 99])
async def test_what_is_no_log_is_told_and_left_alone(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "events.db"
    if content is not None:
        path.write_bytes(content)
    for against in ((), ("--against", "http://127.0.0.1:1")):
        done = await audit(tmp_path, *against)
        assert (done.status, done.out) == (1, "")
        assert done.err.startswith("dispatcher: ")
        assert "events.db: " in done.err
    assert path.exists() == (content is not None)


async def test_a_directory_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "events.db").mkdir()
    done = await audit(tmp_path)
    assert (done.status, done.out) == (1, "")
    assert "is a directory" in done.err


async def test_a_damaged_file_is_told_in_words(log: Genuine, tmp_path: Path) -> None:
    content = log.path.read_bytes()
    log.path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    assert (await audit(tmp_path)).status == 1
