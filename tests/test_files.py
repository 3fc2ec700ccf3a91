"""Files that come to be whole: on disk with their names, and nothing left behind after an error."""

import ast
import asyncio
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from dispatcher import files
from dispatcher.engine.delivery import delivery_to
from dispatcher.engine.journal import Journal, JournalEntry
from dispatcher.evidence.new_files import new_file
from dispatcher.log import file as log_file
from dispatcher.log.checkpoints import Signer
from dispatcher.log.merkle import Frontier
from dispatcher.serving.keys import Role
from dispatcher.serving.keys_file import new_key
from dispatcher.state.replay import State
from dispatcher.state.snapshots import Snapshots
from projections.jobs import JobView


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a file may be made; nothing stands there yet."""
    (tmp_path / "made").mkdir()
    return tmp_path / "made" / "file"


def draft_of(path: Path) -> Path:
    return path.with_name("draft")


def only(path: Path) -> bool:
    """Whether a file is the only one in its folder."""
    return list(path.parent.iterdir()) == [path]


class Synced(NamedTuple):
    """What was synced, by its inode, and whether the file had its name then."""

    inode: int
    was_named: bool


@contextmanager
def syncs_traced(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Synced]]:
    seen: list[Synced] = []
    fsync = os.fsync

    def traced(fd: int) -> None:
        inode = os.fstat(fd).st_ino
        seen.append(Synced(inode, path.exists() and path.stat().st_ino != inode_before))
        fsync(fd)

    inode_before = path.stat().st_ino if path.exists() else 0
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", traced)
        yield seen


# What is promised


@pytest.mark.parametrize("replace", [True, False])
def test_a_file_is_synced_before_it_has_its_name_and_its_folder_after(
    path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    with syncs_traced(path, monkeypatch) as synced:
        files.write(path, b"whole", draft_of(path), replace=replace)
    assert path.read_bytes() == b"whole"
    assert only(path)
    assert synced == [
        Synced(path.stat().st_ino, was_named=False),
        Synced(path.parent.stat().st_ino, was_named=True),
    ]


def test_a_file_replaces_another_at_one_stroke(path: Path) -> None:
    path.write_text("old")
    with files.drafted(path, draft_of(path)):
        draft_of(path).write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert only(path)


def test_a_file_that_is_not_to_be_replaced_is_left_as_it_is(path: Path) -> None:
    path.write_text("theirs")
    with pytest.raises(FileExistsError):
        files.write(path, b"ours", draft_of(path), replace=False)
    assert path.read_text() == "theirs"
    assert only(path)


def test_not_even_a_link_to_nothing_is_replaced(path: Path) -> None:
    path.symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        files.write(path, b"ours", draft_of(path), replace=False)
    assert path.is_symlink()
    assert only(path)


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without hard links, as FAT is one."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)


@pytest.mark.usefixtures("no_links")
def test_where_there_are_no_hard_links_a_new_file_has_its_name_all_the_same(path: Path) -> None:
    files.write(path, b"whole", draft_of(path), replace=False)
    assert path.read_bytes() == b"whole"
    assert only(path)


@pytest.mark.usefixtures("no_links")
def test_where_there_are_no_hard_links_nothing_is_replaced_either(path: Path) -> None:
    path.write_text("theirs")
    with pytest.raises(FileExistsError):
        files.write(path, b"ours", draft_of(path), replace=False)
    assert path.read_text() == "theirs"
    assert only(path)


def test_an_error_while_it_is_made_leaves_what_was_there_and_no_draft(path: Path) -> None:
    path.write_text("old")

    def make() -> None:
        with files.drafted(path, draft_of(path)):
            draft_of(path).write_text("half of the n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make()
    assert path.read_text() == "old"
    assert only(path)


@pytest.mark.parametrize("replace", [True, False])
def test_a_full_disk_leaves_what_was_there_and_no_draft(
    path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(path, b"whole", draft_of(path), replace=replace)
    assert list(path.parent.iterdir()) == []


def test_the_draft_of_a_process_that_was_killed_is_in_nobodys_way(path: Path) -> None:
    draft_of(path).write_text("more than there is to be in the end")
    draft_of(path).chmod(0o666)
    files.write(path, b"whole", draft_of(path), mode=0o600)
    assert path.read_bytes() == b"whole"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert only(path)


def test_a_private_file_is_one_from_the_first_moment(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    opened = os.open

    def watched(made: Path, flags: int, mode: int = 0o777) -> int:
        fd = opened(made, flags, mode)
        modes.append(stat.S_IMODE(os.fstat(fd).st_mode))
        return fd

    monkeypatch.setattr(os, "open", watched)
    files.write(path, b"secret", draft_of(path), mode=0o600)
    assert modes[0] == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_in_the_place_of_a_draft_is_not_followed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = path.with_name("victim")
    victim.write_text("precious")
    draft_of(path).symlink_to(victim)
    files.write(path, b"whole", draft_of(path))  # a stale one is removed
    assert (path.read_bytes(), victim.read_text()) == (b"whole", "precious")
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: draft_of(path).symlink_to(victim))
    with pytest.raises(FileExistsError):
        files.write(path, b"new", draft_of(path))
    assert (path.read_bytes(), victim.read_text()) == (b"whole", "precious")


def test_any_other_file_has_the_rights_that_the_umask_leaves(path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write(path, b"whole", draft_of(path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_syncs_no_folders_is_put_up_with(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fsync = os.fsync

    def only_files(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", only_files)
    files.write(path, b"whole", draft_of(path))
    assert path.read_bytes() == b"whole"


def test_a_disk_that_fails_in_the_sync_of_the_folder_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def failing(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output error"):
        files.write(path, b"whole", draft_of(path))


def test_it_is_a_leaf() -> None:
    tree = ast.parse(Path(files.__file__).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
        )
    }
    assert imported <= sys.stdlib_module_names


# Who has the promise


def _deliver(path: Path) -> None:
    output = path.parent.parent / "output"
    output.write_bytes(b"video")
    asyncio.run(delivery_to(str(path.parent)).deliver(output, path.name, "video/mp4"))


def _export(path: Path) -> None:
    with new_file(path) as made:
        made.write_bytes(b"lines")


def _note(path: Path) -> None:
    job = JobView("job-1", "file:///in", "h264", 0.0, "assigned", "rack-1", None, 0, 3)
    Journal(path).write(JournalEntry(job, "working"))


def _snapshot(path: Path) -> None:
    folder = path.parent
    Snapshots(folder.with_name(folder.name.removesuffix(".snapshots"))).write(State(), Frontier())


MAKERS: Final[dict[str, tuple[str, Callable[[Path], object]]]] = {
    "an output": ("outputs/job-1.mp4", _deliver),
    "an export": ("exports/events.jsonl", _export),
    "an engine's journal": ("work/journal.json", _note),
    "a log": ("logs/events.db", log_file.create),
    "the key of a log": ("logs/events.db.key", Signer.load_or_create),
    "a keys file": ("etc/keys.toml", lambda path: new_key(path, "anna", Role.CLIENT)),
    "a snapshot": ("events.db.snapshots/000000000000.snapshot", _snapshot),
}


@pytest.mark.parametrize("what", MAKERS)
def test_both_the_file_and_its_name_are_on_disk(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, make = MAKERS[what]
    path = tmp_path / name
    path.parent.mkdir()
    with syncs_traced(path, monkeypatch) as synced:
        make(path)
    assert only(path)
    file, folder = path.stat().st_ino, path.parent.stat().st_ino
    assert synced.index(Synced(file, was_named=False)) < synced.index(
        Synced(folder, was_named=True)
    )
