"""One process to a thing: files that are locked for as long as their holders live.

Laws:
- The kernel lets go of a lock when its process ends, however it ends, so there are no stale locks
  to clear away.
- A lock is its process's alone: no other process that this one starts or forks keeps it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from weakref import WeakSet

import filelock

from dispatcher.errors import DispatcherError

__all__ = ["FileLock", "LockHeldError", "turn"]

_PID_AT: Final = 1 if os.name == "nt" else 0
"""Where the file names the process. What Windows locks is the first byte, which nobody can read."""
_PID_BYTES: Final = 32
_TURN_POLL_S: Final = 0.01


class LockHeldError(DispatcherError):
    """Another process holds the lock; `holder` is its process id, as far as it is known."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path} is held by process {holder}")
        self.holder = holder


class FileLock:
    """Held from making to `release`. `LockHeldError` if it is taken, `OSError` if it can't be.

    The file stays behind: to remove it would race with the next holder.
    """

    def __init__(self, path: Path) -> None:
        # With a descriptor of our own: filelock's class makes folders, and won't name the holder.
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(fd, path)
        except BaseException:
            os.close(fd)
            raise
        self._fd: int | None = fd
        _held.add(self)

    def release(self) -> None:
        """Let go."""
        if self._fd is not None:
            # By name, for a process that is just being started may have a copy of the descriptor.
            filelock.unlock_descriptor(self._fd)
            self._close()

    def _close(self) -> None:
        if self._fd is not None:
            _held.discard(self)
            os.close(self._fd)
            self._fd = None


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Wait until no other process or thread is in such a block. No file is left behind."""
    path.parent.stat()  # FileNotFoundError, where filelock would make the folder
    lock = filelock.FileLock(path, poll_interval=_TURN_POLL_S, fallback_to_soft=False)
    with lock:
        try:
            yield
        finally:
            # While it is held: who waits for a file that has no name any more begins anew.
            with suppress(OSError):  # on Windows filelock removes it, afterwards
                path.unlink()


def _lock(fd: int, path: Path) -> None:
    if not filelock.lock_descriptor(fd, blocking=False):
        raise LockHeldError(path, _pid_in(fd))
    os.ftruncate(fd, 0)
    os.lseek(fd, _PID_AT, os.SEEK_SET)
    os.write(fd, f"{os.getpid()}\n".encode())


def _pid_in(fd: int) -> str:
    os.lseek(fd, _PID_AT, os.SEEK_SET)
    return os.read(fd, _PID_BYTES).decode(errors="replace").strip() or "unknown"


_held: Final = WeakSet[FileLock]()


def _leave_to_parent() -> None:
    """Close what a fork has copied, without a word to the kernel: the lock is the parent's."""
    for lock in list(_held):
        lock._close()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
