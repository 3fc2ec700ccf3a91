"""Count the packets of a file while ffmpeg reads it: what each stream holds, and from when to when.

ffmpeg's muxer `framecrc` writes a line for each packet. It is a second output of the process that
encodes, so that the source is read once:

    #tb 0: 1/12800
    #media_type 0: video
    0,       1024,       2048,      512,     1711, 0x27e4cfc6, F=0x0

that is: stream, dts, pts, duration, size, checksum, and flags unless it is just a key frame.

Laws:
- Nothing is kept but sums: a film of any length takes the same memory.
- Times are in seconds since the start of the file, as ffmpeg counts them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple

__all__ = ["NO_TIME", "Packet", "PacketScan", "Track", "packet_of"]

WHOLE_S: Final = (-inf, inf)
NO_TIME: Final = -(1 << 62)
"""A packet whose time is not above this has none."""
_KEY, _CORRUPT, _DISCARDED = 1, 2, 4
_FLAGS: Final = re.compile(r", F=0x([0-9A-Fa-f]+)")


class Packet(NamedTuple):
    """A packet: of which stream of the scan, its times in ticks, and its flags."""

    stream: int
    dts: int
    pts: int
    duration: int
    flags: int


def packet_of(line: str) -> Packet | None:
    """Read a line of framecrc; `None` if it is not one of a packet."""
    try:
        stream, dts, pts, duration, _ = line.split(",", 4)
        found = _FLAGS.search(line)
        flags = int(found[1], 16) if found else _KEY
        return Packet(int(stream), int(dts), int(pts), int(duration), flags)
    except ValueError:
        return None


@dataclass
class Track:
    """The packets of one stream. Without any, `end_s` is `None`."""

    kind: str = "unknown"
    tick_s: float = 0.0
    packets: int = 0
    shown: int = 0
    """How many of them are to be shown: not those before the start."""
    corrupt: int = 0
    since_corrupt: int = 0
    """How many packets came after the last corrupt one; all, if none was."""
    first_s: float | None = None
    last_s: float | None = None
    """When the last packet to be shown begins, of those before the end of the part."""
    begins_s: float | None = None
    """When the first packet of the part begins."""
    end_s: float | None = None
    gap_s: float = 0.0
    """The longest time between a packet's end and the next packet."""
    part_s: tuple[float, float] = WHOLE_S
    """The part that is wanted: packets are stored in another order than they are shown in."""
    _until: float | None = None

    def add(self, dts: int, pts: int, duration: int, flags: int) -> None:
        """Count a packet. Of one that is not to be shown only the place in the file counts."""
        if dts <= NO_TIME:
            dts = pts
        if pts <= NO_TIME:
            pts = dts
        self.packets += 1
        is_corrupt = bool(flags & _CORRUPT)
        self.corrupt += is_corrupt
        self.since_corrupt = 0 if is_corrupt else self.since_corrupt + 1
        if pts <= NO_TIME:
            return
        duration_s = max(duration, 0) * self.tick_s
        if self._until is not None:
            self.gap_s = max(self.gap_s, dts * self.tick_s - self._until)
        self._until = dts * self.tick_s + duration_s
        if flags & _DISCARDED:
            return
        begin_s = pts * self.tick_s
        self.shown += begin_s >= 0
        self.first_s = begin_s if self.first_s is None else min(self.first_s, begin_s)
        if begin_s < self.part_s[1]:
            self.last_s = begin_s if self.last_s is None else max(self.last_s, begin_s)
        if self.part_s[0] <= begin_s < self.part_s[1]:
            self.begins_s = begin_s if self.begins_s is None else min(self.begins_s, begin_s)
        end_s = begin_s + duration_s
        self.end_s = end_s if self.end_s is None else max(self.end_s, end_s)


@dataclass
class PacketScan:
    """What ffmpeg is to scan, as it selects streams, and what it has found so far."""

    maps: Sequence[str] = ("0:V?", "0:a?", "0:s?")
    tracks: dict[int, Track] = field(default_factory=dict)
    """By the number of the stream in the scan; what ffmpeg maps there says which it is."""
    part_s: tuple[float, float] = WHOLE_S
    """From when to when the part is that is wanted."""

    def output(self, place: str) -> list[str]:
        """Return the arguments for the output that `read` understands."""
        # Without a bound, ffmpeg holds a whole film back until the next subtitle comes.
        return [
            *(word for name in self.maps for word in ("-map", name)),
            *("-c", "copy", "-max_interleave_delta", "1000000", "-f", "framecrc", place),
        ]

    def read(self, line: str) -> None:
        """Count one line of that output. What is no such line is ignored."""
        try:
            if line.startswith("#"):
                self._declare(*line[1:].split(maxsplit=2))
            elif (packet := packet_of(line)) is not None:
                self._track(packet.stream).add(*packet[1:])
        except (ValueError, TypeError, ZeroDivisionError):
            return

    @property
    def end_s(self) -> float:
        """When the last packet of all streams ends."""
        return max((t.end_s for t in self.tracks.values() if t.end_s is not None), default=0.0)

    @property
    def length_s(self) -> float:
        """How long it takes from the first packet to the end of the last."""
        begins = [t.first_s for t in self.tracks.values() if t.first_s is not None]
        return max(0.0, self.end_s - min(begins, default=0.0))

    def _declare(self, name: str, stream: str, value: str) -> None:
        match name:
            case "tb":
                top, bottom = value.split("/")
                self._track(int(stream.rstrip(":"))).tick_s = int(top) / int(bottom)
            case "media_type":
                self._track(int(stream.rstrip(":"))).kind = value.strip()
            case _:
                pass

    def _track(self, stream: int) -> Track:
        return self.tracks.setdefault(stream, Track(part_s=self.part_s))
