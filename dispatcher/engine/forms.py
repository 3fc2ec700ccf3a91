"""See whether a file is incomplete by its form: what its format says of sizes, against its length.

Formats that ffmpeg reads up to where they break off, without a word, are looked at here. Few bytes
are read of a long file, except of those formats whose frames must be gone through one by one.

Laws:
- What is not as the format has it is no cut: a file may have anything behind its end.
- A size that is not told, or can't be, is not missed.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["incomplete"]

_END_BYTES: Final = 70_000
"""An Ogg page has at most 65,307; so have the packets of a program stream."""
_BLOCK_BYTES: Final = 1 << 20
_ZEROS_BYTES: Final = 20_000
_MOST_ZEROS_BYTES: Final = 16_000_000
_ZEROS_PART: Final = 0.02
"""More zeros at the end of a file than this part of it stand where data was to be written."""
_MOST_FRAMES: Final = 1_000_000
"""Of a file with more, nothing is said: it would take long to go through them."""
_NO_ZEROS: Final = frozenset(
    {"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v", "obu", "ogg", "flv", "asf", "avi"}
    | {"matroska,webm"}
)
"""Formats whose films have no long runs of zeros, and need not declare how long they are."""


def incomplete(path: Path, format_: str) -> str | None:
    """Return why a file of a format, by the name of ffmpeg's demuxer, is incomplete, or `None`."""
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        if format_ in _NO_ZEROS:
            most = max(_ZEROS_BYTES, min(_MOST_ZEROS_BYTES, int(_ZEROS_PART * length)))
            if (zeros := zeros_at_end(file, length, most)) > most:
                return f"its last {zeros} bytes are zeros"
        look = _LOOKS.get(format_)
        return None if look is None else look(file, length)


def zeros_at_end(file: BinaryIO, length: int, most: int) -> int:
    """Count the zeros at the end of a file, until there are more than `most`."""
    place = length
    while place > 0 and length - place <= most:
        file.seek(begin := max(0, place - _BLOCK_BYTES))
        block = file.read(place - begin)
        if kept := block.rstrip(b"\0"):
            return length - begin - len(kept)
        place = begin
    return length - place


# Transport streams


_SYNC: Final = 0x47
_TS_PACKETS: Final = ((188, 0), (192, 4), (204, 0))
"""The sizes of a transport stream's packets, and where in one its sync byte is."""
_IN_STEP: Final = 5
_TS_BYTES: Final = 204 * (_IN_STEP + 2)


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


# Program streams (ISO/IEC 13818-1, 2.5)


_PACK: Final = b"\0\0\1\xba"
_START: Final = b"\0\0\1"
_LAST_CODE: Final = 0xB9
_FIRST_ID: Final = 0xBB
_PACK_BYTES: Final = (12, 14)
"""The head of a pack of MPEG-1 and of MPEG-2, which up to seven bytes may fill up."""


def is_cut_program_stream(end: bytes) -> bool:
    """Whether the last pack in these last bytes of a program stream is incomplete."""
    place = end.rfind(_PACK)
    if place < 0:
        return False
    rest = end[place:]
    if len(rest) < _PACK_BYTES[1]:
        return True
    is_mpeg2 = rest[4] >> 6 == 1
    at = _PACK_BYTES[is_mpeg2] + (rest[13] & 7 if is_mpeg2 else 0)
    while at < len(rest):
        head = rest[at : at + 6]
        if not head.startswith(_START[: len(head)]):
            return False
        if len(head) > len(_START) and head[3] == _LAST_CODE:
            return False
        if len(head) < 6:  # noqa: PLR2004 - a start code and a size
            return True
        if head[3] < _FIRST_ID:
            return False
        at += 6 + int.from_bytes(head[4:], "big")
    return at > len(rest)


# Files of blocks that tell their sizes


def is_cut_ogg(end: bytes) -> bool:
    """Whether the last page in these last bytes of an Ogg file is incomplete (RFC 3533)."""
    page = end[at:] if (at := end.rfind(b"OggS")) >= 0 else b""
    if not page:
        return False
    sizes = page[_OGG_HEAD : _OGG_HEAD + page[_OGG_HEAD - 1]] if len(page) >= _OGG_HEAD else b""
    is_headless = len(page) < _OGG_HEAD or len(sizes) < page[_OGG_HEAD - 1]
    return is_headless or len(page) < _OGG_HEAD + len(sizes) + sum(sizes)


_OGG_HEAD: Final = 27


def is_cut_riff(head: bytes, length: int) -> bool:
    """Whether a RIFF file of a length, such as AVI, has less than it declares in its head."""
    if len(head) < _RIFF_HEAD or head[:4] != b"RIFF":
        return False
    declared = int.from_bytes(head[4:_RIFF_HEAD], "little")
    # Who can't go back to the head leaves zero there, or the most that it holds.
    return declared < _RIFF_UNKNOWN and _RIFF_HEAD + declared > length + 1


_RIFF_HEAD: Final = 8
_RIFF_UNKNOWN: Final = 0xFFFF_0000

_ASF_HEADER: Final = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE: Final = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def asf_bytes(head: bytes) -> int | None:
    """Return how long an ASF file says that it is; `None` if it does not."""
    at = head.find(_ASF_FILE)
    if not head.startswith(_ASF_HEADER) or at < 0 or len(head) < at + 92:
        return None
    is_broadcast = head[at + 88] & 1
    return None if is_broadcast else int.from_bytes(head[at + 40 : at + 48], "little")


# Frames of a fixed size, or of one that is told


_DV_FRAMES: Final = (120_000, 144_000)
"""Of 60 and of 50 fields; DVCPRO50 and HD have several of them in a frame."""
_YUV_SIZES: Final = {
    "420": (2, 2, 2),
    "411": (2, 4, 1),
    "422": (2, 2, 1),
    "444": (2, 1, 1),
    "mono": (0, 1, 1),
}
"""How many planes of colour there are, and the columns and rows of the picture to one of theirs."""
_YUV_HEAD: Final = 1_000
_IVF_HEAD: Final = 12


def _is_cut_dv(file: BinaryIO, length: int) -> str | None:
    if len(head := _at(file, 0, 4)) < 4:  # noqa: PLR2004 - the bytes before the kind of frame
        return None
    return "its last frame is incomplete" if length % _DV_FRAMES[head[3] >> 7] else None


def yuv_frame_bytes(head: str) -> int | None:
    """Return the size of a frame of YUV4MPEG, by the words of its first line."""
    words = {word[:1]: word[1:] for word in head.split()[1:] if word[:1] != "X"}
    kind = words.get("C", "420")
    layout = next((it for name, it in _YUV_SIZES.items() if kind.startswith(name)), None)
    width, height = words.get("W", ""), words.get("H", "")
    if layout is None or not width.isdecimal() or not height.isdecimal():
        return None
    planes, columns, rows = layout
    wide, high = int(width), int(height)
    samples = wide * high + planes * -(-wide // columns) * -(-high // rows)
    samples += wide * high if "alpha" in kind else 0
    depth = re.search(r"(?:p|mono)(\d+)$", kind)
    return samples * (2 if depth and int(depth[1]) > 8 else 1)  # noqa: PLR2004 - bits


def _is_cut_yuv(file: BinaryIO, length: int) -> str | None:
    head = _at(file, 0, _YUV_HEAD).partition(b"\n")[0]
    size = yuv_frame_bytes(head.decode("latin-1"))
    if size is None:
        return None
    at = len(head) + 1
    for _ in range(_MOST_FRAMES):
        if at >= length:
            return "its last frame is incomplete" if at > length else None
        frame = _at(file, at, _YUV_HEAD).partition(b"\n")[0]
        if not b"FRAME".startswith(frame[:5]):
            return None
        at += len(frame) + 1 + size
    return None


def _is_cut_ivf(file: BinaryIO, length: int) -> str | None:
    at = int.from_bytes(_at(file, 6, 2), "little")
    for _ in range(_MOST_FRAMES):
        if at >= length:
            return "its last frame is incomplete" if at > length else None
        at += _IVF_HEAD + int.from_bytes(_at(file, at, 4), "little")
    return None


_GIF_EXTENSION, _GIF_PICTURE = 0x21, 0x2C


def _is_cut_gif(file: BinaryIO, length: int) -> str | None:
    flags = _at(file, 10, 1)
    at, is_within = 13 + _palette(flags), False
    for _ in range(_MOST_FRAMES):
        if at >= length:
            return "its last picture is incomplete" if is_within or at > length else None
        head = _at(file, at, 10)
        if is_within:
            is_within = head[0] > 0  # an empty block ends a picture
            at += 1 + head[0]
        elif head[0] in {_GIF_EXTENSION, _GIF_PICTURE}:
            is_within = True
            at += 2 if head[0] == _GIF_EXTENSION else 11 + _palette(head[9:])
        else:
            return None  # the trailer, or something else
    return None


def _palette(flags: bytes) -> int:
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _at(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)


def _end(file: BinaryIO, length: int, size: int = _END_BYTES) -> bytes:
    return _at(file, max(0, length - size), size)


def _less_than(declared: int | None, length: int) -> str | None:
    if declared is None or declared <= length:
        return None
    return f"it declares {declared} bytes and has {length}"


def _of_riff(file: BinaryIO, length: int) -> str | None:
    head = _at(file, 0, _RIFF_HEAD)
    if not is_cut_riff(head, length):
        return None
    return _less_than(int.from_bytes(head[4:], "little") + _RIFF_HEAD, length)


def _if(is_cut: bool, what: str) -> str | None:
    return f"its last {what} is incomplete" if is_cut else None


_LOOKS: Final[Mapping[str, Callable[[BinaryIO, int], str | None]]] = {
    "mpegts": lambda f, n: _if(is_cut_transport_stream(_end(f, n, _TS_BYTES)), "packet"),
    "mpeg": lambda f, n: _if(is_cut_program_stream(_end(f, n)), "packet"),
    "ogg": lambda f, n: _if(is_cut_ogg(_end(f, n)), "page"),
    "avi": _of_riff,
    "asf": lambda f, n: _less_than(asf_bytes(_at(f, 0, _END_BYTES)), n),
    "dv": _is_cut_dv,
    "yuv4mpegpipe": _is_cut_yuv,
    "ivf": _is_cut_ivf,
    "gif": _is_cut_gif,
}
"""By the name of ffmpeg's demuxer."""
