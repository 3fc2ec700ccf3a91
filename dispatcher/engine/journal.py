"""The journal of an engine: its current job and the stage that the job has reached.

A new process of the engine continues from the journal. An engine does one job at a time, so one
small file is enough. It is written before the engine acts on the stage, and is never half written.
"""

import logging
from pathlib import Path
from typing import Literal

import msgspec

from dispatcher import files
from dispatcher.client import FailureCause
from projections.jobs import JobView

__all__ = ["Journal", "JournalEntry", "Stage"]

Stage = Literal["working", "transcoded", "delivered", "failed"]

logger = logging.getLogger(__name__)


class JournalEntry(msgspec.Struct, frozen=True):
    """The current job. `result` depends on the stage: the output's path, its URL, or the error.

    For the stage `failed`: its `cause`, and whether the job is `given_back` because the engine was
    stopped.
    """

    job: JobView
    stage: Stage
    result: str = ""
    cause: FailureCause = "unknown"
    given_back: bool = False


class Journal:
    """The journal's file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> JournalEntry | None:
        """Return the recorded job. A missing or damaged file gives `None`."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=JournalEntry)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            logger.warning("%s can't be read, and is left aside: %s", self._path, error)
            return None

    def write(self, entry: JournalEntry) -> None:
        """Record the stage of a job. Raises `OSError` if the file can't be written."""
        files.write(self._path, msgspec.json.encode(entry), self._path.with_suffix(".new"))

    def clear(self) -> None:
        """Record that there is no current job."""
        self._path.unlink(missing_ok=True)
