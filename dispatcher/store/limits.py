"""How much a store holds, and for how long."""

from typing import Final, NamedTuple

__all__ = ["DEFAULT_STORE_LIMITS", "StoreLimits"]

GB: Final = 1_000_000_000
DAY_S: Final = 86_400.0


class StoreLimits(NamedTuple):
    """The bounds of a store."""

    max_bytes: int = 1_000 * GB
    """All files and all that has come of uploads, together."""
    max_file_bytes: int = 200 * GB
    """The largest file."""
    keep_s: float = 14 * DAY_S
    """How long a file stays that nobody uses; what a live job needs stays longer."""
    keep_parts_s: float = 1 * DAY_S
    """How long what has come of an upload stays that nobody goes on with."""
    reserve_bytes: int = 1 * GB
    """What is left free on the disk, which may be that of the log too."""
    stall_s: float = 30
    """How long an upload may stand still before its connection is given up."""
    parts_of_a_key: int = 1_000
    """The most unfinished uploads of one key."""


DEFAULT_STORE_LIMITS: Final = StoreLimits()
