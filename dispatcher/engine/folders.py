"""A folder for this user alone, below folders in which no other user can put another in its place.

Laws:
- The folder belongs to the user who runs the engine, has mode 0700, and is no link.
- Every folder above it, and every symbolic link on the way to it, belongs to this user or to root.
- No one else can write to a folder above it, unless its sticky bit is set, as in /tmp: there only
  the owner of a file can rename or remove it. The group may write if it is root's or this user's.

Otherwise another user could have an engine write and delete files of that user's choice. These are
the rules by which OpenSSH judges `~/.ssh`, a little less strict about groups.
"""

import errno
import os
import stat
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

from dispatcher.errors import DispatcherError

__all__ = ["UnsafeFolderError", "private_folder"]

_IS_POSIX: Final = hasattr(os, "geteuid")
_PRIVATE: Final = 0o700
_ROOT: Final = 0
_MOST_LINKS: Final = 40
_RULE: Final = (
    "An engine works only where no other user can put files: in a folder of its own, below folders "
    "that belong to root or to its user and that nobody else can write to"
)


class UnsafeFolderError(DispatcherError):
    """Another user could change what is in the folder; the text says how, and what to do."""

    def __init__(self, path: Path, fault: str, remedy: str) -> None:
        super().__init__(
            f"{path}: {fault}. {_RULE}. {remedy}, or name another folder with --work-dir"
        )


def private_folder(path: Path) -> Path:
    """Return the real path of a folder for this user alone, made with its parents if missing.

    An own folder that others can read but not write is closed to them. Raises `UnsafeFolderError`,
    or `OSError` if it can't be made.
    """
    path = Path.cwd() / path
    if not _IS_POSIX:  # such a system gives each user a temporary directory of its own
        path.mkdir(parents=True, exist_ok=True)
        return path
    folder = _walked(path.parent) / path.name
    with suppress(FileExistsError):
        folder.mkdir(_PRIVATE)
    status = folder.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise UnsafeFolderError(folder, "is a symbolic link", "Remove it")
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid():
            raise UnsafeFolderError(folder, _owner(status), "Remove it, or run as that user")
        if _others_can_write(status):
            raise UnsafeFolderError(
                folder,
                f"others could put files into it (mode {stat.S_IMODE(status.st_mode):04o})",
                "Look at what is in it, and remove it",
            )
        if stat.S_IMODE(status.st_mode) != _PRIVATE:
            os.fchmod(fd, _PRIVATE)
    finally:
        os.close(fd)
    return folder


def _walked(path: Path) -> Path:
    """Go down an absolute path folder by folder, follow its links, and check each; make the rest.

    Returns the real path.
    """
    ahead = deque(path.parts[1:])
    at = Path(path.anchor)
    _check_above(at, at.lstat())
    links = 0
    while ahead:
        name = ahead.popleft()
        if name == "..":
            at = at.parent
            continue
        below = at / name
        with suppress(FileExistsError):
            if not os.path.lexists(below):
                below.mkdir(_PRIVATE)
        status = below.lstat()
        if stat.S_ISLNK(status.st_mode):
            if status.st_uid not in {_ROOT, os.geteuid()}:
                raise UnsafeFolderError(below, f"is a link, and {_owner(status)}", "Remove it")
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            target = below.readlink()
            if target.is_absolute():
                at = Path(target.anchor)
            ahead.extendleft(reversed(target.parts[1 if target.is_absolute() else 0 :]))
        elif stat.S_ISDIR(status.st_mode):
            _check_above(below, status)
            at = below
        else:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(below))
    return at


def _check_above(folder: Path, status: os.stat_result) -> None:
    if status.st_uid not in {_ROOT, os.geteuid()}:
        raise UnsafeFolderError(folder, _owner(status), "Run the engine as that user")
    if _others_can_write(status) and not status.st_mode & stat.S_ISVTX:
        who = "every user" if status.st_mode & stat.S_IWOTH else f"its group ({status.st_gid})"
        raise UnsafeFolderError(
            folder, f"{who} can write to it", f"Take that away with `chmod go-w {folder}`"
        )


def _others_can_write(status: os.stat_result) -> bool:
    if status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and status.st_gid not in {_ROOT, os.getegid()}


def _owner(status: os.stat_result) -> str:
    return f"belongs to another user (uid {status.st_uid})"
