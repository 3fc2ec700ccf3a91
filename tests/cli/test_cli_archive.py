"""`dispatcher archive`: segments go to a folder and come back."""

import shutil
from pathlib import Path
from typing import Final

import pytest

from dispatcher.evidence.audit import Audit
from dispatcher.log.segments import folder_of
from tests.support.commands import command

pytestmark = pytest.mark.anyio

GOLDEN: Final = Path(__file__).parents[1] / "log" / "golden" / "schema-3.db"


@pytest.fixture
def log(db: Path) -> Path:
    shutil.copy(GOLDEN, db)
    shutil.copytree(folder_of(GOLDEN), folder_of(db))
    return db


async def test_segments_go_to_a_folder_and_come_back(log: Path, tmp_path: Path) -> None:
    file = folder_of(log) / "00000000.jsonl.zst"
    size = f"{file.stat().st_size:,}"
    (tmp_path / "archive").mkdir()
    done = await command(tmp_path, "archive", "archive", "--db", str(log))
    assert (done.status, done.err) == (0, "")
    assert done.out == f"archive: 1 segments, {size} bytes, moved there\n"
    assert file.readlink() == tmp_path / "archive" / file.name
    done = await command(tmp_path, "archive", "--back", "--db", str(log))
    assert done.status == 0
    assert done.out == f"{log}: 1 segments, {size} bytes, are back\n"
    assert not file.is_symlink()
    audit = Audit(log)
    audit.run()
    assert [*audit.findings] == []


@pytest.mark.parametrize("arguments", [(), ("archive", "--back")])
async def test_it_is_one_way_or_the_other(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = await command(tmp_path, "archive", *arguments)
    assert (done.status, done.out) == (2, "")
    assert "either the folder to move segments to, or --back" in " ".join(done.err.split())
