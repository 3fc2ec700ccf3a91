"""Genuine logs to be tampered with, and their audit."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from dispatcher.evidence.audit import Audit
from dispatcher.evidence.hashes import Known
from dispatcher.index.file import index_path
from dispatcher.log.checkpoints import Checkpoint
from dispatcher.log.segments import folder_of
from dispatcher.log.sqlite import SqliteLog
from dispatcher.state.snapshots import Snapshots
from tests.support.beside import kept_beside
from tests.support.histories import genuine, roots, written

__all__ = ["Genuine", "audited", "made"]


class Genuine(NamedTuple):
    """A log as it was written, with a snapshot of its end and one of its middle."""

    path: Path
    size: int
    roots: list[bytes]

    def __repr__(self) -> str:
        return f"a log of {self.size} events"

    def known(self, *sizes: int) -> list[Known]:
        return [Known(f"note {n}", Checkpoint("log", n, self.roots[n])) for n in sizes]

    @contextmanager
    def copy(self, *, with_snapshots: bool = False) -> Iterator[Path]:
        """Lend a copy, to be tampered with."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "events.db"
            shutil.copy(self.path, path)
            if (segments := folder_of(self.path)).exists():
                shutil.copytree(segments, folder_of(path))
            if with_snapshots:
                shutil.copytree(Snapshots(self.path).directory, Snapshots(path).directory)
                shutil.copy(index_path(self.path), index_path(path))
            yield path


async def made(path: Path, size: int) -> Genuine:
    """Make a genuine log of so many events, or a few more."""
    entries = await written(path, genuine(size))
    async with await SqliteLog.open_for_reading(path) as log:
        for seq in (len(entries) // 2, len(entries)):
            await kept_beside(path, log, seq)
    return Genuine(path, len(entries), roots(entries))


def audited(path: Path, known: Sequence[Known] = ()) -> Audit:
    """Audit a log."""
    audit = Audit(path, known)
    audit.run()
    return audit
