"""The journal of an engine: its current job and the stage that the job has reached.

A new process of the engine continues from the journal. An engine does one job at a time, so one
small file is enough. It is written before the engine acts on the stage, and is never half written.

Law: an output that the journal names is in a job's folder beside the journal. A journal that names
any other file is not believed, since the engine moves that file to where its outputs go.
"""

import logging
import os
import stat
from pathlib import Path
from typing import Literal

import msgspec

from dispatcher import files
from dispatcher.client import FailureCause
from dispatcher.results import Result
from projections.jobs import JobView

__all__ = ["JOB_FOLDER", "Journal", "JournalEntry", "Stage"]

Stage = Literal["working", "transcoded", "delivered", "failed", "split"]
JOB_FOLDER = "job-"
"""With this the name of a job's folder begins."""

logger = logging.getLogger(__name__)


class JournalEntry(msgspec.Struct, frozen=True):
    """The current job. `result` depends on the stage: the output's path, its URL, or the error.

    `outcome` tells what was done, once there is an output. A job that is `split` has become other
    jobs, and is never written down. For the stage `failed`: its `cause`, and
    whether the job is `given_back` because the engine was stopped.
    """

    job: JobView
    stage: Stage
    result: str = ""
    cause: FailureCause = "unknown"
    given_back: bool = False
    outcome: Result | None = None


class Journal:
    """The journal's file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> JournalEntry | None:
        """Return the recorded job. A missing, damaged or untrue file gives `None`."""
        try:
            entry = msgspec.json.decode(self._content(), type=JournalEntry)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            logger.warning("%s can't be read, and is left aside: %s", self._path, error)
            return None
        if entry.stage == "transcoded" and not self._is_output(entry.result):
            logger.warning(
                "%s names %s as an output, which is in no folder of a job in %s; the journal is "
                "left aside, and that file is not touched",
                self._path,
                entry.result,
                self._path.parent,
            )
            return None
        return entry

    def write(self, entry: JournalEntry) -> None:
        """Record the stage of a job. Raises `OSError` if the file can't be written."""
        files.write(self._path, msgspec.json.encode(entry), self._path.with_suffix(".new"))

    def clear(self) -> None:
        """Record that there is no current job."""
        self._path.unlink(missing_ok=True)

    def _content(self) -> bytes:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        with os.fdopen(os.open(self._path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError("it is no regular file")
            return file.read()

    def _is_output(self, named: str) -> bool:
        """Whether this is the path of a file in a job's folder, which may have been moved away."""
        try:
            path = Path(named)
            folder = path.parent
            return (
                folder.name.startswith(JOB_FOLDER)
                and folder.parent.resolve() == self._path.parent.resolve()
                and not folder.is_symlink()
                and not path.is_symlink()
                and (path.is_file() or not os.path.lexists(path))
            )
        except (OSError, ValueError):  # ValueError: a NUL
            return False
