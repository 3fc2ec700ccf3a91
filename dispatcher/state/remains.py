"""What an older log has left at the place of a new one.

Law: a log that is missing is never silently replaced by an empty one.
"""

import os
from pathlib import Path
from typing import Final

from dispatcher.log import LogError
from dispatcher.log.segments import SUFFIX, folder_of
from dispatcher.state.snapshots import Snapshots

__all__ = ["key_path", "refuse_remains"]

_REMEDY: Final = (
    "Put the log back, or restore a backup of it (docs/restore.md); or, if a new log is wanted "
    "here, say so once with `dispatcher serve --new`"
)


def key_path(log_path: Path) -> Path:
    """Return where the log's signing key is, unless the operator names another place."""
    return log_path.with_name(log_path.name + ".key")


def refuse_remains(log_path: Path, *, is_replica: bool = False) -> None:
    """Raise `LogError` if there was a log at `log_path`, where a new one is about to be made.

    Where a replica is about to be made, a key is no such sign: all dispatchers have the same one.
    An empty log leaves no sign but its key, and is itself still there when it is opened again.
    """
    key, snapshots = key_path(log_path), Snapshots(log_path)
    if newest := max((seq for seq, _ in snapshots.found()), default=0):
        raise LogError(
            f"{log_path}: there is no log here, but there was one, with at least {newest:,} "
            f"events: {snapshots.directory} has its snapshots. {_REMEDY}"
        )
    if any(folder_of(log_path).glob(f"*{SUFFIX}")):
        raise LogError(
            f"{log_path}: there is no log here, but there was one: {folder_of(log_path)} has its "
            f"older events. {_REMEDY}"
        )
    if not is_replica and os.path.lexists(key):
        raise LogError(
            f"{log_path}: there is no log here, but there was one: {key} is the key that signed "
            f"its checkpoints. {_REMEDY}"
        )
