"""The directory of an engine: its own, locked, and swept."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.engine.workspace import Workspace, WorkspaceError, file_name


def test_an_engine_works_in_a_directory_of_its_own(tmp_path: Path) -> None:
    one, other = Workspace.claim(tmp_path, "one"), Workspace.claim(tmp_path, "other")
    assert (one.path, other.path) == (tmp_path / "one", tmp_path / "other")
    one.release()
    other.release()


def test_a_second_engine_of_the_same_id_is_told_which_process_is_the_first(tmp_path: Path) -> None:
    first = Workspace.claim(tmp_path, "farm-1")
    with pytest.raises(WorkspaceError) as told:
        Workspace.claim(tmp_path, "farm-1")
    assert str(told.value) == (
        f"engine farm-1 runs on this machine already (process {os.getpid()}); "
        "give this one another --id"
    )
    first.release()


def test_an_id_is_free_again_after_its_release(tmp_path: Path) -> None:
    Workspace.claim(tmp_path, "farm-1").release()
    Workspace.claim(tmp_path, "farm-1").release()


def test_an_id_is_free_again_after_its_process_died(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; "
        "from dispatcher.engine.workspace import Workspace; "
        "held = Workspace.claim(Path(sys.argv[1]), 'farm-1'); os.kill(os.getpid(), 9)"
    )
    died = subprocess.run([sys.executable, "-c", code, tmp_path], check=False, timeout=30)
    assert died.returncode == -9
    Workspace.claim(tmp_path, "farm-1").release()


def test_without_an_id_engines_are_named_after_the_host_and_counted(tmp_path: Path) -> None:
    spaces = [Workspace.claim(tmp_path) for _ in range(3)]
    host = socket.gethostname()
    assert [space.engine_id for space in spaces] == [host, f"{host}-2", f"{host}-3"]
    spaces[1].release()
    again = Workspace.claim(tmp_path)
    assert again.engine_id == f"{host}-2"
    for space in (spaces[0], spaces[2], again):
        space.release()


def test_what_a_dead_engine_left_is_swept(tmp_path: Path) -> None:
    first = Workspace.claim(tmp_path, "farm-1")
    left = first.path / "job-abc"
    left.mkdir()
    (left / "source").write_bytes(b"half a video")
    first.release()
    second = Workspace.claim(tmp_path, "farm-1")
    assert left.is_dir()  # it may still be wanted: the journal was not looked at yet
    second.sweep()
    assert [path.name for path in second.path.iterdir()] == ["lock"]
    second.release()


def test_a_sweep_leaves_the_journal(tmp_path: Path) -> None:
    space = Workspace.claim(tmp_path, "farm-1")
    (space.path / "journal.json").write_text("{}")
    space.sweep()
    assert sorted(path.name for path in space.path.iterdir()) == ["journal.json", "lock"]
    space.release()


def test_what_a_living_engine_works_on_is_not_swept(tmp_path: Path) -> None:
    first = Workspace.claim(tmp_path, "farm-1")
    with first.job_folder() as folder:
        with pytest.raises(WorkspaceError):
            Workspace.claim(tmp_path, "farm-1")
        assert folder.is_dir()
    first.release()


def test_a_job_has_an_empty_folder_that_goes_with_it(tmp_path: Path) -> None:
    space = Workspace.claim(tmp_path, "farm-1")
    with space.job_folder() as folder:
        assert folder.parent == space.path
        assert list(folder.iterdir()) == []
        (folder / "source").touch()
    assert not folder.exists()
    space.release()


def test_a_directory_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    with pytest.raises(WorkspaceError, match=f"{in_the_way}/farm-1: can't be used to work in: "):
        Workspace.claim(in_the_way, "farm-1")


def test_an_id_can_not_lead_out_of_the_work_directory(tmp_path: Path) -> None:
    work = tmp_path / "work"
    for engine_id in ("../outside", "/outside", "..", ".", "", "a/b"):
        space = Workspace.claim(work, engine_id)
        assert space.path.parent == work
        assert space.engine_id == engine_id
        space.release()
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


def test_ids_that_differ_late_have_different_directories(tmp_path: Path) -> None:
    one = Workspace.claim(tmp_path, "x" * 120 + "1")
    other = Workspace.claim(tmp_path, "x" * 120 + "2")
    assert one.path != other.path
    one.release()
    other.release()


def test_free_space_is_told(tmp_path: Path) -> None:
    space = Workspace.claim(tmp_path, "farm-1")
    assert space.free_gb >= 0
    space.release()


# Names


@given(st.text(max_size=300))
@example(os.fsdecode(b"\xff"))
def test_a_file_name_is_one_plain_path_component_whatever_the_text(text: str) -> None:
    name = file_name(text)
    assert 0 < len(name.encode()) <= 110
    assert not name.startswith(".")
    assert not re.search(r"[/\\\0\n]", name)
    assert Path(name).name == name


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,60}", fullmatch=True))
def test_a_plain_name_is_its_own_file_name(text: str) -> None:
    assert file_name(text) == text


@given(st.text(max_size=8), st.text(max_size=8))
def test_short_texts_that_differ_have_file_names_that_differ(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)


@pytest.mark.parametrize(
    ("text", "name"),
    [("", "%"), (".", "%2E"), ("..", "%2E."), (".hidden", "%2Ehidden"), ("a/b", "a%2Fb")],
)
def test_awkward_texts_are_escaped(text: str, name: str) -> None:
    assert file_name(text) == name
