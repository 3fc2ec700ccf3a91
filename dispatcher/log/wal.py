"""The WAL beside a log: how large it may stay, and who keeps it from being emptied.

A WAL grows until all of it is in the log's file and nobody reads what was there before. SQLite then
writes it from its beginning again, and cuts it to `WAL_LIMIT_BYTES`. Somebody who keeps a read
transaction open stops that for as long: an open `sqlite3` shell after BEGIN, a copy that takes its
time. The log stays whole, but the WAL grows with each event.

Law: looking is cheap. The WAL's size is known from the check of each batch, and who reads is only
looked up for a warning, at most once in `WARN_EVERY_S`.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["WAL_LIMIT_BYTES", "WalWatch", "readers_of"]

logger = logging.getLogger(__name__)

WAL_LIMIT_BYTES: Final = 64 << 20
"""The size to which an emptied WAL is cut. A batch of 10,000 events takes about 20 MiB of it."""
WARN_EVERY_S: Final = 60.0
_MIB: Final = 1 << 20

_READ_LOCKS: Final = range(123, 128)
"""The bytes of the `-shm` file that SQLite locks while a transaction reads from the WAL."""


class WalWatch:
    """Warns when the WAL of the log at `path` has become larger than it may stay."""

    def __init__(self, path: Path, now_s: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._now_s = now_s
        self._warned_s: float | None = None

    def notice(self, size: int) -> None:
        """Take note of the WAL's size in bytes."""
        if size <= 2 * WAL_LIMIT_BYTES:
            return
        now_s = self._now_s()
        if self._warned_s is not None and now_s - self._warned_s < WARN_EVERY_S:
            return
        self._warned_s = now_s
        who = readers_of(self._path.with_name(self._path.name + "-shm"))
        logger.warning(
            "%s-wal has %d MiB and can't be emptied: %s. It shrinks by itself when they have ended",
            self._path,
            size // _MIB,
            f"read transactions are open in {', '.join(who)}"
            if who
            else "a read transaction is open, in a process that can't be seen from here",
        )


def readers_of(shm: Path) -> list[str]:
    """Name the processes that have a read transaction open on a log, by its `-shm` file.

    Only Linux tells. Elsewhere, and of processes in other containers, nothing is known.
    """
    try:
        inode = shm.stat().st_ino
        locks = Path("/proc/locks").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    found = dict[int, None]()
    for line in locks.splitlines():
        # "1: POSIX  ADVISORY  READ 4711 08:01:1234 124 124", and "->" after the number of a waiter
        match line.split():
            case [_, "POSIX", _, "READ", pid, file, first, last] if pid.isdigit():
                is_it = file.rpartition(":")[2] == str(inode)
                if is_it and last.isdigit() and _covers(int(first), int(last)):
                    found[int(pid)] = None
            case _:
                pass
    return [_named(pid) for pid in found]


def _covers(first: int, last: int) -> bool:
    return first <= _READ_LOCKS[-1] and last >= _READ_LOCKS[0]


def _named(pid: int) -> str:
    if pid == os.getpid():
        return "this dispatcher itself"
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        words = []
    command = " ".join(word.decode(errors="replace") for word in words if word)
    return f"process {pid} ({command[:120]})" if command else f"process {pid}"
