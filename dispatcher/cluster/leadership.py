"""Who leads, as far as a dispatcher has heard, and when it should claim the lead itself.

Laws:
- A leader is heard of by its beats and by messages in the stream. Nobody claims before it has heard
  of none for `GONE_S`. That is longer than the leader relies on an acknowledged append (`LEASE_S`
  in `log`), which others have seen, or their claims are refused.
- If nobody listens for commands any more, the leader is gone, and is replaced soon. If somebody
  does, it may only be slow: others wait for `SILENCE_S`.
- Each waits a little longer than that, by chance, so that not all claim at once.
- Whoever stood still itself begins to wait anew.
"""

import random
from collections.abc import Callable
from typing import Final

import msgspec

__all__ = ["BEAT_S", "GONE_S", "SILENCE_S", "Beat", "Leadership"]

BEAT_S: Final = 0.3
"""The interval between beats."""
GONE_S: Final = 0.25
"""The shortest silence after which a leader is replaced."""
SUSPECT_S: Final = 0.5
"""After this silence somebody asks whether anybody listens for commands."""
SILENCE_S: Final = 2.0
"""The silence after which a leader is replaced in any case."""
JITTER: Final = 0.25
"""Up to this part of it is added to each wait."""
STOOD_STILL_S: Final = 1.0


class Beat(msgspec.Struct, frozen=True):
    """What each dispatcher tells all others: where it stands, and whether it leads."""

    member: str
    term: int
    position: int
    seq: int
    leads: bool = False
    fault: str | None = None
    url: str | None = None


class Leadership:
    """What one dispatcher knows of the leader. `clock` gives monotonic seconds."""

    def __init__(
        self, clock: Callable[[], float], chance: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._is_gone = False
        self.beat: Beat | None = None
        self.peers: dict[str, tuple[Beat, float]] = {}
        self._heard_s = self._looked_s = clock()
        self._factor = 1.0
        self.heard()

    def heard(self) -> None:
        """Take note of a sign of life of a leader."""
        self._heard_s = self._clock()
        self._is_gone = False
        self._factor = 1 + self._chance() * JITTER

    def take(self, beat: Beat, term: int) -> None:
        """Take note of a beat. One of an older term than the newest known is none of a leader."""
        self.peers[beat.member] = beat, self._clock()
        if beat.leads and beat.term >= term:
            self.beat = beat
            self.heard()

    def gone(self) -> None:
        """Take note that nobody listens for commands."""
        self._is_gone = True

    @property
    def is_suspect(self) -> bool:
        """Whether to find out if anybody still listens for commands."""
        return not self._is_gone and self._silence_s() > SUSPECT_S

    @property
    def is_heard(self) -> bool:
        """Whether a leader has been heard of lately."""
        return self.beat is not None and self._silence_s() < SILENCE_S

    def is_due(self) -> bool:
        """Whether to claim the lead now. To be asked often."""
        now_s = self._clock()
        if now_s - self._looked_s > STOOD_STILL_S:
            self.heard()
        self._looked_s = now_s
        least_s = GONE_S if self._is_gone else SILENCE_S
        return self._silence_s() > least_s * self._factor

    def _silence_s(self) -> float:
        return self._clock() - self._heard_s
