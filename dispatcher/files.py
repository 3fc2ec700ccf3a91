"""Files that come to be whole: made aside, synced, moved into place, and the folder synced.

Laws:
- Under its name a file is whole and on disk, or it is not there, or what stood there still is: not
  half of it after an error, a full disk or a power cut.
- Once it has been put there, its name is on disk too; that takes a sync of the folder.
- A draft is gone after an error. One of a process that was killed is in nobody's way: the next one
  of that name begins without it.
- What is not to be replaced never is.

If only the last step fails, the sync of the folder, that is an error, but the whole file has its
name already.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

__all__ = ["drafted", "put", "sync_folder", "write"]

_IS_WINDOWS: Final = os.name == "nt"
# What file systems say that sync no folders, such as some on a network.
_NO_SYNC: Final = frozenset({errno.EINVAL, errno.EBADF, errno.ENOTSUP})


def write(
    path: Path, content: bytes, draft: Path, *, mode: int = 0o666, replace: bool = True
) -> None:
    """Make a file with this content; see `drafted`. `mode` is less what the umask takes away."""
    with drafted(path, draft, replace=replace):
        draft.touch(mode, exist_ok=False)  # so that it has its mode before it has content
        draft.write_bytes(content)


@contextmanager
def drafted(path: Path, draft: Path, *, replace: bool = True) -> Iterator[None]:
    """Put at `path` what the block makes at `draft`, which is on the same file system.

    `FileExistsError` if something stands at `path` that is not to be replaced.
    """
    draft.unlink(missing_ok=True)
    try:
        yield
        put(draft, path, replace=replace)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def put(draft: Path, path: Path, *, replace: bool = True) -> None:
    """Give a finished file its place, durably; see `drafted`."""
    _sync_content(draft)
    if replace:
        draft.replace(path)
    else:
        _name(draft, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names of a folder's files to the disk, as far as the system can do that."""
    if _IS_WINDOWS:  # opens no folders, and writes names without being asked
        return
    try:
        fd = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder to put things into, which may not be looked into
        return
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(fd)


def _sync_content(path: Path) -> None:
    # Windows syncs only what is open for writing; elsewhere a file may be one that can't be.
    fd = os.open(path, os.O_RDWR if _IS_WINDOWS else os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _name(draft: Path, path: Path) -> None:
    """Move a file to a place where nothing stands. A link is never made over something."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError as error:  # a file system without hard links: the best that can be done there
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        draft.rename(path)
    else:
        draft.unlink()
