"""The log of a busy dispatcher is moved, deleted or replaced, and so is its WAL.

Laws:
- The torture keeps the file that was the log open, and reads it from there: so it sees what is in
  it under whatever name, or none.
- A write that is sent when the swap is done must be refused. One that was under way may have been
  acknowledged, and must then be in that file.
"""

import asyncio
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from . import Outcome, Tell
from .serving import NotServingError, Served, client_of, serving
from .submitting import Load

__all__ = ["LONG", "SHORT", "SWAPS", "Swap", "run", "tried"]

LONG: Final = 50
SHORT: Final = 5

PROBES: Final = 5
LONGEST_LOAD_S: Final = 0.5

CLAIM: Final = (
    "When the log of a busy dispatcher or its WAL is moved, deleted or replaced, no write that "
    "comes after that is acknowledged; whatever was acknowledged before is in the file that was "
    "the log, once it is back or the dispatcher was stopped; and writes resume when it is back"
)


class Swap(NamedTuple):
    """What is done to a file, and how it is undone, if it can be."""

    name: str
    suffix: str
    do: Callable[[Path], object]
    undo: Callable[[Path], object] | None = None


def _away(path: Path) -> Path:
    return path.with_name("away")


def _replace(path: Path) -> None:
    shutil.copy(path, path.with_name("copy"))
    path.rename(_away(path))
    path.with_name("copy").rename(path)


def _put_back(path: Path) -> None:
    _away(path).replace(path)


SWAPS: Final = (
    Swap("log moved", "", lambda path: path.rename(_away(path)), _put_back),
    Swap("log deleted", "", Path.unlink),
    Swap("log replaced", "", _replace, _put_back),
    Swap("WAL moved", "-wal", lambda path: path.rename(_away(path)), _put_back),
    Swap("WAL deleted", "-wal", Path.unlink),
)


async def run(rounds: int, seed: int, tell: Tell) -> list[Outcome]:
    """Swap so often, each kind in turn."""
    return [await tried(SWAPS, rounds, seed, tell)]


async def tried(swaps: tuple[Swap, ...], rounds: int, seed: int, tell: Tell) -> Outcome:
    """Try these swaps in turn."""
    begun, random = time.monotonic(), Random(f"swapped {seed}")  # noqa: S311 - no secret
    facts, failures = Counter[str](), list[str]()
    for number in range(rounds):
        swap = swaps[number % len(swaps)]
        tell(f"swapped: {number + 1} of {rounds}, {swap.name}")
        with TemporaryDirectory(prefix="torture-swapped-") as name:
            found = await _round(Path(name, "events.db"), swap, random, facts)
        facts[swap.name] += 1
        failures += [f"round {number}, {swap.name}: {it}" for it in found]
    counted: dict[str, Any] = dict(facts)
    return Outcome("File swapped", CLAIM, rounds, time.monotonic() - begun, counted, failures)


async def _round(db: Path, swap: Swap, random: Random, facts: Counter[str]) -> list[str]:
    async with serving(db) as server, client_of(server) as client:
        load = Load(client, random)
        was_log = os.open(db, os.O_RDONLY)
        try:
            async with load.running():
                await load.goes_on()
                await asyncio.sleep(random.uniform(0, LONGEST_LOAD_S))
                path = db.with_name(db.name + swap.suffix)
                swap.do(path)
                await _probe(load, facts)
                await load.is_refused()
                if swap.undo is not None:
                    swap.undo(path)
                    await load.goes_on()
            load.failures += await server.stop_faults()
            rescued = db.with_name("rescued.db")
            with os.fdopen(os.dup(was_log), "rb") as content, rescued.open("wb") as copy:
                shutil.copyfileobj(content, copy)
        finally:
            os.close(was_log)
        load.check_log(rescued)
        if db.exists():
            load.check_log(db)
        else:
            await _starts_no_new_log(server, load)
    facts["acknowledged"] += len(load.acknowledged)
    facts["refused"] += load.refused
    return load.failures


async def _probe(load: Load, facts: Counter[str]) -> None:
    """Send writes that must be refused, since they are sent after the swap."""
    for _ in range(PROBES):
        job = {"source_url": "http://media/late", "target_codec": "h264"}
        answer = await load.client.post("/jobs/", json=job)
        facts["sent after the swap"] += 1
        if answer.status_code != 503:  # noqa: PLR2004
            load.failures.append(f"a write after the swap got {answer.status_code}")


async def _starts_no_new_log(server: Served, load: Load) -> None:
    """Start where the log is missing, which must be refused: there was one."""
    try:
        async with serving(server.db):
            load.failures.append("it began a new log where one was missing")
    except NotServingError as error:
        if "there is no log here, but there was one" not in str(error):
            load.failures.append(f"it did not say that the log is missing: {error}")
