"""E. Steady: minutes of mixed load, and whether memory and latency stay as they are."""

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from dispatcher.log.sqlite import SqliteLog

from .figures import Sample, Spread
from .load import (
    Connection,
    expect,
    job_life,
    paced,
    register_engines,
    request,
    run,
)
from .pictures import lines
from .plan import Plan
from .processes import Server, dispatcher
from .report import Part, Picture, Table, Target

__all__ = ["measure"]

ENGINES: Final = 32
LIVES_PER_S: Final = 150.0
READS_PER_S: Final = 20.0
BEATS_PER_S: Final = 8.0
WINDOWS: Final = 60
EARLY: Final = WINDOWS // 10
"""Windows after which what a start brings with it is over."""
GROWTH: Final = 1.1
"""How many times the memory at a tenth there may be at the end."""
LEAK: Final = 1.1
"""How many times the memory after a replay there may be at the end."""
SLOWER: Final = 1.25

HOW: Final = (
    f"Mixed load at fixed rates: {LIVES_PER_S:g} whole lives a second on {ENGINES} connections, "
    f"{READS_PER_S:g} reads (the first hundred jobs) and {BEATS_PER_S:g} heartbeats. The time is "
    f"cut into {WINDOWS} windows; each gives the p50 and p99 of a whole life, counted from when it "
    "should have begun, and the resident set at its end. Memory grows with the jobs, all of which "
    "`GET /jobs/` must show; so it is compared with that of a dispatcher which has just replayed "
    "the same log, and holds what follows from it and nothing else. The size of the log is taken "
    "after a clean stop."
)

_READ: Final = request("GET", "/jobs/?limit=100")


class _Window(NamedTuple):
    lives: Sample
    rss_mb: float


async def _counted(db: Path) -> tuple[int, int]:
    """Count the events and the submissions, also those that are in segments by now."""
    async with await SqliteLog.open_for_reading(db) as log:
        jobs = await log.page(0, log.head, event_type="job_submitted")
        return log.head, len(jobs)


def measure(plan: Plan) -> Part:
    """Load the dispatcher for the whole time, and look at its beginning and its end."""
    with tempfile.TemporaryDirectory(dir=plan.work) as directory:
        db = Path(directory) / "events.db"
        with dispatcher(db) as server:
            windows = run(_windows(server, plan.steady_s))
        events, jobs = run(_counted(db))
        size = db.stat().st_size
        shutil.rmtree(f"{db}.snapshots", ignore_errors=True)
        with dispatcher(db) as server:
            anew_mb = server.process.rss_mb
    early, late = windows[EARLY - 1], windows[-1]
    first, last = _third(windows, 0), _third(windows, 2)
    per_thousand = (late.rss_mb - early.rss_mb) / (jobs * (1 - EARLY / WINDOWS)) * 1_000
    return Part(
        "E",
        "Steady",
        HOW,
        [
            Table(
                f"{plan.steady_s / 60:.3g} minutes",
                ("what", "found"),
                [
                    ("jobs", f"{jobs:,}"),
                    ("events", f"{events:,}"),
                    ("log bytes per event", f"{size / events:.0f}"),
                    ("memory at a tenth, at the end", f"{early.rss_mb:.0f}, {late.rss_mb:.0f} MB"),
                    ("memory per thousand finished jobs", f"{per_thousand:.2f} MB"),
                    ("memory after a replay of the same log", f"{anew_mb:.0f} MB"),
                    ("p50 of a life, first and last third", _both(first.p50_ms, last.p50_ms)),
                    ("p99 of a life, first and last third", _both(first.p99_ms, last.p99_ms)),
                    ("longest life", f"{max(it.lives.longest_ms for it in windows):.1f} ms"),
                ],
            )
        ],
        _pictures(windows, plan.steady_s),
        [
            Target(
                "E.memory",
                f"at the end at most {GROWTH} times the memory at a tenth",
                f"{late.rss_mb / early.rss_mb:.2f} times, {per_thousand:.2f} MB per thousand jobs",
                late.rss_mb <= GROWTH * early.rss_mb,
            ),
            Target(
                "E.leak",
                f"at the end at most {LEAK} times the memory after a replay of the same log",
                f"{late.rss_mb / anew_mb:.2f} times",
                late.rss_mb <= LEAK * anew_mb,
            ),
            Target(
                "E.latency",
                f"p99 of the last third at most {SLOWER} times that of the first",
                f"{last.p99_ms / first.p99_ms:.2f} times",
                last.p99_ms <= SLOWER * first.p99_ms,
            ),
        ],
    )


async def _windows(server: Server, seconds: float) -> list[_Window]:
    port, window_s = server.port, seconds / WINDOWS
    await register_engines(port, ENGINES)
    reading = asyncio.create_task(paced(port, 2, READS_PER_S, seconds, _read))
    beating = asyncio.create_task(paced(port, 2, BEATS_PER_S, seconds, _beat))
    windows: list[_Window] = []
    for _ in range(WINDOWS):
        took = await paced(port, ENGINES, LIVES_PER_S, window_s, job_life)
        windows.append(_Window(Sample.of(took, window_s), server.process.rss_mb))
    await asyncio.gather(reading, beating)
    return windows


async def _read(connection: Connection, _number: int) -> None:
    expect(await connection.ask(_READ))


async def _beat(connection: Connection, number: int) -> None:
    body = b'{"engine_id":"idler-%d","supported_codecs":["vp9"],"status":"idle"}' % number
    expect(await connection.ask(request("POST", "/engines/heartbeat", body)))


class _Third(NamedTuple):
    p50_ms: float
    p99_ms: float


def _third(windows: Sequence[_Window], number: int) -> _Third:
    share = len(windows) // 3
    them = windows[share * number : share * (number + 1)]
    return _Third(
        median(it.lives.p50_ms for it in them),
        median(it.lives.p99_ms for it in them),
    )


def _both(first: float, last: float) -> str:
    return f"{first:.2f}, {last:.2f} ms"


def _pictures(windows: Sequence[_Window], seconds: float) -> list[Picture]:
    ticks = [f"{(at + 1) * seconds / WINDOWS / 60:.1f}" for at in range(WINDOWS)]
    memory = {"resident": [Spread.of([it.rss_mb]) for it in windows]}
    latency = {
        "p50": [Spread.of([it.lives.p50_ms]) for it in windows],
        "p99": [Spread.of([it.lives.p99_ms]) for it in windows],
    }
    return [
        Picture("memory", title := "Memory, MB", lines(title, ticks, "minutes", memory)),
        Picture("latency", title := "A whole life, ms", lines(title, ticks, "minutes", latency)),
    ]
