"""The command line in a terminal: a pseudo-terminal of so many columns, as a user sees it."""

import asyncio
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path
from typing import Final

from tests.support.commands import TIMEOUT_S, environment
from tests.support.servers import KEY

__all__ = ["in_terminal"]

_STYLE: Final = re.compile(r"\x1b\[[0-9;]*m")


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
