"""What a run was made on: the machine, and the versions of everything that took part."""

import os
import platform
import re
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from . import peers

__all__ = ["about", "versions"]

OURS: Final = ("transcoding-dispatcher", "litestar", "msgspec", "uvicorn", "uvloop", "httptools")
TOOLS: Final = (("wrk", "-v"), ("beanstalkd", "-v"), ("redis-server", "-v"), ("postgres", "-V"))
SYNCS: Final = 200
BLOCK: Final = bytes(4096)
UNKNOWN: Final = "unknown"


def about(work: Path) -> list[tuple[str, str]]:
    """Describe the machine, and the disk under the directory in which the logs are."""
    return [
        ("processor", _found(Path("/proc/cpuinfo"), r"model name\s*:\s*(.+)")),
        ("cores", str(os.cpu_count())),
        ("memory", _memory()),
        ("system", _system()),
        ("file system", _file_system(work)),
        ("4 KiB written and synced", f"{_sync_us(work):,.0f} µs (median of {SYNCS})"),
        ("load average at the end", f"{os.getloadavg()[0]:.1f}"),
    ]


def versions() -> list[tuple[str, str]]:
    """Give the versions of what took part, and of what is not there."""
    return [
        ("Python", platform.python_version()),
        ("SQLite", sqlite3.sqlite_version),
        *((name, version(name)) for name in OURS),
        *((name, _version_of(name, option)) for name, option in TOOLS),
        *_peer_packages(),
    ]


def _found(path: Path, pattern: str) -> str:
    try:
        found = re.search(pattern, path.read_text())
    except OSError:
        return UNKNOWN
    return found[1].strip() if found else UNKNOWN


def _system() -> str:
    release = ".".join(platform.release().split(".")[:2])  # what follows is its builder's
    return f"{platform.system()} {release} {platform.machine()}"


def _memory() -> str:
    total_kb = _found(Path("/proc/meminfo"), r"MemTotal:\s*(\d+)")
    return total_kb if total_kb == UNKNOWN else f"{int(total_kb) / 2**20:.1f} GiB"


def _file_system(work: Path) -> str:
    """Find the type of the mount that holds the directory: the longest that leads to it."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return UNKNOWN
    holding = [mount for mount in mounts if work.resolve().is_relative_to(mount[1])]
    if not holding:
        return UNKNOWN
    kind = max(holding, key=lambda mount: len(mount[1]))[2]
    return f"{kind}: in memory, nothing is durable; use --work-dir" if kind == "tmpfs" else kind


def _sync_us(work: Path) -> float:
    took: list[float] = []
    with tempfile.TemporaryFile(dir=work, buffering=0) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            file.write(BLOCK)
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return median(took) * 1e6


def _version_of(tool: str, option: str) -> str:
    program = peers.find(tool)
    if program is None:
        return "not installed"
    told = _told([program, option])
    found = re.search(r"\d+(\.\d+)+", told)
    return found[0] if found else UNKNOWN


def _peer_packages() -> list[tuple[str, str]]:
    if not peers.PYTHON.exists():
        return [(name, "not installed") for name in peers.PACKAGES if name not in OURS]
    listed = msgspec.json.decode(
        _told([str(peers.PYTHON), "-m", "pip", "list", "--format=json"], errors=False),
        type=list[dict[str, str]],
    )
    known = {package["name"].lower(): package["version"] for package in listed}
    return [(name, known.get(name, "not installed")) for name in peers.PACKAGES if name not in OURS]


def _told(command: Sequence[str], *, errors: bool = True) -> str:
    """Give what a command says; some tell their version with an exit code that is none of 0."""
    stderr = subprocess.STDOUT if errors else subprocess.DEVNULL
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, check=False)
    return done.stdout
