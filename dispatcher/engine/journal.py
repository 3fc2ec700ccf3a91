"""What an engine must not forget when it dies: its job, and how far that has come.

An engine does one job at a time, so one small file is enough. It is written before the step that
it tells of is acted upon, and is whole at every moment.
"""

import logging
from pathlib import Path
from typing import Literal

import msgspec

from dispatcher import files
from projections.jobs import JobView

__all__ = ["Journal", "JournalEntry", "Stage"]

Stage = Literal["working", "transcoded", "delivered", "failed"]

logger = logging.getLogger(__name__)


class JournalEntry(msgspec.Struct, frozen=True):
    """A job in hand. `result` is the output's path, its URL, or the error, after its stage."""

    job: JobView
    stage: Stage
    result: str = ""


class Journal:
    """The file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> JournalEntry | None:
        """Give what the engine had in hand; a damaged file is as good as none."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=JournalEntry)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            logger.warning("%s can't be read, and is left aside: %s", self._path, error)
            return None

    def write(self, entry: JournalEntry) -> None:
        """Note how far a job has come. `OSError` if that can't be done."""
        files.write(self._path, msgspec.json.encode(entry), self._path.with_suffix(".new"))

    def clear(self) -> None:
        """Note that there is no job in hand."""
        self._path.unlink(missing_ok=True)
