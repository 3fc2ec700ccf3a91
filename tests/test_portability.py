"""Clients run anywhere: what only `dispatcher serve` runs may need what Windows or macOS lack.

There is neither here, so what they lack is taken away: modules that only a POSIX system has, for
everybody but the standard library (whose own modules for Windows do without), and the names in
`os` and `signal`.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent

TAKEN_AWAY: Final = """
import asyncio, builtins, os, signal, subprocess, sys, warnings
import platformdirs  # which has a module of its own for each system

missing = {
    "crypt", "fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "spwd", "syslog",
    "termios", "tty", "uvloop",
}
really_import = builtins.__import__

def import_elsewhere(name, globals=None, *rest, **named):
    by = (globals or {}).get("__name__", "").split(".")[0]
    if name.split(".")[0] in missing and by not in sys.stdlib_module_names:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return really_import(name, globals, *rest, **named)

builtins.__import__ = import_elsewhere
for name in (
    "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "chown", "fchmod", "fchown", "fork",
    "geteuid", "getuid", "mkfifo", "nice", "register_at_fork",
):
    delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1"):
    delattr(signal, name)
warnings.filterwarnings("ignore", "only soft file lock")  # filelock's; on Windows it has another
"""


def elsewhere(code: str) -> subprocess.CompletedProcess[str]:
    """Run a program where there is nothing of what is taken away."""
    return subprocess.run(
        [sys.executable, "-c", TAKEN_AWAY + code],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("name", ["fcntl", "resource", "termios", "uvloop"])
def test_what_is_taken_away_is_missed(name: str) -> None:
    ended = elsewhere(f"import {name}")
    assert f"No module named '{name}'" in ended.stderr


def test_what_serves_would_be_found_out() -> None:
    assert "No module named 'resource'" in elsewhere("import dispatcher.server").stderr


@pytest.mark.parametrize(
    "module",
    ["dispatcher.client", "dispatcher.cli", "dispatcher.engine.agent", "dispatcher.locks"],
)
def test_a_module_of_clients_and_engines_can_be_imported(module: str) -> None:
    ended = elsewhere(f"import {module}")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("command", [[], ["serve"], ["submit"], ["engine"], ["key", "new"]])
def test_every_command_gives_its_help(command: list[str]) -> None:
    arguments = ["dispatcher", *command, "--help"]
    ended = elsewhere(
        f"sys.argv = {arguments}\nimport runpy\nrunpy.run_module('dispatcher', run_name='__main__')"
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Usage: " in ended.stdout


def test_submit_asks_for_its_dispatcher() -> None:
    arguments = ["dispatcher", "submit", "http://media/in.mp4", "--codec", "h264"]
    arguments += ["--server", "http://127.0.0.1:9"]
    ended = elsewhere(f"sys.argv = {arguments}\nfrom dispatcher.cli import main\nmain()")
    assert ended.returncode == 3
    assert ended.stderr.startswith("dispatcher: http://127.0.0.1:9 can't be reached")
