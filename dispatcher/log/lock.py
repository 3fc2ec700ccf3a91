"""One dispatcher to a log file.

The lock is held on a file beside the log, not on the log itself: closing any descriptor of a
file drops the process's POSIX locks on it, and SQLite relies on those. The kernel lets go of it
when the process ends, however it ends, so there are no stale locks to clear away. The file
stays, since removing it would race with the next dispatcher.
"""

import fcntl
import os
from pathlib import Path

from dispatcher.log import LogError

__all__ = ["FileLock"]


class FileLock:
    """Held from making to `release`. `LogError` names the process that holds it already."""

    def __init__(self, log_path: Path) -> None:
        path = log_path.with_name(log_path.name + ".lock")
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LogError(
                f"{log_path}: can't make the lock file {path.name} beside it: {error.strerror}; "
                "the dispatcher needs a directory that it may write to"
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise LogError(
                f"{log_path}: in use by another dispatcher (process {holder}); stop that one, "
                "or give this one a log of its own with --db"
            ) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go."""
        os.close(self._fd)
