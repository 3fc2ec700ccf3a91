"""How much a store holds, and what those who are adding to it have been promised."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dispatcher.store.errors import StoreFullError
from dispatcher.store.limits import StoreLimits

__all__ = ["Room"]


class Room:
    """The bytes of a store. `free_bytes` says how much is free on the disk."""

    def __init__(self, limits: StoreLimits, free_bytes: Callable[[], int]) -> None:
        self._limits = limits
        self._free_bytes = free_bytes
        self._promised = 0
        self.used = 0

    @contextmanager
    def promised(self, more: int) -> Iterator[Callable[[int], None]]:
        """Keep room for so many bytes until the block ends; it tells of those that have come.

        Raises `StoreFullError` if there is none.
        """
        if more > self._limits.max_bytes - self.used - self._promised:
            raise StoreFullError(
                f"the store has no room for {more:,} more bytes (--store-max-gb); wait until "
                "something is swept, or have its operator give it more"
            )
        if more > self._free_bytes() - self._promised - self._limits.reserve_bytes:
            raise StoreFullError(
                f"the store's disk has no room for {more:,} more bytes; have its operator make some"
            )
        self._promised += more
        left = more

        def come(size: int) -> None:
            nonlocal left
            left -= size
            self._promised -= size
            self.used += size

        try:
            yield come
        finally:
            self._promised -= left
