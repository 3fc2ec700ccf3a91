"""`dispatcher export`, `import` and `backup` as a user has them, and the pages on them."""

import asyncio
import base64
import os
import re
import sys
from pathlib import Path
from typing import Final

import pytest

from dispatcher.core.events import EngineSeen, Recorded
from dispatcher.log.merkle import leaf_hash, node_hash
from dispatcher.log.sqlite import SqliteLog
from tests.support.commands import Done, command, ended
from tests.support.given import START
from tests.support.log_contents import encoded
from tests.support.servers import child, client_of, events_in

pytestmark = pytest.mark.anyio

DOCS: Final = Path(__file__).parents[2] / "docs"
EVENTS: Final = 5_000


async def shell(cwd: Path, script: str) -> Done:
    """Run a script as somebody does who has `dispatcher` installed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", f"set -o pipefail; {script}"),
        cwd=cwd,
        env=os.environ | {"PATH": path},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    return await ended(process)


def blocks_in(page: str, language: str) -> list[str]:
    """The fenced blocks of a page, of one language."""
    text = (DOCS / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
async def root(db: Path) -> bytes:
    """The root of a log of many events, which stands at `db`."""
    async with await SqliteLog.open(db) as log:
        seen = (Recorded(n, START, "t", EngineSeen(f"e{n}")) for n in range(1, EVENTS + 1))
        await log.append(encoded(*seen), 0)
    return log.tree.root()


# Out and back


async def test_a_log_goes_out_and_comes_back(root: bytes, db: Path, tmp_path: Path) -> None:
    out = await command(tmp_path, "export", "--db", str(db), "--output", "events.jsonl")
    assert (out.status, out.out, out.err) == (0, "", f"events.jsonl: {EVENTS:,} events\n")
    back = await command(tmp_path, "import", "events.jsonl", "--db", "new.db", "--json")
    assert (back.status, back.err) == (0, "")
    assert back.json == {
        "seq": EVENTS,
        "size_bytes": (tmp_path / "new.db").stat().st_size,
        "root": base64.b64encode(root).decode(),
        "root_hex": root.hex(),
    }
    piped = await shell(
        tmp_path, "dispatcher export --db new.db | dispatcher import - --db third.db"
    )
    in_base64 = base64.b64encode(root).decode()
    assert piped.out.splitlines()[1:] == [f"root {in_base64}", f"that is {root.hex()}"]
    assert (tmp_path / "third.db").read_bytes() == (tmp_path / "new.db").read_bytes()


async def test_a_backup_and_an_export_of_a_running_dispatcher_hold_what_was_acknowledged(
    db: Path, tmp_path: Path
) -> None:
    async with child(db) as server, client_of(server) as client:
        for n in range(20):
            body = {"engine_id": f"farm-{n}"}
            assert (await client.post("/engines/heartbeat", json=body)).status_code == 200
        copied, exported = await asyncio.gather(
            command(tmp_path, "backup", "copy.db", "--db", str(db)),
            command(tmp_path, "export", "--db", str(db), "--format", "csv"),
        )
        assert (copied.status, copied.err) == (0, "")
        assert copied.out.startswith("copy.db: up to seq 20, ")
        assert (exported.status, exported.out.count("\r\n")) == (0, 21)
        assert (await client.post("/engines/heartbeat", json={"engine_id": "a"})).status_code == 200
        assert events_in(tmp_path / "copy.db") == events_in(db)[:20]


# What goes wrong


async def test_a_reader_that_has_read_enough_ends_an_export_quietly(
    root: bytes, db: Path, tmp_path: Path
) -> None:
    assert root
    done = await shell(tmp_path, f"dispatcher export --db {db} | head -n 1")
    assert done.status in {0, 141}
    assert (done.out.count("\n"), done.err) == (1, "")


async def test_an_export_to_a_full_disk_says_so(root: bytes, db: Path, tmp_path: Path) -> None:
    assert root
    done = await shell(tmp_path, f"dispatcher export --db {db} > /dev/full")
    assert done.status == 1
    assert done.err == "dispatcher: standard output: can't be written: No space left on device\n"


@pytest.mark.parametrize(
    "work",
    [
        "backup out/copy.db --db {db}",
        "import {lines} --db out/new.db",
        "export --db {db} --output out/events.jsonl",
    ],
)
async def test_a_full_disk_leaves_nothing_half_done(
    root: bytes, db: Path, tmp_path: Path, work: str
) -> None:
    assert root
    lines = tmp_path / "events.jsonl"
    assert (await command(tmp_path, "export", "--db", str(db), "--output", str(lines))).status == 0
    (tmp_path / "out").mkdir()
    limit_kib = 200  # a file that grows beyond it can't be written
    script = f"ulimit -f {limit_kib}; dispatcher {work.format(db=db, lines=lines)}"
    done = await shell(tmp_path, script)
    assert (done.status, done.out) == (1, "")
    assert re.fullmatch(
        r"dispatcher: \S+: can't be (made|copied into \S+|written|made one file): .+\n", done.err
    )
    assert names_in(tmp_path / "out") == []


async def test_a_bad_import_exits_with_1_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"seq":1}\n')
    done = await command(tmp_path, "import", "bad.jsonl", "--db", "new.db")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("dispatcher: bad.jsonl, line 1: is no line of a log: ")
    assert len(done.err.splitlines()) == 1
    assert names_in(tmp_path) == ["bad.jsonl"]


async def test_a_missing_line_end_is_told(root: bytes, db: Path, tmp_path: Path) -> None:
    assert root
    whole = (await command(tmp_path, "export", "--db", str(db), "--after", "0")).out
    (tmp_path / "cut.jsonl").write_text(whole[:-1])
    done = await command(tmp_path, "import", "cut.jsonl", "--db", "new.db")
    assert done.status == 0
    assert done.err == (
        "cut.jsonl: the last line has no line end; it is whole, but the file may have been cut\n"
    )


async def test_a_file_that_is_there_is_not_replaced(root: bytes, db: Path, tmp_path: Path) -> None:
    assert root
    there = tmp_path / "there"
    there.write_text("somebody's")
    for arguments in (
        ("export", "--db", str(db), "--output", "there"),
        ("import", "there", "--db", "there"),
        ("backup", "there", "--db", str(db)),
    ):
        done = await command(tmp_path, *arguments)
        assert (done.status, done.out) == (1, "")
        assert "is there already, and is not replaced; name another, or move it" in done.err
    assert there.read_text() == "somebody's"


async def test_a_wrong_command_line_exits_with_2(tmp_path: Path) -> None:
    for arguments in (
        ("import", "events.jsonl"),
        ("backup",),
        ("export", "--format", "xml"),
        ("export", "--after", "-1"),
    ):
        assert (await command(tmp_path, *arguments)).status == 2, arguments


async def test_an_export_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = await command(tmp_path, "import", "gone.jsonl", "--db", "new.db")
    assert (done.status, done.out) == (1, "")
    assert done.err == "dispatcher: gone.jsonl: can't be read: No such file or directory\n"
    assert names_in(tmp_path) == []


# The pages


async def test_the_commands_of_the_page_on_restore_work_as_they_stand_there(
    root: bytes, db: Path, tmp_path: Path
) -> None:
    assert db.parent == tmp_path
    script = "\n".join(blocks_in("restore.md", "sh"))
    for word in ("dispatcher backup", "dispatcher export", "dispatcher import"):
        assert word in script
    done = await shell(tmp_path, script)
    assert done.status == 0, done.err
    assert done.out.count(f"that is {root.hex()}\n") == 4  # backup, restored, import, import
    for name in ("backups/monday.db", "events.db", "restored.db", "unpacked.db"):
        async with await SqliteLog.open_for_reading(tmp_path / name) as restored:
            assert (restored.head, restored.tree.root()) == (EVENTS, root)


async def test_the_example_of_the_page_on_the_log_gives_the_hashes_that_it_says(
    tmp_path: Path,
) -> None:
    (script,) = blocks_in("log.md", "bash")
    done = await shell(tmp_path, script)
    assert done.status == 0, done.err
    shown = re.search(r"((?:^    [0-9a-f]{64}\n){3})", (DOCS / "log.md").read_text(), re.MULTILINE)
    assert shown is not None
    assert done.out.split() == shown[1].split()
    first, second = (line.encode() for line in re.findall(r"='(\{.*\})'", script))
    leaves = [leaf_hash(first), leaf_hash(second)]
    assert done.out.split() == [it.hex() for it in (*leaves, node_hash(*leaves))]
