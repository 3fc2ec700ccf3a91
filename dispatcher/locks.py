"""One process to a thing: a file that is locked for as long as its holder lives.

The kernel lets go of the lock when the process ends, however it ends, so there are no stale locks
to clear away. The file stays behind: to remove it would race with the next holder.
"""

import fcntl
import os
from pathlib import Path

__all__ = ["FileLock", "LockHeldError"]


class LockHeldError(Exception):
    """Another process holds the lock; `holder` is its process id, as far as it is known."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path} is held by process {holder}")
        self.holder = holder


class FileLock:
    """Held from making to `release`. `LockHeldError` if it is taken, `OSError` if it can't be."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
            os.close(self._fd)
            raise LockHeldError(path, holder or "unknown") from error
        except OSError:
            os.close(self._fd)
            raise

    def release(self) -> None:
        """Let go."""
        os.close(self._fd)
