"""Threads and processes that a test has begun, and that must have ended when it ends.

What stood before the test belongs to a fixture of a wider scope, or to the test that leaked it.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["LeakError", "ends_what_it_begins", "leaked_threads"]

GRACE_S: Final = 30.0
"""How long may pass between the end of a test and that of what it has told to end."""
_TASKS: Final = Path("/proc/self/task")
# An event loop ends its workers when it is closed, and may outlive a test. pytest has a timer.
_THREADS_OF_OTHERS: Final = ("asyncio_", "uvloop_", "AnyIO worker thread", "pytest_timeout ")
_PROCESSES_OF_A_LOOP: Final = "-m anyio.to_process"

_told_of: set[object] = set()


class LeakError(AssertionError):
    """A test has left something running."""


@contextmanager
def ends_what_it_begins() -> Iterator[None]:
    """Raise `LeakError` if a thread or a child process that began in the block outlives it."""
    threads, children = _threads(), _children()
    yield
    left = _left(threads, children)
    deadline = time.monotonic() + GRACE_S
    while left and time.monotonic() < deadline:
        time.sleep(0.005)
        left = _left(threads, children)
    if left:
        _told_of.update(left)
        raise LeakError("left running: " + ", ".join(sorted(map(_named, left))))


def leaked_threads() -> list[str]:
    """Name the threads that a test was blamed for and that still keep this process from ending."""
    return [it.name for it in _threads() & _told_of]


def _left(threads: set[threading.Thread], children: set[int]) -> set[threading.Thread | int]:
    left = (_threads() - threads) | {
        it for it in _children() - children if _PROCESSES_OF_A_LOOP not in _command_of(it)
    }
    return left - _told_of


def _threads() -> set[threading.Thread]:
    return {
        it
        for it in threading.enumerate()
        if not (it.daemon or it.name.startswith(_THREADS_OF_OTHERS))
    }


def _children() -> set[int]:
    """Give the ids of the child processes, also of those that nobody has waited for.

    Linux lists them by the thread that began them. Other systems list none here.
    """
    found: set[int] = set()
    for thread in threading.enumerate():
        try:
            found.update(
                map(int, (_TASKS / str(thread.native_id) / "children").read_text().split())
            )
        except OSError:  # it has ended, or this system has no such list
            continue
    return found


def _named(left: threading.Thread | int) -> str:
    if isinstance(left, threading.Thread):
        return f"the thread {left.name!r}"
    return f"the process {left} ({_command_of(left) or 'ended, but nobody has waited for it'})"


def _command_of(pid: int) -> str:
    """Give the command line of a process; it is empty once that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""
