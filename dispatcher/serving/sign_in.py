"""Signing in to the board: a token that stands for a key for a minute, and can be used once.

A program that has a key asks for a token, and opens the page with it. The page redeems it, and then
has the key without anybody having typed it.

Laws:
- A token is redeemed once, within `LIFETIME_S`. Afterwards it is as unknown as one that never was.
- Tokens and keys are in memory alone, and keys not much longer than their tokens live.
- A key has at most `TOKENS_PER_KEY` tokens; a further one takes the place of its oldest. So there
  are no more than that times the number of keys.

A token is 256 random bits, so none can be guessed. Tokens are looked up by their digests, as keys
are: the time of a lookup may reveal something about digests, but nothing about tokens.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable
from typing import Final, NamedTuple

__all__ = ["LIFETIME_S", "TOKENS_PER_KEY", "SignIns", "UnknownTokenError"]

LIFETIME_S: Final = 60
TOKENS_PER_KEY: Final = 8
TOKEN_BYTES: Final = 32
SWEEP_S: Final = 10
"""How often tokens are looked at that nobody redeems."""


class _Token(NamedTuple):
    """What a token stands for; `secret` is `None` where no key is needed."""

    name: str
    secret: str | None
    ends_s: float


class UnknownTokenError(Exception):
    """A token was never given out, was used, or is too old."""


class SignIns:
    """The tokens that can be redeemed. `clock_s` gives seconds since any fixed moment."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._tokens: dict[bytes, _Token] = {}  # oldest first
        self._sweep: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        self._drop_old()
        return len(self._tokens)

    def begin(self, name: str, secret: str | None) -> str:
        """Make a token for the key with this name and secret."""
        self._drop_old()
        of_key = [digest for digest, token in self._tokens.items() if token.name == name]
        if len(of_key) >= TOKENS_PER_KEY:
            del self._tokens[of_key[0]]
        token = secrets.token_urlsafe(TOKEN_BYTES)
        ends_s = self._clock_s() + LIFETIME_S
        self._tokens[_digest(token)] = _Token(name, secret, ends_s)
        if self._sweep is None:
            self._sweep_later()
        return token

    def redeem(self, token: str) -> str | None:
        """Return the key that a token stands for, once. `UnknownTokenError` if it stands for none.

        `None` means that no key is needed.
        """
        self._drop_old()
        found = self._tokens.pop(_digest(token), None)
        if found is None:
            raise UnknownTokenError
        return found.secret

    def _sweep_later(self) -> None:
        """Drop tokens when they are old, so that no key stays because nobody else signs in."""
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(SWEEP_S, self._swept) if self._tokens else None

    def _swept(self) -> None:
        self._drop_old()
        self._sweep_later()

    def _drop_old(self) -> None:
        now_s = self._clock_s()
        for digest in [it for it, token in self._tokens.items() if token.ends_s <= now_s]:
            del self._tokens[digest]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
