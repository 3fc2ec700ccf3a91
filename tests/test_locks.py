"""Locks: one holder, named to others, and let go of when its process ends, however it ends."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Final

import pytest

from dispatcher.locks import FileLock, LockHeldError, turn

ROOT: Final = Path(__file__).parent.parent
TAKE: Final = "lock = FileLock(Path(sys.argv[1])); print('held', flush=True); "


def python(code: str, path: Path) -> subprocess.Popen[str]:
    """Start a program of these words, which knows the locks."""
    imports = (
        "import os, subprocess, sys, time; from pathlib import Path; "
        "from dispatcher.locks import FileLock, turn; "
    )
    return subprocess.Popen(
        [sys.executable, "-c", imports + code, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def killed(process: subprocess.Popen[str]) -> None:
    with process:
        process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a lock's file may be."""
    return tmp_path / "lock"


def test_a_lock_is_no_link_and_has_one_name(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.symlink_to(victim)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        FileLock(path)
    path.unlink()
    path.hardlink_to(victim)
    with pytest.raises(OSError, match="it has 2 names"):
        FileLock(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError, match="it is no regular file"):
        FileLock(path)
    assert victim.read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_lock_of_another_user_is_refused_unless_the_folder_is_that_users(
    path: Path, tmp_path: Path
) -> None:
    path.write_text("")
    os.chown(path, 54_321, 54_321)
    with pytest.raises(OSError, match="it belongs to another user"):
        FileLock(path)
    os.chown(tmp_path, 54_321, 54_321)
    FileLock(path).release()


def test_a_lock_that_another_process_has_is_refused_with_its_number(path: Path) -> None:
    other = python(TAKE + "sys.stdin.read()", path)
    try:
        assert line_of(other) == "held"
        with pytest.raises(LockHeldError) as told:
            FileLock(path)
        assert told.value.holder == str(other.pid)
        assert path.read_text() == f"{other.pid}\n"
    finally:
        killed(other)


def test_a_lock_that_this_process_has_is_refused_too(path: Path) -> None:
    lock = FileLock(path)
    with pytest.raises(LockHeldError) as told:
        FileLock(path)
    assert told.value.holder == str(os.getpid())
    lock.release()


def test_to_be_refused_does_not_disturb_the_holder(path: Path) -> None:
    lock = FileLock(path)
    for _ in range(3):
        with pytest.raises(LockHeldError):
            FileLock(path)
    assert path.read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_lock_may_be_let_go_of_by_another_thread_and_twice(path: Path) -> None:
    lock = FileLock(path)
    for _ in range(2):
        thread = Thread(target=lock.release)
        thread.start()
        thread.join()
    FileLock(path).release()


def test_a_number_that_was_longer_leaves_nothing(path: Path) -> None:
    path.write_text("99999999999999\n")
    lock = FileLock(path)
    assert path.read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_holder_that_is_killed_holds_no_more(path: Path) -> None:
    other = python(TAKE + "sys.stdin.read()", path)
    assert line_of(other) == "held"
    killed(other)
    FileLock(path).release()


# Two processes tell the same pipe something. `os.write` keeps each line whole.
FORKS: Final = (
    "child = os.fork(); child or (os.write(1, b'begun\\n'), time.sleep(60), os._exit(0)); "
)
STARTS: Final = (
    "code = 'import os, time; os.write(1, b\"begun\\\\n\"); time.sleep(60)'; "
    "child = subprocess.Popen([sys.executable, '-c', code], close_fds=False).pid; "
)


@pytest.mark.parametrize("begets", [FORKS, STARTS], ids=["forked", "started"])
@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "let go"])
def test_a_child_does_not_keep_the_lock(path: Path, begets: str, is_killed: bool) -> None:
    other = python(
        TAKE + begets + "os.write(1, b'%d\\n' % child); sys.stdin.readline(); lock.release(); "
        "print('let go', flush=True); sys.stdin.read()",
        path,
    )
    child = 0
    try:
        assert line_of(other) == "held"
        told = {line_of(other), line_of(other)}  # in either order
        (child,) = map(int, told - {"begun"})
        with pytest.raises(LockHeldError):
            FileLock(path)
        if is_killed:
            other.kill()
            other.wait()
        else:
            assert other.stdin is not None
            other.stdin.write("\n")
            other.stdin.flush()
            assert line_of(other) == "let go"
        os.kill(child, 0)  # it lives
        FileLock(path).release()
    finally:
        if child:
            os.kill(child, 9)
        killed(other)


def test_what_can_not_be_locked_is_an_error_of_the_system(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileLock(path / "lock")
    with pytest.raises(IsADirectoryError):
        FileLock(path.parent)
    assert list(path.parent.iterdir()) == []


# Turns


def test_turns_are_taken_one_after_another(path: Path) -> None:
    """Threads and processes read a number and write the next one."""
    counter = path.with_name("counter")
    counter.write_text("0")
    add = (
        "path = Path(sys.argv[1]); counter = path.with_name('counter')\n"
        "for _ in range(20):\n"
        "    with turn(path): counter.write_text(str(int(counter.read_text()) + 1))"
    )

    def add_here(_: int) -> None:
        for _ in range(5):
            with turn(path):
                counter.write_text(str(int(counter.read_text()) + 1))

    others = [python("exec(" + repr(add) + ")", path) for _ in range(3)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add_here, range(8)))
    for other in others:
        with other:
            assert other.wait(60) == 0
    assert counter.read_text() == str(3 * 20 + 8 * 5)
    assert list(path.parent.iterdir()) == [counter]


def test_a_turn_that_a_killed_process_had_is_over(path: Path) -> None:
    code = "exec(\"with turn(Path(sys.argv[1])):\\n print('held', flush=True); sys.stdin.read()\")"
    other = python(code, path)
    assert line_of(other) == "held"
    killed(other)
    assert path.exists()
    with turn(path):
        pass
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("break_off", [ZeroDivisionError, KeyboardInterrupt])
def test_a_turn_ends_with_its_block_however_that_ends(
    path: Path, break_off: Callable[[], BaseException]
) -> None:
    def take() -> None:
        with turn(path):
            raise break_off()

    for _ in range(2):
        with pytest.raises((ZeroDivisionError, KeyboardInterrupt)):
            take()
    assert list(path.parent.iterdir()) == []


def test_a_turn_makes_no_folders(path: Path) -> None:
    with pytest.raises(FileNotFoundError), turn(path / "below" / "lock"):
        pass
    assert list(path.parent.iterdir()) == []
