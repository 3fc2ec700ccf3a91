"""The task queues of Python, each through its own client on a store that syncs."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benching.figures import Sample
from benching.processes import HOST, child, free_port

from . import Peer, UnavailableError, drive, find

__all__ = ["PEERS"]

ANYBODY: Final = 0o711


def _sample(found: dict[str, Any]) -> Sample:
    return Sample.of(found["durations_s"], found["elapsed_s"])


def _huey(directory: Path, connections: int, seconds: float) -> Sample:
    return _sample(drive("huey_lives.py", [directory / "huey.db", connections, seconds]))


def _arq(directory: Path, connections: int, seconds: float) -> Sample:
    if find("redis-server") is None:
        raise UnavailableError("redis-server is not installed; run with --install-peers")
    port = free_port()
    command = [
        *("redis-server", "--bind", HOST, "--port", str(port), "--dir", str(directory)),
        *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
    ]
    with child(command, directory) as process:
        process.await_port(port)
        return _sample(drive("arq_lives.py", [port, connections, seconds]))


def _procrastinate(directory: Path, connections: int, seconds: float) -> Sample:
    with _postgres(directory) as port:
        return _sample(drive("procrastinate_lives.py", [port, connections, seconds]))


@contextmanager
def _postgres(directory: Path) -> Iterator[int]:
    """Run a cluster of its own, with the defaults of PostgreSQL: fsync and synchronous_commit."""
    initdb, postgres = _program("initdb"), _program("postgres")
    user = _unprivileged()
    data = directory / "cluster"
    data.mkdir()
    if user is not None:
        directory.chmod(ANYBODY)
        shutil.chown(data, user)
    made = subprocess.run(
        [initdb, "-D", data, "-U", "bench", "--auth=trust", "--encoding=UTF8", "--locale=C"],
        user=user,
        cwd=data,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise UnavailableError(f"initdb failed: {made.stderr.strip().splitlines()[-1]}")
    port = free_port()
    command: list[str | Path] = [postgres, "-D", data, "-h", HOST, "-p", str(port), "-k", ""]
    with child(command, directory, user=user) as process:
        process.await_port(port)
        yield port


def _program(name: str) -> str:
    if (found := find(name)) is None:
        raise UnavailableError("PostgreSQL is not installed; run with --install-peers")
    return found


def _unprivileged() -> str | None:
    """Name a user for PostgreSQL, which does not run as root."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name for user in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in known:
            return name
    raise UnavailableError("PostgreSQL does not run as root and there is no user postgres, nobody")


PEERS: Final = (
    Peer(
        "huey on SQLite",
        "WAL, synchronous=FULL",
        "enqueue, dequeue, execute, store the result, take it out; threads of one process",
        _huey,
    ),
    Peer(
        "procrastinate on PostgreSQL",
        "fsync and synchronous_commit on",
        "defer, fetch by a worker of that concurrency, mark as succeeded; one process",
        _procrastinate,
    ),
    Peer(
        "arq on Redis",
        "appendonly, appendfsync always",
        "enqueue, fetch by a worker with so many jobs at once, store the result; one process",
        _arq,
    ),
)
