"""A disk that is full, that gives errors, that turns read-only, below a dispatcher that is busy.

Laws:
- The faults are the kernel's own, met by the real process in its real writes: a small tmpfs without
  room; a limit on the size of files, which SQLite sees as an I/O error; an ext4 file system that
  has gone read-only after an error. Where this machine does not let us mount, the limit stands in
  for the full disk, and the facts say so.
- While a fault lasts every write is answered with 200 or with 503 and Retry-After, and no read
  fails; whatever was answered with 200, ever, is in the log.
"""

import asyncio
import sys
import time
from asyncio.subprocess import PIPE
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

from . import Outcome, Tell
from .disk_faults import SIZE_MB, failure_of, filled, limited, tmpfs
from .read_only import read_only
from .serving import SNAPSHOTS, Served, client_of, serving
from .submitting import Load

__all__ = ["LONG", "SHORT", "run"]

LONG: Final = 30
SHORT: Final = 1

ROUND_MB: Final = 16
"""What the log and its snapshots grow by in a round, at most, so that they don't fill the disk."""

FULL: Final = (
    "On a full disk writes get 503 with Retry-After, reads go on, nothing acknowledged is lost, "
    "and writes resume by themselves when there is room."
)
BROKEN: Final = (
    "After I/O errors, wherever in a write they come, the same holds once they have ended."
)


async def run(rounds: int, seed: int, tell: Tell) -> list[Outcome]:
    """Try all three faults."""
    return [
        await _full(rounds, Random(f"full {seed}"), tell),  # noqa: S311 - no secret
        await _broken(rounds, Random(f"broken {seed}"), tell),  # noqa: S311
        await read_only(Random(f"read-only {seed}"), tell),  # noqa: S311
    ]


# A full disk


async def _full(rounds: int, random: Random, tell: Tell) -> Outcome:
    begun, facts = time.monotonic(), dict[str, Any]()
    resumed: list[float] = []
    with tmpfs(SIZE_MB + rounds * ROUND_MB) as (directory, refusal):
        if refusal:
            facts["the full disk"] = f"a limit on the size of files instead, since {refusal}"
        db = directory / "events.db"
        async with serving(db, *SNAPSHOTS) as server, client_of(server) as client:
            load = Load(client, random)
            tell("snapshots without room")
            facts["snapshots given up"] = await _snapshots_fail(server, load)
            for number in range(rounds):
                tell(f"a full disk, {number + 1} of {rounds}")
                async with load.running():
                    await load.goes_on()
                    fault = limited(server, random) if refusal else filled(directory, random)
                    with fault:
                        await load.is_refused()
                        await load.read()
                        if not refusal and number == 0:
                            load.failures += await _backup_fails(db, directory / "copy.db")
                    resumed.append(await load.goes_on())
            load.failures += await server.stop_faults()
        load.check_log(db)
    facts |= load.counted() | {"slowest to resume, s": round(max(resumed), 2)}
    return Outcome("Full disk", FULL, rounds, time.monotonic() - begun, facts, load.failures)


async def _snapshots_fail(server: Served, load: Load) -> int:
    """Leave no room for snapshots alone, which nobody must notice who submits; count them."""

    def given_up() -> int:
        return sum("No snapshot of seq" in line for line in server.said)

    directory = server.db.with_name(server.db.name + ".snapshots")
    directory.mkdir(exist_ok=True)
    is_mounted = not failure_of("mount", "-t", "tmpfs", "-o", "size=4k", "torture", str(directory))
    if is_mounted:
        (directory / "full").write_bytes(bytes(4096))
    else:  # a file in its place does as well
        directory.rmdir()
        directory.touch()
    async with load.running():
        await load.reach("no snapshot was given up", lambda: given_up() > 1)
    if is_mounted:  # lazily: a snapshot may be under way
        failure_of("umount", "--lazy", str(directory))
    else:
        directory.unlink()
    if load.refused:
        load.failures.append("a snapshot that could not be written kept writes from being taken")
    return given_up()


async def _backup_fails(db: Path, destination: Path) -> list[str]:
    """Back up to where there is no room, which must be told, and leave nothing behind."""
    command = (sys.executable, "-m", "dispatcher", "backup", str(destination), "--db", str(db))
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    _, said = await process.communicate()
    failures = []
    if process.returncode == 0 or not said.strip():
        failures.append(f"a backup without room ended with {process.returncode}: {said!r}")
    if left := [path.name for path in destination.parent.glob(f"*{destination.stem}*")]:
        failures.append(f"a backup without room left {left} behind")
    return failures


# I/O errors


async def _broken(rounds: int, random: Random, tell: Tell) -> Outcome:
    begun = time.monotonic()
    resumed: list[float] = []
    with TemporaryDirectory(prefix="torture-") as name:
        db = Path(name, "events.db")
        async with serving(db, *SNAPSHOTS) as server, client_of(server) as client:
            load = Load(client, random)
            for number in range(rounds):
                tell(f"I/O errors, {number + 1} of {rounds}")
                async with load.running():
                    await load.goes_on()
                    with limited(server, random):
                        await load.is_refused()
                        await load.read()
                    resumed.append(await load.goes_on())
            errors = sum("disk I/O error" in line for line in server.said)
            if not errors:
                load.failures.append(f"SQLite met no I/O error; it was said: {server.said[-3:]}")
            load.failures += await server.stop_faults()
        for number in range(rounds):
            tell(f"I/O errors at the first write, {number + 1} of {rounds}")
            await _fails_at_first(db, load, random)
        load.check_log(db)
    facts = load.counted() | {"I/O errors": errors, "slowest to resume, s": round(max(resumed), 2)}
    return Outcome("I/O errors", BROKEN, rounds, time.monotonic() - begun, facts, load.failures)


async def _fails_at_first(db: Path, load: Load, random: Random) -> None:
    """Let the first writes after a start fail, of which nothing is known to work yet."""
    async with serving(db) as server, client_of(server) as load.client:
        with limited(server, random):
            async with load.running():
                await load.is_refused()
        async with load.running():
            await load.goes_on()
        load.failures += await server.stop_faults()
