"""Lock files, which give one process exclusive access while it lives.

Laws:
- The kernel releases a lock when its process ends, however it ends. So there are no stale locks to
  remove.
- A lock belongs to one process. A process that the holder starts or forks does not keep it.
- A lock's own file is written to, so it must be what it seems: a regular file with one name, and no
  link, which another user may have put there, and not that user's.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from weakref import WeakSet

import filelock

from dispatcher import files
from dispatcher.errors import DispatcherError

__all__ = ["FileLock", "LockHeldError", "turn"]

_PID_AT: Final = 1 if os.name == "nt" else 0
"""The offset of the process id in the file. Windows locks the first byte, which is unreadable."""
_PID_BYTES: Final = 32
# Not to follow a link, and not to wait for the other end of a pipe.
_OWN_FLAGS: Final = os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_UNKNOWN: Final = "unknown"
_TURN_POLL_S: Final = 0.01


class LockHeldError(DispatcherError):
    """Another process holds the lock. `holder` is its process id, or `unknown`."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path} is held by process {holder}")
        self.holder = holder


class FileLock:
    """A lock, held from construction until `release`.

    Raises `LockHeldError` if another process holds it, and `OSError` if the file can't be opened or
    locked, or is not what a lock's own file must be. The file is not removed on release: that would
    race with the next holder.

    With `is_own=False` the file is one that has another purpose: it must exist, is not written to,
    and so names no holder.
    """

    def __init__(self, path: Path, *, is_own: bool = True) -> None:
        # Not with `filelock.FileLock`, which makes folders and does not name the holder.
        fd = os.open(path, os.O_RDWR | (_OWN_FLAGS if is_own else 0), 0o644)
        try:
            if is_own:
                _require_plain(fd, path)
            _lock(fd, path, is_own=is_own)
        except BaseException:
            os.close(fd)
            raise
        self._fd: int | None = fd
        _held.add(self)

    def status(self) -> os.stat_result:
        """Return the status of the locked file, whatever is at its path by now."""
        if self._fd is None:
            raise ValueError("the lock was released")
        return os.fstat(self._fd)

    def release(self) -> None:
        """Release the lock. Releasing it again does nothing."""
        if self._fd is not None:
            # Closing is not enough: a process that is starting may have a copy of the descriptor.
            filelock.unlock_descriptor(self._fd)
            self._close()

    def _close(self) -> None:
        if self._fd is not None:
            _held.discard(self)
            os.close(self._fd)
            self._fd = None


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Run the block while no other process or thread is in such a block. Leaves no file behind."""
    path.parent.stat()  # raises FileNotFoundError; filelock would make the folder
    lock = filelock.FileLock(path, poll_interval=_TURN_POLL_S, fallback_to_soft=False)
    with lock:
        try:
            yield
        finally:
            # Remove it while it is held: a waiter that finds its file removed starts over.
            with suppress(OSError):  # on Windows filelock removes it on release
                path.unlink()


def _require_plain(fd: int, path: Path) -> None:
    """Raise `OSError` unless the open file is a lock's own; see the laws."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        fault = "is no regular file"
    elif status.st_nlink > 1:
        fault = f"has {status.st_nlink} names (hard links), so it may be another file of somebody"
    elif (owner := files.foreign_owner(status, path.parent)) is not None:
        fault = f"belongs to another user (uid {owner})"
    else:
        return
    raise OSError(errno.EPERM, f"it {fault}; remove it if nothing else needs it", str(path))


def _lock(fd: int, path: Path, *, is_own: bool) -> None:
    if not filelock.lock_descriptor(fd, blocking=False):
        raise LockHeldError(path, _pid_in(fd) if is_own else _UNKNOWN)
    if not is_own:
        return
    os.ftruncate(fd, 0)
    os.lseek(fd, _PID_AT, os.SEEK_SET)
    os.write(fd, f"{os.getpid()}\n".encode())


def _pid_in(fd: int) -> str:
    os.lseek(fd, _PID_AT, os.SEEK_SET)
    return os.read(fd, _PID_BYTES).decode(errors="replace").strip() or _UNKNOWN


_held: Final = WeakSet[FileLock]()


def _close_copies_in_child() -> None:
    """Close the descriptors that a fork copied, without unlocking: the lock is the parent's."""
    for lock in list(_held):
        lock._close()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_copies_in_child)
