"""A disk that forgets: what was written and not synced may be lost when the power fails.

The model, of which SQLite assumes no more (https://sqlite.org/atomiccommit.html, section 2):
- A sync brings all earlier writes to that file to the platter; nothing else has to.
- Of unsynced writes any sectors may get there, in any mixture, with rubbish in holes between them.
  A sector is written whole or not at all, and bytes beside a write keep what they were.
- Of unsynced changes to the directory the first so and so many get there. To sync the directory
  makes them last, and so does the first sync of a new journal or WAL, with which SQLite syncs the
  directory.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

__all__ = ["SECTOR_BYTES", "Disk", "PowerCutError"]

SECTOR_BYTES: Final = 512


class PowerCutError(Exception):
    """The disk has no power."""


class _File:
    """A file: what the platter has of it, and what was done to it since."""

    def __init__(self, content: bytes = b"") -> None:
        self.platter = bytearray(content)
        self.unsynced: list[tuple[int, bytes | None]] = []  # None: cut off at the offset

    def sync(self) -> None:
        for offset, data in self.unsynced:
            if data is None:
                del self.platter[offset:]
            else:
                self.platter += bytes(max(0, offset - len(self.platter)))
                self.platter[offset : offset + len(data)] = data
        self.unsynced.clear()

    def survivor(self, random: Random) -> bytes:
        """Give what is found of it after the power failed."""
        content, share = bytearray(self.platter), random.choice([0.0, 0.2, 0.5, 0.8, 0.98, 1.0])
        upto = random.choice([len(self.unsynced), random.randint(0, len(self.unsynced))])
        for offset, data in self.unsynced[:upto]:
            if data is None:
                if random.random() < share:
                    del content[offset:]
                continue
            for start, piece in _sectors(offset, data):
                if random.random() < share:
                    if (hole := start - len(content)) > 0:
                        content += random.choice([bytes(hole), random.randbytes(hole)])
                    content[start : start + len(piece)] = piece
        return bytes(content)


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split a write at the bounds of sectors."""
    end = offset + len(data)
    start = offset
    while start < end:
        stop = min(end, (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
        yield start, data[start - offset : stop - offset]
        start = stop


class Disk:
    """One directory on a disk. What stands in it at first is on the platter.

    `cut_after` so many operations, or syncs, the power fails; then every one raises
    `PowerCutError`. `inner` is a directory inside this one, which has the power that this one has.
    It is there after the power failed if its name got to the platter, as a file's.
    """

    def __init__(self, directory: Path, inner: str | None = None, of: "Disk | None" = None) -> None:
        self.directory = directory
        self._of = of
        self.inner = None if inner is None else Disk(directory / inner, of=self)
        self.is_on = True
        self.syncs = 0
        self.cut_by = ""
        """What the disk was asked for when the power failed; `rest` if nothing was."""
        self._left: int | None = None
        self._only_syncs = False
        # The first is on the platter; each further one is what one more operation made of it.
        there = directory.iterdir() if directory.exists() else ()
        self._listings = [
            {it.name: _File(it.read_bytes() if it.is_file() else b"") for it in there}
        ]

    def cut_after(self, operations: int) -> None:
        """Have the power fail after so many operations of any kind."""
        self._left, self._only_syncs = operations, False

    def cut_after_syncs(self, syncs: int) -> None:
        """Have the power fail in place of the sync that comes after so many others."""
        self._left, self._only_syncs = syncs, True

    def cut(self) -> None:
        """Have the power fail now."""
        self.is_on, self.cut_by = False, self.cut_by or "rest"

    def resume(self) -> None:
        """Serve again: it was not the power that failed, but the process that was killed."""
        self.is_on, self._left = True, None

    @property
    def unsynced_writes(self) -> int:
        """How many writes are not on the platter."""
        inner = 0 if self.inner is None else self.inner.unsynced_writes
        return inner + sum(len(file.unsynced) for file in self._listings[-1].values())

    def survivors(self, random: Random) -> dict[str, bytes]:
        """Give the files that are found after the power failed, by their paths."""
        listing = random.choice(self._listings)
        found = {name: file.survivor(random) for name, file in listing.items()}
        if (
            self.inner is not None
            and found.pop(name := self.inner.directory.name, None) is not None
        ):
            within = self.inner.survivors(random)
            found |= {f"{name}/{of}": content for of, content in within.items()}
        return found

    def created(self, name: str) -> None:
        """Take note of a new file."""
        self._work("create")
        self._listings.append(self._listings[-1] | {name: _File()})

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Keep a write in memory."""
        self._work("write")
        self._listings[-1][name].unsynced.append((offset, data))

    def truncate(self, name: str, size: int) -> None:
        """Keep in memory that a file ends at `size`."""
        self._work("truncate")
        self._listings[-1][name].unsynced.append((size, None))

    def sync(self, name: str, *, with_directory: bool) -> None:
        """Bring a file to the platter."""
        self._work("sync")
        self.syncs += 1
        self._listings[-1][name].sync()
        if with_directory:
            del self._listings[:-1]

    def sync_directory(self) -> None:
        """Bring the names of the files to the platter."""
        self._work("sync")
        self.syncs += 1
        del self._listings[:-1]

    def delete(self, name: str) -> None:
        """Forget a file."""
        self._work("delete")
        self._listings.append({of: it for of, it in self._listings[-1].items() if of != name})

    def rename(self, name: str, to: str) -> None:
        """Give a file another name, in place of what had it."""
        self._work("rename")
        listing = dict(self._listings[-1])
        self._listings.append(listing | {to: listing.pop(name)})
        self._listings[-1].pop(name, None)

    def link(self, name: str, to: str) -> None:
        """Give a file one more name."""
        self._work("link")
        listing = self._listings[-1]
        self._listings.append(listing | {to: listing[name]})

    def knows(self, name: str) -> bool:
        """Whether there is a file of this name, as far as it was told."""
        return name in self._listings[-1]

    def has(self, path: Any) -> bool:
        """Whether a path names a file of the directory."""
        return Path(path).parent == self.directory

    def _work(self, operation: str) -> None:
        if self._of is not None:
            self._of._work(operation)  # noqa: SLF001 - of this class
            return
        counts = operation == "sync" or not self._only_syncs
        if self.is_on and self._left is not None and counts:
            if self._left == 0:
                self.is_on, self.cut_by = False, operation
            self._left -= 1
        if not self.is_on:
            raise PowerCutError
