"""Where an engine works no other user can put anything."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import platformdirs
import pytest

from dispatcher.engine.folders import UnsafeFolderError, private_folder
from dispatcher.engine.journal import Journal
from dispatcher.engine.workspace import Workspace, WorkspaceError, default_work_dir
from projections.jobs import JobView

STRANGER = 54_321
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refusal_of(path: Path) -> str:
    with pytest.raises(UnsafeFolderError) as told:
        private_folder(path)
    return str(told.value)


def test_it_is_made_for_this_user_alone_with_all_that_is_missing_above(tmp_path: Path) -> None:
    os.umask(0)
    folder = private_folder(tmp_path / "a" / "b" / "engine")
    assert [mode_of(it) for it in (folder, folder.parent, folder.parent.parent)] == [0o700] * 3


def test_an_own_folder_is_closed_to_readers(tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    folder.mkdir(0o755)
    assert private_folder(folder) == folder
    assert mode_of(folder) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_a_folder_that_others_could_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "engine"
    folder.mkdir()
    folder.chmod(mode)
    told = refusal_of(folder)
    assert told.startswith(f"{folder}: others could put files into it (mode {mode:04o}). ")
    assert "remove it, or name another folder with --work-dir" in told
    assert mode_of(folder) == mode


def test_a_folder_above_that_everybody_can_write_to_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    told = refusal_of(shared / "work" / "engine")
    assert told.startswith(f"{shared}: every user can write to it. ")
    assert f"`chmod go-w {shared}`, or name another folder with --work-dir" in told
    assert list(shared.iterdir()) == []


def test_but_not_if_only_owners_can_remove_what_is_in_it(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    assert private_folder(shared / "engine") == shared / "engine"


@as_root
def test_a_group_may_write_above_if_it_is_this_users(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o775)
    private_folder(shared / "engine")
    os.chown(shared, 0, STRANGER)
    shared.chmod(0o775)
    assert f"its group ({STRANGER}) can write to it" in refusal_of(shared / "engine")


@as_root
@pytest.mark.parametrize("whose", ["shared", "shared/engine"])
def test_a_folder_of_another_user_is_refused(tmp_path: Path, whose: str) -> None:
    folder = tmp_path / "shared" / "engine"
    folder.mkdir(parents=True)
    os.chown(tmp_path / whose, STRANGER, STRANGER)
    assert refusal_of(folder).startswith(
        f"{tmp_path / whose}: belongs to another user (uid {STRANGER}). "
    )


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(0o700)
    (tmp_path / "engine").symlink_to(tmp_path / "elsewhere")
    assert f"{tmp_path}/engine: is a symbolic link. " in refusal_of(tmp_path / "engine")


def test_an_own_link_above_is_followed_and_what_it_leads_to_is_checked(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "work").symlink_to("disk")
    assert private_folder(tmp_path / "work" / "engine") == tmp_path / "disk" / "engine"
    (tmp_path / "disk").chmod(0o777)
    assert f"{tmp_path}/disk: every user" in refusal_of(tmp_path / "work" / "engine")


@as_root
def test_a_link_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "work").symlink_to("disk")
    os.lchown(tmp_path / "work", STRANGER, STRANGER)
    assert "is a link, and belongs to another user" in refusal_of(tmp_path / "work" / "engine")
    assert list((tmp_path / "disk").iterdir()) == []


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(WorkspaceError, match="Too many levels of symbolic links"):
        Workspace.claim(tmp_path / "a", "engine")


def test_a_relative_path_begins_where_the_engine_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert private_folder(Path("../work/./engine")) == tmp_path / "work" / "engine"


# By default


def test_by_default_it_is_in_the_users_own_folder_of_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    monkeypatch.setattr(platformdirs.unix, "geteuid", lambda: STRANGER, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_work_dir() == tmp_path / "dispatcher-engine"


@as_root
def test_roots_is_in_the_systems() -> None:
    assert default_work_dir() == Path("/var/lib/dispatcher-engine")


# The lock and the journal


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "work" / "e").mkdir(0o700, parents=True)
    (tmp_path / "work" / "e" / "lock").symlink_to(victim)
    with pytest.raises(WorkspaceError, match="Too many levels of symbolic links"):
        Workspace.claim(tmp_path / "work", "e")
    assert victim.read_text() == "precious"


def journal_naming(folder: Path, output: str, stage: str = "transcoded") -> Journal:
    path = folder / "journal.json"
    job = JobView("1_0", "s", "h264", 1.0, "assigned", "e", None, 0, 3)
    path.write_bytes(msgspec.json.encode({"job": job, "stage": stage, "result": output}))
    return Journal(path)


@pytest.mark.parametrize(
    "named",
    [
        *("{}/victim", "{}/e/../victim", "{}/e/job-1/../../victim", "{}/e/job-1/../../job-x/v"),
        *("{}/job-x/v", "{}/e/journal.json", "{}/e/lock", "{}/e/job-1/link", "{}/e/job-link/v"),
        *("{}/e/job-1", "victim", "", "\0", "{}/e/job-1/pipe", "/dev/null", "job-1/output.mp4"),
    ],
)
def test_a_journal_that_names_another_file_is_left_aside(
    named: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "e"
    for made in (tmp_path / "job-x", folder / "job-1"):
        made.mkdir(parents=True)
    for victim in (tmp_path / "victim", tmp_path / "job-x" / "v"):
        victim.write_text("precious")
    (folder / "job-link").symlink_to(tmp_path / "job-x")
    (folder / "job-1" / "link").symlink_to(tmp_path / "victim")
    os.mkfifo(folder / "job-1" / "pipe")
    assert journal_naming(folder, named.format(tmp_path)).read() is None
    assert "as an output, which is in no folder of a job" in caplog.text
    assert (tmp_path / "victim").read_text() == (tmp_path / "job-x" / "v").read_text() == "precious"


def test_a_journal_that_names_the_output_of_a_job_is_believed(tmp_path: Path) -> None:
    folder = tmp_path / "job-abc"
    folder.mkdir()
    for _ in range(2):
        assert journal_naming(tmp_path, str(folder / "output.mp4")).read() is not None
        folder.joinpath("output.mp4").touch()


def test_a_journal_that_is_a_link_or_a_pipe_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    journal_naming(tmp_path / "real", "broke", "failed")
    (tmp_path / "journal.json").symlink_to(tmp_path / "real" / "journal.json")
    os.mkfifo(tmp_path / "pipe")
    assert Journal(tmp_path / "journal.json").read() is None
    assert Journal(tmp_path / "pipe").read() is None
