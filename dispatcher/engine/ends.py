"""See whether a file was cut off, by its last bytes and its last pictures and sounds.

A transport stream or a raw stream declares no length, so that only its end can tell. PyAV decodes
the end, if it is installed; it does so in a process of its own, confined as ffmpeg is.
"""

import asyncio
import importlib.util
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from dispatcher.engine import tail
from dispatcher.engine.sandbox import Access, Sandbox

__all__ = ["cut_off", "find_pyav", "is_cut_transport_stream"]

_ANSWER_BYTES: Final = 2_000
_SYNC: Final = 0x47
_TS_PACKETS: Final = ((188, 0), (192, 4), (204, 0))
"""The sizes of a transport stream's packets, and where in one its sync byte is."""
_IN_STEP: Final = 5


def find_pyav() -> Path | None:
    """Return the directory in which PyAV is installed, or `None` without it."""
    found = importlib.util.find_spec("av")
    return None if found is None or found.origin is None else Path(found.origin).parents[1]


async def cut_off(  # noqa: PLR0913 - what it reads, with what, and within which bounds
    path: str,
    *,
    is_ts: bool,
    pyav: Path | None,
    demuxers: Sequence[str],
    sandbox: Sandbox,
    inherits: Sequence[int],
    timeout_s: float,
) -> str | None:
    """Return why a file was cut off, or `None` if nothing shows that it was."""
    with suppress(OSError):
        if is_ts and is_cut_transport_stream(_last_bytes(path)):
            return "its last packet is incomplete"
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
            told = await process.stdout.read(_ANSWER_BYTES)
            await process.wait()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())
    verdict, _, why = told.decode(errors="replace").strip().partition(": ")
    return why if verdict == "cut" else None


def is_cut_transport_stream(end: bytes) -> bool:
    """Whether these last bytes of a transport stream are packets, and then a part of one."""
    if any(_in_step(end, len(end), size, sync) for size, sync in _TS_PACKETS):
        return False
    return any(
        _in_step(end, len(end) - part, size, sync)
        and (part <= sync or end[len(end) - part + sync] == _SYNC)
        for size, sync in _TS_PACKETS
        for part in range(1, size)
    )


def _in_step(data: bytes, end: int, size: int, sync: int) -> bool:
    """Whether whole packets of a size end there."""
    first = end - size * _IN_STEP + sync
    return first >= sync and all(data[first + number * size] == _SYNC for number in range(_IN_STEP))


def _last_bytes(path: str) -> bytes:
    most = max(size for size, _ in _TS_PACKETS) * (_IN_STEP + 2)
    with Path(path).open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - most))
        return file.read(most)
