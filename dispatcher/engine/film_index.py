"""The index of a film: when each of its pictures is shown, and at which of them it can be cut.

It is made of packets alone, without decoding: of those of a source before it is split, and of those
of an output, to see that it has the pictures that it must have.

Laws:
- A time is an integer, in ticks of the stream's time base.
- Pictures before the first key frame, and those that the file says are not to be shown, are none.
- What can't be told exactly of the packets is a fault: a film with a fault is not split.
- Eight bytes are kept of each picture.
"""

from array import array
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import sha256

from dispatcher.engine.scan import NO_TIME, PacketScan, packet_of

__all__ = ["FilmIndex", "digest_of_times"]

_KEY, _CORRUPT, _DISCARDED = 1, 2, 4


@dataclass
class FilmIndex(PacketScan):
    """A scan that also notes the pictures of one stream: the one of the number `film` in it."""

    film: int = 0
    time_base: Fraction = Fraction(0)
    fault: str | None = None
    """Why the times of the pictures are not known exactly; `None` if they are."""
    _times: "array[int]" = field(default_factory=lambda: array("q"))
    _keys: list[int] = field(default_factory=list)
    _last: tuple[int, int] = (NO_TIME, 0)
    _dts: int = NO_TIME

    def read(self, line: str) -> None:
        """Count one line."""
        super().read(line)
        if line.startswith(f"#tb {self.film}:"):
            self.time_base = Fraction(line.rpartition(" ")[2])
        elif (packet := packet_of(line)) is not None and packet.stream == self.film:
            self._add(packet.dts, packet.pts, packet.duration, packet.flags)

    def times(self) -> list[int]:
        """Return when the pictures are shown, in order."""
        first = self._keys[0] if self._keys else 0
        return sorted(it for it in self._times if it >= first)

    def keys(self) -> list[int]:
        """Return when the key frames are shown, in order."""
        return sorted(self._keys)

    @property
    def first(self) -> int | None:
        """When the key frame is shown that is stored first; `None` if there is none yet."""
        return self._keys[0] if self._keys else None

    def end(self) -> int:
        """Return when the last picture ends. One of no length lasts as long as the one before."""
        last, duration = self._last
        if duration > 0:
            return last + duration
        times = self.times()
        return last + (times[-1] - times[-2] if len(times) > 1 else 1)

    def twice(self) -> bool:
        """Whether two pictures are shown at one time."""
        return len(set(self._times)) != len(self._times)

    def before_first(self) -> int | None:
        """Return when the last picture before the first key frame would be shown, if there is one.

        It is stored after that, and made of pictures that are not there.
        """
        return max((it for it in self._times if it < self._keys[0]), default=None)

    def _add(self, dts: int, pts: int, duration: int, flags: int) -> None:
        if flags & _DISCARDED:
            return
        if pts <= NO_TIME:
            self.fault = self.fault or "it has pictures without a time"
            return
        if flags & _CORRUPT:
            self.fault = self.fault or "it has damaged packets"
        if NO_TIME < dts <= self._dts:
            self.fault = self.fault or "the times of its packets do not grow"
        self._dts = dts
        self._times.append(pts)
        if flags & _KEY:
            self._keys.append(pts)
        if pts > self._last[0]:
            self._last = pts, duration


def digest_of_times(times: list[int], begins: int) -> str:
    """Return the SHA-256 of pictures' times, as `Segment.times_sha256` has it."""
    digest = sha256()
    for time in times:
        digest.update((time - begins).to_bytes(8, "big", signed=True))
    return digest.hexdigest()
