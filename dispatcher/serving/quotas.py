"""What one key can hold of what costs, so that the others have the rest.

Laws:
- A key holds no more than its share, whatever it asks for. So no key takes all places.
- The keys of clients and engines together leave some places to operators.
- What a request holds is given back when it is over, however it ends.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

__all__ = [
    "DEFAULT_KEY_LIMITS",
    "PAGE_BYTES",
    "PIECE_BYTES",
    "Asker",
    "Holding",
    "KeyLimits",
    "Quota",
    "Quotas",
    "Shares",
    "TooManyError",
]

QUESTIONS: Final = 8
"""The most questions about the past at once, including those that wait for a worker process."""
STREAMS: Final = 1_000
TRANSFERS: Final = 256
"""The most files that are uploaded or downloaded at once; each keeps about a MiB of memory."""
KEPT_TRANSFERS: Final = 32
KEPT_STREAMS: Final = 100
PIECE_BYTES: Final = 64 << 10
"""The most of an answer that is handed to its connection at once."""
PAGE_BYTES: Final = 4 << 20
"""A page ends with the event or job that reaches this size."""
UNREAD_KEYS: Final = 8
"""So many keys can have their whole share of unread answers; a quarter is left to operators."""
_MIB: Final = 1 << 20


class KeyLimits(NamedTuple):
    """The shares of one key that can be set."""

    questions: int = 2
    """The most questions about the past at once, of a key that is not an operator's."""
    polls: int = 5_000
    """The most requests for work that wait."""
    unread_mib: int = 32
    """The most MiB of answers that are being made or have not been read."""


DEFAULT_KEY_LIMITS: Final = KeyLimits()


class Asker(NamedTuple):
    """Whose share a request uses: that of the key with this name."""

    name: str
    is_operator: bool


class TooManyError(Exception):
    """A share is used up; the text says which."""


class Shares(NamedTuple):
    """How much of a quota may be held."""

    each: int
    """By one key of a client or an engine."""
    operator: int
    """By one key of an operator."""
    others: int = sys.maxsize
    """By all keys of clients and engines together."""
    all: int = sys.maxsize


class Quota:
    """A kind of what can be held. `state` is its name and its verb, for the text of the error."""

    def __init__(self, state: str, shares: Shares) -> None:
        self.shares = shares
        self.held = 0
        self._state = state
        self._of_key: Counter[str] = Counter()
        self._of_others = 0

    def take(self, asker: Asker, amount: int = 1) -> None:
        """Hold more. `TooManyError` if that is too much; then nothing more is held."""
        shares = self.shares
        share = shares.operator if asker.is_operator else shares.each
        if self._of_key[asker.name] + amount > share:
            self._refuse(share, f" for the key '{asker.name}'")
        if not asker.is_operator and self._of_others + amount > shares.others:
            self._refuse(shares.others, " for clients and engines")
        if self.held + amount > shares.all:
            self._refuse(shares.all, "")
        self._add(asker, amount)

    def give_back(self, asker: Asker, amount: int = 1) -> None:
        """Hold less again."""
        self._add(asker, -amount)
        if not self._of_key[asker.name]:
            del self._of_key[asker.name]

    @contextmanager
    def holding(self, asker: Asker) -> Iterator[None]:
        """Hold one until the block ends. `TooManyError` if that is too much."""
        self.take(asker)
        try:
            yield
        finally:
            self.give_back(asker)

    def _add(self, asker: Asker, amount: int) -> None:
        self.held += amount
        self._of_key[asker.name] += amount
        if not asker.is_operator:
            self._of_others += amount

    def _refuse(self, share: int, whose: str) -> None:
        raise TooManyError(f"{share:,} {self._state}{whose}, which is the most; try again later")


class Holding:
    """The bytes that one request holds of a quota, until `end`."""

    def __init__(self, quota: Quota, asker: Asker) -> None:
        self._quota = quota
        self._asker = asker
        self._amount = 0

    def at_least(self, amount: int) -> None:
        """Hold so much in all, or the key's whole share for what is larger.

        `TooManyError` if that is too much.
        """
        shares = self._quota.shares
        share = shares.operator if self._asker.is_operator else shares.each
        if (more := min(amount, share) - self._amount) > 0:
            self._quota.take(self._asker, more)
            self._amount += more

    def end(self) -> None:
        """Give everything back."""
        if self._amount:
            self._quota.give_back(self._asker, self._amount)
            self._amount = 0


class Quotas:
    """All quotas of a dispatcher."""

    def __init__(self, limits: KeyLimits = DEFAULT_KEY_LIMITS) -> None:
        left = QUESTIONS - 1
        self.questions = Quota(
            "questions about the past are in hand",
            Shares(min(limits.questions, left), left, left, QUESTIONS),
        )
        left = STREAMS - KEPT_STREAMS
        self.streams = Quota("streams are open", Shares(left, left, left, STREAMS))
        left = TRANSFERS - KEPT_TRANSFERS
        self.transfers = Quota(
            "uploads and downloads are under way", Shares(left, left, left, TRANSFERS)
        )
        self.polls = Quota("requests for work wait", Shares(limits.polls, limits.polls))
        share = limits.unread_mib * _MIB
        self.answers = Quota(
            "bytes of answers are not read yet",
            Shares(share, share, share * UNREAD_KEYS * 3 // 4, share * UNREAD_KEYS),
        )
