"""Logs that releases left behind replay for ever, and are brought up to the present schema.

In `tests/log/golden` there is for each of them:
- NAME.db, the log itself, with every kind of event that there was; since schema 3 the first of
  them are in a segment, in NAME.db.segments;
- NAME.state.json, what `dispatcher replay --json` said of it then;
- NAME.jsonl and NAME.root, the lines of its entries and the root of their tree. Checkpoints are
  signed over that root, so neither may ever change. (`schema-1` is older than lines; its are those
  that its migration gave when there were some.)

At each release that changes the schema of logs, the version or fields of an event, or adds one:

    python -m tests.log.golden.make NAME

and commit the files. The tests below find them by themselves. What stands there already is
never made anew: if it does not pass any more, the code is wrong.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from dispatcher.core.events import EngineSeen, Recorded
from dispatcher.log import serialization
from dispatcher.log.file import check
from dispatcher.log.schema import SCHEMA_VERSION
from dispatcher.log.segments import folder_of
from dispatcher.log.sqlite import SqliteLog
from dispatcher.state.replay import replay
from tests.support.given import START
from tests.support.log_contents import encoded, entries_in, naive_root, recorded_in

pytestmark = pytest.mark.anyio

GOLDEN: Final = Path(__file__).parent / "golden"
NAMES: Final = sorted(path.stem for path in GOLDEN.glob("*.db"))
UNCHANGED: Final = "seq, time, type, actor, data"


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    stem: str = request.param
    return stem


@pytest.fixture
def golden(name: str, db: Path) -> Path:
    """A copy of the log, since SQLite writes beside what it opens."""
    shutil.copy(GOLDEN / f"{name}.db", db)
    if (segments := folder_of(GOLDEN / f"{name}.db")).exists():
        shutil.copytree(segments, folder_of(db))
    return db


def state_of(name: str) -> Any:
    return msgspec.json.decode((GOLDEN / f"{name}.state.json").read_bytes())


def still_says(now: Any, then: Any) -> bool:
    """Whether a state says all that it said then. It may say more: a release may add fields."""
    if isinstance(then, dict):
        return isinstance(now, dict) and all(
            name in now and still_says(now[name], value) for name, value in then.items()
        )
    if isinstance(then, list):
        return (
            isinstance(now, list)
            and [*map(type, now)] == [*map(type, then)]
            and all(map(still_says, now, then))
        )
    return bool(now == then)


def lines_of(name: str) -> list[bytes]:
    return (GOLDEN / f"{name}.jsonl").read_bytes().splitlines()


def select(path: Path, columns: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(f"SELECT {columns} FROM events ORDER BY seq").fetchall()


def test_golden_logs_are_there() -> None:
    assert {"schema-1", "schema-2", "schema-3"} <= set(NAMES)


def test_every_version_of_every_event_and_the_present_schema_stand_in_a_golden_log() -> None:
    """Or a change was made, and `python -m tests.log.golden.make` forgotten."""
    entries = [serialization.parse_line(line) for name in NAMES for line in lines_of(name)]
    stand = {(entry.type, entry.version) for entry in entries}
    known = serialization.VERSIONS.items()
    assert {(event, n) for event, now in known for n in range(1, now + 1)} <= stand
    assert SCHEMA_VERSION in {check(GOLDEN / f"{name}.db") for name in NAMES}


async def test_it_replays_to_its_state_and_is_not_changed_by_that(golden: Path, name: str) -> None:
    before = golden.read_bytes()
    async with await SqliteLog.open_for_reading(golden) as log:
        assert still_says((await replay(log)).projections.state(), state_of(name))
        assert [serialization.line(entry) for entry in await entries_in(log)] == lines_of(name)
    assert golden.read_bytes() == before


async def test_it_is_brought_up_to_the_present_schema_and_says_what_it_said(
    golden: Path, name: str
) -> None:
    before = select(golden, UNCHANGED)
    async with await SqliteLog.open(golden) as log:
        assert select(golden, UNCHANGED) == before
        assert still_says((await replay(log)).projections.state(), state_of(name))
    assert check(golden) == SCHEMA_VERSION


async def test_its_lines_and_its_root_are_what_they_were(golden: Path, name: str) -> None:
    async with await SqliteLog.open(golden) as log:
        assert [serialization.line(entry) for entry in await entries_in(log)] == lines_of(name)
        assert log.tree.root() == naive_root(lines_of(name))
        assert f"{log.tree.root().hex()}\n" == (GOLDEN / f"{name}.root").read_text()


async def test_it_takes_appends(golden: Path, name: str) -> None:
    async with await SqliteLog.open(golden) as log:
        head = log.head
        more = [
            Recorded(seq, START, "tester", EngineSeen("west"), "4711")
            for seq in range(head + 1, head + 300)
        ]
        await log.append(encoded(*more), head)
    async with await SqliteLog.open(golden) as log:
        assert await recorded_in(log, head) == more
        lines = [*lines_of(name), *map(serialization.line, encoded(*more))]
        assert log.tree.root() == naive_root(lines)
