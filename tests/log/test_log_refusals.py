"""Where a log can't be is said clearly, and what stands there is not touched."""

import asyncio
import os
import re
import sqlite3
import stat
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from dispatcher.log import LogError
from dispatcher.log.file import APPLICATION_ID
from dispatcher.log.schema import SCHEMA_VERSION
from dispatcher.log.sqlite import SqliteLog

pytestmark = pytest.mark.anyio


def everything_under(directory: Path) -> dict[str, bytes | None]:
    """Every path under a directory, with the bytes of the files."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }


def sqlite_file(*statements: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(";".join(statements))

    return make


def text_file(path: Path) -> None:
    path.write_text("These are the notes of somebody who needs them.\n" * 9)


def short_file(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\x00 and no more")


def marks(schema: int) -> list[str]:
    return [f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {schema}"]


def of_schema(schema: int) -> Callable[[Path], None]:
    return sqlite_file("PRAGMA journal_mode = WAL", *marks(schema), "CREATE TABLE events (x)")


OCCUPIED = [
    pytest.param(
        Path.mkdir, "is a directory; a log is a file in one, such as {path}/events.db", id="folder"
    ),
    pytest.param(
        text_file, "is no log: it is not a SQLite file; name another with --db", id="text"
    ),
    pytest.param(
        short_file, "is no log: it is not a SQLite file; name another with --db", id="short"
    ),
    pytest.param(
        sqlite_file("CREATE TABLE events (seq INTEGER PRIMARY KEY)"),
        "is a SQLite file, but no dispatcher's log; name another with --db",
        id="other database",
    ),
    pytest.param(
        sqlite_file("PRAGMA application_id = 1", "CREATE TABLE t (x)"),
        "is a SQLite file, but no dispatcher's log; name another with --db",
        id="other application",
    ),
    pytest.param(
        of_schema(0),
        "is a SQLite file, but no dispatcher's log; name another with --db",
        id="our mark without a schema",
    ),
    pytest.param(
        of_schema(SCHEMA_VERSION + 1),
        f"was written by a newer dispatcher (schema {SCHEMA_VERSION + 1}; this one knows up to "
        f"{SCHEMA_VERSION}); use that one",
        id="future",
    ),
]


@pytest.mark.parametrize("open_log", [SqliteLog.open, SqliteLog.open_for_reading])
@pytest.mark.parametrize(("make", "text"), OCCUPIED)
async def test_what_is_no_log_of_ours_is_named_and_not_touched(
    tmp_path: Path,
    make: Callable[[Path], None],
    text: str,
    open_log: Callable[[Path], object],
) -> None:
    path = tmp_path / "thing"
    make(path)
    before = everything_under(tmp_path)
    with pytest.raises(LogError) as told:
        await open_log(path)  # type: ignore[misc]
    assert str(told.value) == f"{path}: {text.format(path=path)}"
    assert everything_under(tmp_path) == before


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (SCHEMA_VERSION, "can't be opened: no such table: sealed"),
        (
            1,
            "can't be brought up from schema 1 to 3, and is as it was: no such table: events",
        ),
    ],
)
async def test_a_database_with_our_marks_but_without_our_table_is_named_and_not_touched(
    tmp_path: Path, schema: int, text: str
) -> None:
    path = tmp_path / "thing"
    sqlite_file(*marks(schema), "CREATE TABLE other (x)")(path)
    before = everything_under(tmp_path)
    with pytest.raises(LogError, match=re.escape(f"{path}: {text}")):
        await SqliteLog.open(path)
    after = everything_under(tmp_path)
    assert after["thing"] == before["thing"]


async def test_a_missing_directory_is_named_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "events.db"
    with pytest.raises(LogError) as told:
        await SqliteLog.open(path)
    assert str(told.value) == (f"{path}: the directory {path.parent} does not exist; make it first")
    assert everything_under(tmp_path) == {}


async def test_a_file_in_place_of_the_directory_is_named_and_not_touched(tmp_path: Path) -> None:
    parent = tmp_path / "file"
    parent.write_text("precious")
    with pytest.raises(LogError) as told:
        await SqliteLog.open(parent / "events.db")
    assert str(told.value) == (
        f"{parent}/events.db: the directory {parent} does not exist; make it first"
    )
    assert everything_under(tmp_path) == {"file": b"precious"}


async def test_nothing_to_read_is_named_and_nothing_is_made(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with pytest.raises(LogError) as told:
        await SqliteLog.open_for_reading(path)
    assert str(told.value) == f"{path}: there is no log here; name one with --db"
    assert everything_under(tmp_path) == {}


@pytest.mark.parametrize("directory", ["/proc/self", "/proc", "/sys/kernel"])
async def test_a_place_that_takes_no_files_is_named(directory: str) -> None:
    """Places where not even root can make a file."""
    path = Path(directory).resolve() / "events.db"
    with pytest.raises(LogError) as told:
        await SqliteLog.open(Path(directory) / "events.db")
    assert re.fullmatch(
        re.escape(f"{path}: can't make the lock file events.db.lock beside it: ")
        + "[A-Z][a-z ]+"
        + re.escape("; the dispatcher needs a directory that it may write to"),
        str(told.value),
    )


async def test_a_file_that_can_not_be_read_is_named() -> None:
    """Not even root reads the memory of a process at address 0."""
    with pytest.raises(LogError) as told:
        await SqliteLog.open(Path("/proc/self/mem"))
    assert re.fullmatch(r"/proc/\d+/mem: can't be read: Input/output error", str(told.value))


async def test_a_log_that_can_not_be_made_leaves_no_half_of_it(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    obstacle = tmp_path / "events.db.new"
    obstacle.mkdir()
    with pytest.raises(LogError, match=re.escape(f"{path}: can't be made: ")):
        await SqliteLog.open(path)
    assert not path.exists()


@pytest.mark.parametrize("opened", [SqliteLog.open, SqliteLog.open_for_reading])
@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFIFO], ids=["device", "pipe"])
async def test_what_is_no_regular_file_is_refused_and_left_alone(
    tmp_path: Path, kind: int, opened: Callable[[Path], Awaitable[SqliteLog]]
) -> None:
    path = tmp_path / "events.db"
    try:
        os.mknod(path, 0o600 | kind, os.makedev(1, 3))
    except PermissionError:  # only root makes devices
        os.mkfifo(path)
    before = path.lstat()
    with pytest.raises(LogError, match="is no regular file"):
        await asyncio.wait_for(opened(path), 30)
    assert path.lstat() == before
    assert list(tmp_path.iterdir()) == [path]
