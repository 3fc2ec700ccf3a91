"""The command line in a terminal: a pseudo-terminal of so many columns, as a user sees it."""

import asyncio
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
from pathlib import Path
from typing import Final, Self

from tests.support.commands import TIMEOUT_S, environment
from tests.support.servers import KEY

__all__ = ["Terminal", "in_terminal"]

_STYLE: Final = re.compile(r"\x1b\[[0-9;]*m")
_AT_A_TERMINAL: Final = (
    "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "from dispatcher.cli import main; main()"
)
"""Runs the command with standard input as the terminal whose keys interrupt it."""
_CONTROL: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")


async def in_terminal(
    cwd: Path,
    *arguments: str,
    columns: int,
    server: str | None = None,
    key: str | None = KEY,
    styled: bool = False,
) -> str:
    """Run a command to its end and return what it prints in a terminal, without its colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    given = environment(server, key) | {"COLUMNS": str(columns), "TERM": "xterm-256color"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dispatcher", *arguments),
        cwd=cwd,
        env=given,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        told = await asyncio.wait_for(asyncio.to_thread(_all_of, ours), TIMEOUT_S)
        await asyncio.wait_for(process.wait(), TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = told.decode().replace("\r\n", "\n")
    return text if styled else _STYLE.sub("", text)


def _all_of(terminal: int) -> bytes:
    """Read until nobody has the terminal open any more, and close it."""
    told = b""
    try:
        while piece := os.read(terminal, 1 << 16):
            told += piece
    except OSError:  # Linux says so
        pass
    finally:
        os.close(terminal)
    return told


class Terminal:
    """A command in a terminal that a person sits at: it shows what it says, and takes keys."""

    def __init__(
        self,
        cwd: Path,
        *arguments: str,
        server: str,
        key: str | None = KEY,
        columns: int = 80,
        lines: int = 24,
    ) -> None:
        self._cwd, self._arguments = cwd, arguments
        self._environment = environment(server, key)
        self._environment.pop("COLUMNS", None)
        self._environment["TERM"] = "xterm-256color"
        self._size = struct.pack("HHHH", lines, columns, 0, 0)
        self._said = b""
        self._more = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, self._size)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _AT_A_TERMINAL, *self._arguments),
            cwd=self._cwd,
            env=self._environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        asyncio.get_running_loop().add_reader(self._ours, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        asyncio.get_running_loop().remove_reader(self._ours)
        os.close(self._ours)

    @property
    def text(self) -> str:
        """All that was ever shown, without colours and movements of the cursor."""
        plain = _CONTROL.sub("", self._said.decode(errors="replace"))
        return plain.replace("\r\n", "\n").replace("\r", "\n")

    def types(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    async def shows(self, words: str) -> None:
        """Wait until some words were shown."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while words not in self.text:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"it never showed {words!r}, but:\n{self.text}") from None

    def forget(self) -> None:
        """Take nothing for shown that was shown before."""
        self._said = b""

    async def ended(self) -> int:
        """Wait until the command ends; gives its exit code."""
        status = await asyncio.wait_for(self._process.wait(), TIMEOUT_S)
        self._read()
        return status

    def _read(self) -> None:
        try:
            while select.select([self._ours], [], [], 0)[0]:
                self._said += os.read(self._ours, 1 << 16)
        except OSError:  # nobody has the terminal open any more
            asyncio.get_running_loop().remove_reader(self._ours)
        self._more.set()
