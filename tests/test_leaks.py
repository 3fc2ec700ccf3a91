"""What a test leaves running is found, so that the test fails."""

import os
import subprocess
import sys
from threading import Event, Thread

import pytest

from tests.support import leaks
from tests.support.leaks import LeakError, ends_what_it_begins


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "GRACE_S", 0.0)


def test_what_ends_soon_after_the_test_is_no_leak() -> None:
    go_on = Event()
    with ends_what_it_begins():
        Thread(target=go_on.wait).start()
        go_on.set()


@pytest.mark.usefixtures("no_grace")
def test_a_thread_that_is_left_running_is_named() -> None:
    go_on = Event()
    thread = Thread(target=go_on.wait, name="of this test")
    with (
        pytest.raises(LeakError, match="left running: the thread 'of this test'"),
        ends_what_it_begins(),
    ):
        thread.start()
    assert leaks.leaked_threads() == ["of this test"]
    go_on.set()
    thread.join()
    assert leaks.leaked_threads() == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists the children of a process")
@pytest.mark.usefixtures("no_grace")
def test_a_child_process_that_is_left_running_is_named() -> None:
    with pytest.raises(LeakError) as told, ends_what_it_begins():
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    assert str(told.value).startswith(f"left running: the process {child.pid} (")
    child.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists the children of a process")
@pytest.mark.usefixtures("no_grace")
def test_a_child_process_that_nobody_waited_for_is_told() -> None:
    with pytest.raises(LeakError, match="ended, but nobody has waited"), ends_what_it_begins():
        child = ended()
    child.wait()


def ended() -> subprocess.Popen[bytes]:
    """Give a child that has ended and is still to be waited for."""
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    return child
