"""What became of the claims: a table for the terminal, and `docs/torture.md`."""

import os
import platform
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import apsw
from rich.console import Console
from rich.table import Table
from rich.text import Text

import dispatcher

from . import Outcome

__all__ = ["Run", "page", "show", "write"]

MOST_FAILURES: Final = 20
"""Of one claim, in the report and on the terminal."""

_HEAD: Final = """\
# The dispatcher under torture

Written by `scripts/torture.py`, and by nothing else. To have it written anew, on any machine:

    {command}

| | |
|---|---|
"""
_LIMITS: Final = """\

## What this does not show

- SIGKILL ends the dispatcher, not the machine: what it had written stays in the kernel's cache.
  What a power cut destroys is seen in the power cuts.
- The power cuts are simulated. The disk is one that keeps its promise: what was synced stays. A
  disk that only says that it has synced loses what it is given, whoever asks. A sector is written
  whole or not at all, unsynced changes of a directory get to the platter in their order, and the
  machine stays on its feet until the power is gone.
- A file system that meets an error of its own may, at that very moment, say of a write that it is
  synced and then drop it. ext4 on Linux 6.18 did so to a program that does nothing but write and
  call fdatasync, in 8 of 60 tries ("failed to convert unwritten extents to written extents" says
  the kernel then). So nothing is being written here when the file system turns read-only; what is
  acknowledged at that moment is only as safe as the file system.
- During the power cuts SQLite is the one in apsw, {apsw}; the dispatcher itself runs on that of
  Python, {sqlite}, with which everything that survived is opened.
- All hosts of a cluster are namespaces of one machine, with one disk and one kernel; a connection
  that is cut drops packets, and none is delayed or comes twice. Their clocks differ by the same
  hour from beginning to end.
- One order is looked for job by job. So it is not seen whether an engine was told that there is no
  work though a job waited, nor whether it got the right one. Leases do not end meanwhile. Whoever
  reads names the highest seq that anybody has seen; without that he may read older.
"""


class Run(NamedTuple):
    """How it was run, and when (seconds since the epoch)."""

    command: str
    seed: int
    began: float
    ended: float


def show(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Print what became of each claim."""
    table = Table("claim", "rounds", "counted", "")
    for it in outcomes:
        counted = "\n".join(f"{_number(value)}  {name}" for name, value in it.facts.items())
        verdict = Text("held", "green") if it.held else Text("failed", "bold red")
        table.add_row(Text(f"{it.name}. {it.claim}"), _number(it.rounds), Text(counted), verdict)
    console.print(table)
    for it in outcomes:
        for failure in it.failures[:MOST_FAILURES]:
            console.print(Text(f"{it.name}: {failure}"))
        if (more := len(it.failures) - MOST_FAILURES) > 0:
            console.print(f"{it.name}: and {more} more")


def write(path: Path, run: Run, outcomes: Sequence[Outcome]) -> None:
    """Write the report."""
    path.write_text(page(run, outcomes), encoding="utf-8")


def page(run: Run, outcomes: Sequence[Outcome]) -> str:
    """Make the report."""
    took_min = (run.ended - run.began) / 60
    about = {
        "when": f"{datetime.fromtimestamp(run.began, UTC):%Y-%m-%d %H:%M} UTC, {took_min:.0f} min",
        "seed": str(run.seed),
        "machine": _machine(),
        "versions": f"dispatcher {dispatcher.__version__}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, for the power cuts {apsw.sqlite_lib_version()} in apsw",
    }
    lines = [
        _HEAD.format(command=run.command) + "".join(f"| {k} | {v} |\n" for k, v in about.items()),
        "| claim | rounds | counted | |",
        "|---|--:|---|---|",
        *map(_row, outcomes),
    ]
    for it in outcomes:
        if not it.held:
            more = len(it.failures) - MOST_FAILURES
            lines += ["", f"## Where it failed: {it.name}", ""]
            lines += [f"- {_plain(failure)}" for failure in it.failures[:MOST_FAILURES]]
            lines += [f"- and {more} more"] if more > 0 else []
    limits = _LIMITS.format(apsw=apsw.sqlite_lib_version(), sqlite=sqlite3.sqlite_version)
    return "\n".join(lines) + "\n" + limits


def _row(it: Outcome) -> str:
    counted = "<br>".join(f"{_plain(name)}: {_number(value)}" for name, value in it.facts.items())
    verdict = "held" if it.held else "**failed**"
    name, claim = _plain(it.name), _plain(it.claim.removesuffix("."))
    return f"| **{name}.** {claim}. | {_number(it.rounds)} | {counted} | {verdict} |"


def _number(value: str | float) -> str:
    match value:
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.2f}"
        case str():
            return _plain(value)


def _plain(text: str) -> str:
    """Keep a text in its cell."""
    return " ".join(text.split()).replace("|", "\\|")[:600]


def _machine() -> str:
    model = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        told = (line.partition(":") for line in cpus.read_text(encoding="utf-8").splitlines())
        model = next((it.strip() for name, _, it in told if name.strip() == "model name"), model)
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    system = f"{platform.system()} {platform.release()}"
    return f"{model}, {os.cpu_count()} cores, {memory_gb:.0f} GB, {system}"
