"""`store:` URLs: a file of the dispatcher's store, named by the SHA-256 of its bytes.

    store:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08/film.mov

Laws:
- The digest alone says which bytes are meant. The name is for people and for what an output is
  called; it may be missing, and two URLs with one digest and different names mean the same file.
- A digest has one spelling: 64 hexadecimal digits in lower case.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, Protocol, Self
from urllib.parse import quote, unquote

__all__ = ["ABILITY", "PREFIX", "StoreUrl", "is_sha256", "sha256_of"]

PREFIX: Final = "store:"
ABILITY: Final = "store"
"""What an engine tells (`abilities`) that can have sources from its dispatcher's store."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES: Final = 1 << 20


class Readable(Protocol):
    """A file that is open for reading bytes."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Read into a buffer; gives how many bytes."""


class StoreUrl(NamedTuple):
    """A file of the store, and what it is called."""

    sha256: str
    name: str = ""

    @classmethod
    def parse(cls, url: str) -> Self | None:
        """Read a URL; `None` if it is none of the store, or has no digest."""
        if not url.startswith(PREFIX):
            return None
        sha256, _, name = url.removeprefix(PREFIX).partition("/")
        return cls(sha256, unquote(name)) if is_sha256(sha256) else None

    def __str__(self) -> str:
        """Return the URL."""
        return f"{PREFIX}{self.sha256}" + (f"/{quote(self.name, safe='')}" if self.name else "")


def is_sha256(text: str) -> bool:
    """Whether a text is a digest, in its one spelling."""
    return _SHA256.fullmatch(text) is not None


def sha256_of(
    file: Path | Readable,
    progress: Callable[[int], None] = lambda _: None,
    *,
    is_over: Callable[[], bool] = lambda: False,
) -> str:
    """Hash a file, from where it stands if it is open.

    `progress` is called with the number of bytes of each step. When `is_over` says so, the digest
    is of what was read until then.
    """
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return sha256_of(opened, progress, is_over=is_over)
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK_BYTES))
    while not is_over() and (size := file.readinto(buffer)):
        digest.update(buffer[:size])
        progress(size)
    return digest.hexdigest()
