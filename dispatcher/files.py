"""Write files atomically: make a draft, sync it, move it into place, and sync the folder.

Laws:
- After an error, a full disk or a power cut, a path has the complete new file, the complete old
  file, or no file. It never has a part of one.
- When the call returns, the file's name is on disk too. This needs a sync of the folder.
- After an error the draft is removed. The draft of a process that was killed does no harm: the
  next writer that uses its name removes it.
- With `replace=False` an existing file is never replaced.
- A draft is a new file. Whatever another user puts under its name meanwhile, such as a link to a
  file elsewhere, is not written to.

If only the last step fails, the sync of the folder, an error is raised although the complete file
has its name already.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["drafted", "foreign_owner", "new", "put", "sync_folder", "write"]

_IS_WINDOWS: Final = os.name == "nt"
# The errors of file systems that can't sync a folder, such as some network file systems.
_NO_SYNC: Final = frozenset({errno.EINVAL, errno.EBADF, errno.ENOTSUP})


def write(
    path: Path, content: bytes, draft: Path, *, mode: int = 0o666, replace: bool = True
) -> None:
    """Write a file with this content; see `drafted`. The umask applies to `mode`."""
    with drafted(path, draft, replace=replace), new(draft, mode) as file:
        file.write(content)


@contextmanager
def new(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield a new file, open for writing. Raises `FileExistsError` if there is one, or a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        yield file


@contextmanager
def drafted(path: Path, draft: Path, *, replace: bool = True) -> Iterator[None]:
    """Move the file that the block makes at `draft` to `path`, on the same file system.

    Raises `FileExistsError` if `path` exists and `replace` is false.
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
    """Sync a finished draft and move it to `path`, durably; see `drafted`."""
    _sync_content(draft)
    if replace:
        draft.replace(path)
    else:
        _move_without_replacing(draft, path)
    sync_folder(path.parent)


def foreign_owner(status: os.stat_result, folder: Path) -> int | None:
    """Return the user id of a file's owner, if that is another user who may have planted it.

    It is not if it is this user, root, or the owner of the `folder` that the file is in: they may
    do there what they like.
    """
    if _IS_WINDOWS or status.st_uid in {0, os.geteuid(), folder.stat().st_uid}:
        return None
    return status.st_uid


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that the names of its files are on disk, if the system supports that."""
    if _IS_WINDOWS:  # can't open a folder, and needs no such sync
        return
    try:
        fd = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written but not read
        return
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(fd)


def _sync_content(path: Path) -> None:
    # Windows syncs only a file that is open for writing. Elsewhere the file may be read-only.
    fd = os.open(path, os.O_RDWR if _IS_WINDOWS else os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _move_without_replacing(draft: Path, path: Path) -> None:
    """Move a file to a path that must not exist. `os.link` never replaces a file."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError as error:  # no hard links: this check is the best possible
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        draft.rename(path)
    else:
        draft.unlink()
