"""The file of a segment, as bytes: zstd frames of lines, metadata, and a seek table.

    frame, frame, …          each a zstd frame with a checksum: the lines of `FRAME_LINES` events
    skippable frame          the `Metadata`, as JSON
    skippable frame          the seek table, by zstd's "seekable format" 0.1.0

Laws:
- Nothing here opens a file. All bytes that are parsed may be damaged or forged: whatever they are,
  the worst that comes of them is a `FormatError`.
- Whoever knows zstd can read the lines, since it passes over skippable frames: `zstd -dc`.
- A frame is independent of the others, so one event costs one frame.
"""

import struct
import sys
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from dispatcher.log.merkle import HASH_BYTES, Frontier, Subtree, leaf_hash

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = [
    "BEST_LEVEL",
    "FOOTER_BYTES",
    "FRAME_LINES",
    "MOST_BYTES",
    "FormatError",
    "FrameFacts",
    "Metadata",
    "Place",
    "add_engines",
    "facts_of",
    "metadata_in",
    "pack",
    "places",
    "seek_table_bytes",
    "subtree_root",
    "trailer",
    "unpack",
]

FRAME_LINES: Final = 4_096
"""Lines of a frame; a power of two. A segment with fewer events has one frame."""
MOST_BYTES: Final = 1 << 28
"""The most that is unpacked at once. Frames are shorter; a seek table that was forged may lie."""
BEST_LEVEL: Final = 22
"""The highest level of compression."""

_METADATA_MAGIC: Final = 0x184D2A5D
_SEEK_TABLE_MAGIC: Final = 0x184D2A5E
_SEEKABLE_MAGIC: Final = 0x8F92EAB1
_HEADER: Final = struct.Struct("<II")
_ENTRY: Final = struct.Struct("<II")
_FOOTER: Final = struct.Struct("<IBI")
FOOTER_BYTES: Final = _FOOTER.size
"""The end of a file, which tells how long its seek table is."""
_CHECKSUMS_BIT: Final = 0x80
_FORMAT: Final = 1


class FormatError(ValueError):
    """Bytes are no segment."""


class FrameFacts(msgspec.Struct, frozen=True):
    """What is known of a frame without unpacking it: its subtree's root, and its earliest time."""

    root: bytes
    earliest: str


class Metadata(msgspec.Struct, frozen=True):
    """What a segment says of itself.

    `engines` has the seqs of the first and the last event of each engine that the events name.
    """

    first: int
    upto: int
    frame_lines: int
    frames: list[FrameFacts]
    engines: dict[str, tuple[int, int]]
    format: int = _FORMAT

    @property
    def earliest(self) -> str:
        """The earliest time of the events."""
        return min(frame.earliest for frame in self.frames)


class Place(NamedTuple):
    """Where a frame is in the file, and how long its lines are."""

    offset: int
    size: int
    plain_size: int


_encode = msgspec.json.Encoder().encode
_metadata_decoder = msgspec.json.Decoder(Metadata)


class _Line(msgspec.Struct, frozen=True, gc=False):
    time: str


class _Named(msgspec.Struct, frozen=True, gc=False):
    engine_id: str | None = None


_time_decoder = msgspec.json.Decoder(_Line)
_name_decoder = msgspec.json.Decoder(_Named)


def pack(lines: Sequence[bytes], level: int) -> bytes:
    """Return the frame of some lines."""
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: level,
        zstd.CompressionParameter.checksum_flag: 1,
    }
    return zstd.compress(b"\n".join(lines) + b"\n", options=options)


def unpack(frame: bytes, plain_size: int) -> list[bytes]:
    """Return the lines of a frame, which are so long together. Raises `FormatError`."""
    if plain_size > MOST_BYTES:
        raise FormatError(f"its seek table names a frame of {plain_size:,} bytes")
    try:
        decompressor = zstd.ZstdDecompressor()
        plain = decompressor.decompress(frame, max_length=plain_size + 1)
    except zstd.ZstdError as error:
        raise FormatError(f"it can't be unpacked: {error}") from error
    if not decompressor.eof or decompressor.unused_data or len(plain) != plain_size:
        raise FormatError("it is longer or shorter than the seek table says")
    lines = plain.split(b"\n")
    if lines.pop():
        raise FormatError("its last line has no end")
    return lines


def facts_of(lines: Iterable[bytes]) -> FrameFacts:
    """Return the facts about a frame with these lines. `FormatError` if one is no line."""
    frontier, earliest = Frontier(), None
    for line in lines:
        frontier.append(leaf_hash(line))
        try:
            time = _time_decoder.decode(line).time
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FormatError(f"it has what is no line of a log: {error}") from error
        earliest = time if earliest is None or time < earliest else earliest
    return FrameFacts(frontier.root(), earliest or "")


def add_engines(engines: dict[str, tuple[int, int]], lines: Iterable[bytes], first: int) -> None:
    """Add to `engines`, see `Metadata`, those that lines from seq `first` on name."""
    for seq, line in enumerate(lines, first):
        try:
            engine_id = _name_decoder.decode(line).engine_id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue  # of a later version, for all that is known
        if engine_id is not None:
            engines[engine_id] = (engines.get(engine_id, (seq, seq))[0], seq)


def subtree_root(roots: Sequence[bytes], wanted: Subtree) -> bytes:
    """Return the root of a subtree over `roots`, which are those of the level 0 of `wanted`."""
    frontier = Frontier()
    for root in roots[wanted.number << wanted.level : (wanted.number + 1) << wanted.level]:
        frontier.append(root)
    if frontier.size != 1 << wanted.level:
        raise FormatError(f"it lacks subtree {wanted.number} of level {wanted.level}")
    return frontier.root()


def trailer(metadata: Metadata, sizes: Sequence[tuple[int, int]]) -> bytes:
    """Return what follows frames of these sizes, packed and plain: metadata and seek table."""
    text = _encode(metadata)
    skipped = _HEADER.pack(_METADATA_MAGIC, len(text)) + text
    entries = [_ENTRY.pack(*size) for size in (*sizes, (len(skipped), 0))]
    table = b"".join(entries) + _FOOTER.pack(len(entries), 0, _SEEKABLE_MAGIC)
    return skipped + _HEADER.pack(_SEEK_TABLE_MAGIC, len(table)) + table


def seek_table_bytes(footer: bytes) -> int:
    """Return the length of the seek table that ends with this footer. Raises `FormatError`."""
    if len(footer) != FOOTER_BYTES:
        raise FormatError("it is too short")
    count, descriptor, magic = _FOOTER.unpack(footer)
    if magic != _SEEKABLE_MAGIC or descriptor & _CHECKSUMS_BIT:
        raise FormatError("it does not end with a seek table")
    size: int = _HEADER.size + count * _ENTRY.size + FOOTER_BYTES
    return size


def places(table: bytes, file_size: int) -> list[Place]:
    """Return where the frames are, the metadata's last, by a seek table. Raises `FormatError`."""
    if len(table) < _HEADER.size + _ENTRY.size + FOOTER_BYTES:
        raise FormatError("its seek table names no frame")
    magic, size = _HEADER.unpack_from(table)
    if magic != _SEEK_TABLE_MAGIC or size != len(table) - _HEADER.size:
        raise FormatError("its seek table is damaged")
    found, offset = list[Place](), 0
    for packed, plain in _ENTRY.iter_unpack(table[_HEADER.size : -FOOTER_BYTES]):
        found.append(Place(offset, packed, plain))
        offset += packed
    if offset + len(table) != file_size:
        raise FormatError("its seek table does not fit the length of the file")
    return found


def metadata_in(frame: bytes) -> Metadata:
    """Return the metadata in a skippable frame. Raises `FormatError`."""
    if len(frame) < _HEADER.size or _HEADER.unpack_from(frame) != (
        _METADATA_MAGIC,
        len(frame) - _HEADER.size,
    ):
        raise FormatError("it has no metadata before the seek table")
    try:
        metadata = _metadata_decoder.decode(frame[_HEADER.size :])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"its metadata can't be read: {error}") from error
    if metadata.format != _FORMAT:
        raise FormatError(f"it is of format {metadata.format}, which a newer dispatcher wrote")
    lines = metadata.frame_lines
    if lines < 1 or lines & (lines - 1) or lines > FRAME_LINES * 256:
        raise FormatError("its frames have no number of lines that a segment's can have")
    events = metadata.upto - metadata.first + 1
    if events < 1 or events != lines * len(metadata.frames):
        raise FormatError("its metadata has another number of frames than of events")
    if any(len(it.root) != HASH_BYTES for it in metadata.frames):
        raise FormatError("its metadata has what is no hash")
    return metadata
