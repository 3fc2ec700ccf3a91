"""What people use instead: where their packages are, and who has a durable set-up here.

The Python ones live in an environment of their own, so that nothing of theirs is ever ours.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benching.figures import Sample

__all__ = ["PACKAGES", "PYTHON", "SYSTEM", "Peer", "UnavailableError", "drive", "find"]

_ROOT: Final = Path(__file__).resolve().parents[3]
PYTHON: Final = _ROOT / ".bench-venv/bin/python"
PACKAGES: Final = (
    *("huey", "procrastinate", "psycopg", "psycopg-binary", "psycopg-pool"),
    *("arq", "redis", "hiredis", "eventsourcing", "uvloop"),
)
SYSTEM: Final = {
    "wrk": "wrk",
    "beanstalkd": "beanstalkd",
    "redis-server": "redis-server",
    "postgres": "postgresql",
}
"""Programs, and the system's packages that have them."""
LATE_S: Final = 120

_DRIVEN: Final = Path(__file__).resolve().parent.parent / "driven"


def find(program: str) -> str | None:
    """Find a program. Some systems keep those of PostgreSQL off PATH."""
    off_path = Path("/usr/lib/postgresql").glob(f"*/bin/{program}")
    return shutil.which(program) or next(map(str, off_path), None)


class UnavailableError(Exception):
    """A peer can't be measured here; the text says why."""


class Peer(NamedTuple):
    """A contestant in whole lives.

    `measure` is given an empty directory, connections and seconds. Who is `apart` does not keep
    what it has acknowledged and stands beside the comparison.
    """

    name: str
    setting: str
    life: str
    measure: Callable[[Path, int, float], Sample]
    apart: bool = False


def drive(script: str, arguments: Sequence[object]) -> dict[str, Any]:
    """Run a peer's own client in the peers' environment and give what it found."""
    if not PYTHON.exists():
        raise UnavailableError("its package is not installed; run with --install-peers")
    done = subprocess.run(
        [PYTHON, _DRIVEN / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=LATE_S,
        check=False,
    )
    if "ModuleNotFoundError" in done.stderr:
        raise UnavailableError("its package is not installed; run with --install-peers")
    if done.returncode:
        raise UnavailableError(f"it failed: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
