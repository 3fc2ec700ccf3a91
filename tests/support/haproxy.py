"""HAProxy with the configuration of docs/operations.md, before dispatchers of a test."""

import asyncio
import os
import re
import shutil
import socket
from asyncio.subprocess import DEVNULL, STDOUT
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

__all__ = ["HAPROXY", "balanced"]

HAPROXY: Final = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
_PAGE: Final = Path(__file__).parents[2] / "docs" / "operations.md"
_BLOCK: Final = re.compile(r"```haproxy\n(.*?)```", re.DOTALL)


@asynccontextmanager
async def balanced(urls: Sequence[str], folder: Path, mode: str) -> AsyncIterator[str]:
    """Run HAProxy before servers until the block ends; gives its URL, which answers at once."""
    assert HAPROXY is not None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = folder / "haproxy.cfg"
        config.write_text(_config(urls, mode, listener.fileno()))
        with (folder / "haproxy.log").open("wb") as said:
            process = await asyncio.create_subprocess_exec(
                *(HAPROXY, "-db", "-f", str(config)),
                stdin=DEVNULL,
                stdout=said,
                stderr=STDOUT,
                pass_fds=[listener.fileno()],
            )
        try:
            yield "http://{}:{}".format(*listener.getsockname())
            assert process.returncode is None, (folder / "haproxy.log").read_text()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def _config(urls: Sequence[str], mode: str, listener: int) -> str:
    """Return the page's configuration with the listener and the servers of a test."""
    (block,) = _BLOCK.findall(_PAGE.read_text())
    lines = [line for line in block.splitlines() if not line.startswith("    server ")]
    changed = {"    mode http": f"    mode {mode}", "    bind :8080": f"    bind fd@{listener}"}
    for old, new in changed.items():
        lines[lines.index(old)] = new
    servers = (f"    server s{n} {url.removeprefix('http://')}" for n, url in enumerate(urls))
    return "\n".join([*lines, *servers, ""])
