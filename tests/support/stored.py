"""Films for the store, which are no films: bytes of a known SHA-256."""

import hashlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from dispatcher.store import Store

__all__ = ["FILM", "SHA256", "Clock", "bytes_of", "files_in", "filled", "in_pieces"]

FILM: Final = random.Random(7).randbytes(1_500_000)
"""More than is written at once, several times."""
SHA256: Final = hashlib.sha256(FILM).hexdigest()
_PIECE: Final = 65_537


class Clock:
    """A clock that stands still until it is set, at a time that files may have."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


async def in_pieces(film: bytes) -> AsyncIterator[bytes]:
    """Yield the bytes as a connection does: some at a time."""
    for first in range(0, len(film), _PIECE):
        yield film[first : first + _PIECE]


async def filled(store: Store, film: bytes, owner: str = "somebody") -> str:
    """Put a film into a store; gives its SHA-256."""
    name, size = hashlib.sha256(film).hexdigest(), len(film)
    done = await store.receive(name, owner, in_pieces(film), at=None, length=size, total=size)
    assert done.sha256 == name
    return name


async def bytes_of(store: Store, sha256: str) -> bytes:
    """Read all of a file of a store."""
    size = store.use(sha256)
    assert size is not None
    return b"".join([piece async for piece in store.read(sha256, 0, size)])


def files_in(folder: Path) -> list[str]:
    """Name the files of a store, its lock aside."""
    found = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return sorted(str(it.relative_to(folder)) for it in found if it.name != "lock")
