"""Installing the peers: servers from the system's packages, libraries in their own environment."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from .peers import PACKAGES, PYTHON, SYSTEM, find

__all__ = ["install_peers"]


def install_peers(console: Console) -> None:
    """Install what can be; what can't is told, and skipped when it comes to measuring."""
    missing = [package for program, package in SYSTEM.items() if find(program) is None]
    if missing and shutil.which("apt-get") is None:
        console.print(f"There is no apt-get here; install by hand: {', '.join(missing)}")
    elif missing:
        _run(console, ["apt-get", "update", "--quiet"])
        for package in missing:  # one by one, so that one that is missing keeps no other away
            _run(console, ["apt-get", "install", "--yes", "--quiet", package])
    environment = PYTHON.parent.parent
    if not PYTHON.exists():
        _run(console, [sys.executable, "-m", "venv", environment])
    _run(console, [PYTHON, "-m", "pip", "install", "--quiet", *PACKAGES])


def _run(console: Console, command: Sequence[Any]) -> None:
    shown = " ".join(str(part) for part in command)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
        console.print(f"Failed: {shown}: {last}", markup=False)
    else:
        console.print(f"Done: {shown}", markup=False)
