"""The processes that are measured: started, waited for, and ended by their ids."""

import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["HOST", "KEY", "Child", "Server", "child", "dispatcher", "free_port"]

HOST: Final = "127.0.0.1"
KEY: Final = secrets.token_hex(16)
LOOK_S: Final = 0.001
START_S: Final = 120
STOP_S: Final = 120

_GREETING: Final = re.compile(r"Dispatcher ready on http://[^:]+:(\d+), log")


class Child:
    """A process that runs beside this one and writes what it has to say into a file."""

    def __init__(self, process: subprocess.Popen[bytes], says: Path) -> None:
        self._process = process
        self._says = says

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    @property
    def rss_mb(self) -> float:
        """The memory that it holds now; 0 where the system does not tell."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return 0.0
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) * 1024 / 1e6 if found else 0.0

    @property
    def cpu_s(self) -> float:
        """The CPU time that it has used so far, in all its threads; 0 where nothing tells."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def require_success(self) -> None:
        """Raise `RuntimeError` unless it has ended well."""
        if self._process.wait(STOP_S) != 0:
            raise RuntimeError(f"{self._name} failed; it said:\n{self.said()}")

    def await_words(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """Wait until it has said something."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            gone = self._process.poll() is not None
            if (found := pattern.search(self.said())) is not None:
                return found
            if gone:
                break
            time.sleep(LOOK_S)
        raise RuntimeError(f"{self._name} did not start; it said:\n{self.said()}")

    def await_port(self, port: int) -> None:
        """Wait until it takes connections."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection((HOST, port), timeout=1).close()
            except OSError:
                time.sleep(LOOK_S)
            else:
                return
        raise RuntimeError(f"{self._name} does not listen; it said:\n{self.said()}")

    def said(self) -> str:
        """Give what it has said so far."""
        return self._says.read_text(errors="replace")

    def stop(self) -> None:
        """Ask it to end, wait for it, and end it if it does not."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def _name(self) -> str:
        arguments = self._process.args
        assert isinstance(arguments, list)  # noqa: S101 - `child` made it
        return Path(arguments[0]).name


@contextmanager
def child(
    command: Sequence[str | Path],
    directory: Path,
    *,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
) -> Iterator[Child]:
    """Run a process until the block ends. What it says is kept in `directory`."""
    says = directory / f"{Path(command[0]).name}.{secrets.token_hex(4)}.said"
    with says.open("wb") as file:
        process = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            user=user,
        )
    running = Child(process, says)
    try:
        yield running
    finally:
        running.stop()


class Server(NamedTuple):
    """A contestant that answers over HTTP."""

    port: int
    process: Child
    started_s: float = 0.0


@contextmanager
def dispatcher(db: Path, *options: str | Path) -> Iterator[Server]:
    """Run `dispatcher serve` as an operator would, with all its defaults but these options."""
    began = time.perf_counter()
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "dispatcher",
        "serve",
        "--db",
        db,
        "--port",
        "0",
        *options,
    ]
    with child(command, db.parent, env={"DISPATCHER_API_KEY": KEY}) as process:
        port = int(process.await_words(_GREETING)[1])
        yield Server(port, process, time.perf_counter() - began)


def free_port() -> int:
    """Find a port for a server that can't choose one itself."""
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
