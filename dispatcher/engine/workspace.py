"""The directory in which an engine works, and the engine's id.

Laws:
- On one machine only one process of a user has a given engine id: it locks the id's directory while
  it runs.
- No other user can put anything into the directory (see `folders`).
- The files that a dead engine left in its directory are removed when the next one takes it over,
  except those that the journal still needs.
"""

import hashlib
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self
from urllib.parse import quote

from dispatcher.engine.folders import private_folder
from dispatcher.engine.journal import JOB_FOLDER
from dispatcher.errors import DispatcherError
from dispatcher.locks import FileLock, LockHeldError

__all__ = ["Workspace", "WorkspaceError", "default_work_dir", "file_name"]

_MAX_NAME = 100
_DIGEST = 12


class WorkspaceError(DispatcherError):
    """The directory can't be used; the text says why."""


def default_work_dir() -> Path:
    """Return where engines of this user work: /var/lib/… for root, else ~/.local/state/….

    Elsewhere than on Linux it is where that system has such files.
    """
    import platformdirs  # noqa: PLC0415 - only an engine needs it

    name = "dispatcher-engine"
    return platformdirs.user_state_path(name, appauthor=False, use_site_for_root=True)


def file_name(text: str) -> str:
    """Make a file name from any text: one path component, not hidden, of limited length.

    Different texts give different names.
    """
    name = re.sub(r"^\.", "%2E", quote(text, safe=" @+=,", errors="surrogatepass")) or "%"
    if len(name) <= _MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
    return f"{name[: _MAX_NAME - _DIGEST - 1]}-{digest}"


class Workspace:
    """An engine's directory below the work directory, locked until `release` is called."""

    def __init__(self, engine_id: str, path: Path, lock: FileLock) -> None:
        self.engine_id = engine_id
        self.path = path
        self._lock = lock

    @classmethod
    def claim(cls, work_dir: Path, engine_id: str | None = None) -> Self:
        """Lock the directory of an id. Without one, derive a free id from the host's name.

        Raises `WorkspaceError`, or `UnsafeFolderError` if another user could write there.
        """
        if engine_id is not None:
            try:
                return cls._take(work_dir, engine_id)
            except LockHeldError as error:
                raise WorkspaceError(
                    f"engine {engine_id} runs on this machine already (process {error.holder}); "
                    "give this one another --id"
                ) from error
        host = socket.gethostname()
        for number in count(1):
            try:
                return cls._take(work_dir, host if number == 1 else f"{host}-{number}")
            except LockHeldError:
                continue
        raise AssertionError  # count() does not end

    @classmethod
    def claim_many(cls, work_dir: Path, engine_id: str | None, jobs: int) -> list[Self]:
        """Lock the directories of several ids: NAME-1, NAME-2, … for the name NAME.

        Without a name, they are the first of these that are free for the host's. None stays locked
        if one can't be. Raises what `claim` raises.
        """
        if jobs == 1:
            return [cls.claim(work_dir, engine_id)]
        claimed: list[Self] = []
        try:
            for number in count(1):
                if engine_id is not None:
                    claimed.append(cls.claim(work_dir, f"{engine_id}-{number}"))
                else:
                    with suppress(LockHeldError):
                        claimed.append(cls._take(work_dir, f"{socket.gethostname()}-{number}"))
                if len(claimed) == jobs:
                    break
        except DispatcherError:
            for workspace in claimed:
                workspace.release()
            raise
        return claimed

    @classmethod
    def _take(cls, work_dir: Path, engine_id: str) -> Self:
        path = (work_dir / file_name(engine_id)).absolute()
        try:
            path = private_folder(path)
            lock = FileLock(path / "lock")
        except OSError as error:
            raise WorkspaceError(
                f"{path}: can't be used to work in: {error.strerror}; name another folder with "
                "--work-dir"
            ) from error
        return cls(engine_id, path, lock)

    @contextmanager
    def job_folder(self) -> Iterator[Path]:
        """Yield an empty directory, which is removed when the block ends."""
        with TemporaryDirectory(prefix=JOB_FOLDER, dir=self.path) as folder:
            yield Path(folder)

    def sweep(self) -> None:
        """Remove the job directories that a dead engine left."""
        for leftover in self.path.glob(f"{JOB_FOLDER}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    @property
    def free_gb(self) -> float:
        """Free space on the directory's disk, in GB."""
        return round(shutil.disk_usage(self.path).free / 1e9, 1)

    def release(self) -> None:
        """Unlock the directory for the next engine."""
        self._lock.release()
