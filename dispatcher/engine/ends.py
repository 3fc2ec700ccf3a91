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
_TS_BYTES: Final = 204 * (_IN_STEP + 2)
_OGG_HEAD: Final = 27
_RIFF_HEAD: Final = 8
_RIFF_UNKNOWN: Final = 0xFFFF_0000
_END_BYTES: Final = 70_000
"""An Ogg page has at most 65,307."""


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
        if (why := _cut_in_form(Path(path), format_)) is not None:
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


def is_cut_ogg(end: bytes) -> bool:
    """Whether the last page in these last bytes of an Ogg file is incomplete (RFC 3533)."""
    page = end[at:] if (at := end.rfind(b"OggS")) >= 0 else b""
    if not page:
        return False
    sizes = page[_OGG_HEAD : _OGG_HEAD + page[_OGG_HEAD - 1]] if len(page) >= _OGG_HEAD else b""
    is_headless = len(page) < _OGG_HEAD or len(sizes) < page[_OGG_HEAD - 1]
    return is_headless or len(page) < _OGG_HEAD + len(sizes) + sum(sizes)


def is_cut_riff(head: bytes, length: int) -> bool:
    """Whether a RIFF file of a length, such as AVI, has less than it declares in its head."""
    if len(head) < _RIFF_HEAD or head[:4] != b"RIFF":
        return False
    declared = int.from_bytes(head[4:_RIFF_HEAD], "little")
    # Who can't go back to the head leaves zero there, or the most that it holds.
    return declared < _RIFF_UNKNOWN and _RIFF_HEAD + declared > length + 1


def _cut_in_form(path: Path, format_: str) -> str | None:
    """Return why a file of a format is incomplete by its form, or `None`."""
    with path.open("rb") as file:
        head = file.read(_RIFF_HEAD)
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - _END_BYTES))
        end = file.read(_END_BYTES)
    match format_:
        case "mpegts" if is_cut_transport_stream(end[-_TS_BYTES:]):
            return "its last packet is incomplete"
        case "ogg" if is_cut_ogg(end):
            return "its last page is incomplete"
        case "avi" if is_cut_riff(head, length):
            return f"it declares {int.from_bytes(head[4:], 'little') + 8} bytes and has {length}"
        case _:
            return None
