"""See whether a file was cut off, by its form and its last pictures and sounds.

A transport stream or a raw stream declares no length, so that only its end can tell. PyAV decodes
the end, if it is installed; it does so in a process of its own, confined as ffmpeg is.
"""

import asyncio
import importlib.util
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from dispatcher.engine import tail
from dispatcher.engine.forms import incomplete
from dispatcher.engine.sandbox import Access, Sandbox

__all__ = ["cut_off", "find_pyav"]

_ANSWER_BYTES: Final = 2_000


def find_pyav() -> Path | None:
    """Return the directory in which PyAV is installed, or `None` without it."""
    found = importlib.util.find_spec("av")
    return None if found is None or found.origin is None else Path(found.origin).parents[1]


async def cut_off(  # noqa: PLR0913 - what it reads, with what, and within which bounds
    path: str,
    *,
    format_: str,
    pyav: Path | None,
    demuxers: Sequence[str],
    sandbox: Sandbox,
    inherits: Sequence[int],
    timeout_s: float,
) -> str | None:
    """Return why a file was cut off, or `None` if nothing shows that it was."""
    with suppress(OSError):
        if (why := await asyncio.to_thread(incomplete, Path(path), format_)) is not None:
            return why
    if pyav is None:
        return None
    pixels = str(round(sandbox.limits.megapixels * 1_000_000))
    command = [
        *(sys.executable, "-I", "-S", tail.__file__),
        *(str(pyav), ",".join(demuxers), pixels, path),
    ]
    process = await asyncio.create_subprocess_exec(
        *sandbox.around(command, Access([path, str(pyav), tail.__file__, sys.base_prefix])),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=inherits,
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101
    told = b""
    try:
        async with asyncio.timeout(timeout_s):
            while piece := await process.stdout.read(_ANSWER_BYTES):
                told = (told + piece)[:_ANSWER_BYTES]
            await process.wait()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.communicate())  # an unread pipe would hold up the end
    verdict, _, why = told.decode(errors="replace").strip().partition(": ")
    return why if verdict == "cut" and process.returncode == 0 else None
