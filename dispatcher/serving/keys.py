"""API keys in force: a key has a name, which identifies the caller, and a role, which limits it.

Laws:
- A key itself is kept nowhere, only its digest.
- Names are unique, and so are keys: the actor of an event is one key.

A plain SHA-256, without salt or stretching, is enough. Salt and stretching protect passwords that
can be guessed; a key made here is 256 random bits, and every value is equally likely.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from dispatcher.serving.keys_file import (
    ANONYMOUS,
    Key,
    KeysError,
    Role,
    read_keys,
    require_distinct,
)

__all__ = ["ANONYMOUS", "ApiKeys", "Key", "KeysError", "Role"]


class ApiKeys:
    """The keys in force: the `given` ones, which are fixed, and those of a file, as last read.

    The constructor and `reload` raise `KeysError` if the file can't be used.

    Keys are looked up by digest. The time of a lookup may reveal something about digests, but
    nothing about keys: a guess with a similar digest is no nearer to the key.
    """

    def __init__(self, given: Iterable[Key] = (), path: Path | None = None) -> None:
        self._given = tuple(given)
        self.path = path
        self._keys = self._read()

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, secret: bytes) -> Key | None:
        """Return the key with this secret, or `None`."""
        return self._keys.get(hashlib.sha256(secret).digest())

    def reload(self) -> None:
        """Read the file again. If it can't be used, the keys in force don't change."""
        self._keys = self._read()

    def _read(self) -> dict[bytes, Key]:
        keys = self._given
        if self.path is not None:
            keys += tuple(read_keys(self.path))
            require_distinct(keys, self.path)
            if not keys:
                raise KeysError(
                    f"{self.path}: there is no key in it, so nobody could ask for anything; make "
                    f"one with `dispatcher key new NAME --role ROLE --keys {self.path}`"
                )
        return {key.sha256: key for key in keys}
