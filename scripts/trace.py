#!/usr/bin/env python3
"""Measure the board: what it costs a browser, by Chromium's own trace, and what it costs the farm.

    scripts/trace.py              # 10,000 jobs of a log of 1,000,000 events, 500 engines beating
    scripts/trace.py --boards 5   # submissions at 64 connections, with five boards open and none
    scripts/trace.py --quick      # either of them small, to see that it works

The first gives the time to the first paint and to the first rows, and what frames took while the
farm lived. The second measures in pairs, each on a log of its own, and gives the ratio of the
medians. Chromium then gets only what the others leave of the processors (niceness 19), as it would
run on another machine. Quiet machines give figures that mean something.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
python = ROOT / ".venv/bin/python"
if Path(sys.prefix) != python.parent.parent and python.exists():
    os.execv(python, [str(python), *sys.argv])  # noqa: S606 - the project's own interpreter

from playwright.async_api import Browser  # noqa: E402 - see above

from benching.figures import percentile  # noqa: E402
from benching.plan import turns  # noqa: E402
from benching.posting import post  # noqa: E402
from benching.processes import HOST, KEY, Server, dispatcher  # noqa: E402
from dispatcher.client import Client  # noqa: E402
from showing.chromium import NoChromiumError, started  # noqa: E402
from showing.day import Plan, write  # noqa: E402
from showing.living import at_work  # noqa: E402
from showing.looking import browser_at, drawn, signed_in  # noqa: E402
from showing.tracing import Task, Trace, traced  # noqa: E402

CONNECTIONS: Final = 64
FRAME_MS: Final = 16.0
PAINT_MS: Final = 1_000.0
SHARE: Final = 0.95
DESK: Final = {"width": 1280, "height": 800}
ROWS: Final = "rows"
_MARK_ROWS: Final = """
new MutationObserver((_, watcher) => {
  if (document.querySelectorAll("board-farm [role=row], board-farm tr").length > 10) {
    performance.mark("rows");
    watcher.disconnect();
  }
}).observe(document, {childList: true, subtree: true});
"""
"""Marks in the trace when the page first shows rows."""


class Size(NamedTuple):
    """How much is measured."""

    events: int = 1_000_000
    engines: int = 500
    jobs: int = 10_000
    beat_s: float = 10.0
    seconds: float = 30.0
    rounds: int = 5
    burst_s: float = 10.0


QUICK: Final = Size(20_000, 50, 500, 5.0, 5.0, 2, 2.0)


def past_of(size: Size) -> Plan:
    """Plan a past of about so many events, most of which say that an engine is there."""
    hours = size.events / size.engines / 136
    return Plan(engines=size.engines, hours=hours, waiting=size.jobs)


# What it costs a browser


async def trace_page(size: Size, folder: Path) -> None:
    """Load the board of a large farm, let it live, and say what the trace says."""
    db = folder / "events.db"
    count = await write(db, past_of(size), datetime.now(UTC))
    print(f"{count:,} events, {size.engines:,} engines, {size.jobs:,} jobs that wait")
    with dispatcher(db) as server, started(folder / "profile") as devtools:
        url = f"http://{HOST}:{server.port}"
        async with (
            Client(url, KEY) as client,
            at_work(client, beat_s=size.beat_s, job_every_s=1.0),
            browser_at(devtools) as browser,
            signed_in(browser, client, url, viewport=DESK) as (context, page),
        ):
            await drawn(page, "board-farm")
            await context.add_init_script(_MARK_ROWS)
            await page.goto("about:blank")
            async with traced(browser) as events:
                await page.goto(f"{url}/")
                await drawn(page, "board-farm")
                loaded_ms = await page.evaluate("performance.now()")
                await asyncio.sleep(size.seconds)
        tell(Trace(events, url), loaded_ms)


def tell(trace: Trace, loaded_ms: float) -> None:
    """Print what was measured."""
    paint_ms, rows_ms = trace.first_paint_ms(), trace.mark_ms(ROWS)
    print(f"first paint {paint_ms:,.0f} ms (aim: below {PAINT_MS:,.0f} ms), rows {rows_ms:,.0f} ms")
    tell_times("while it loads, frames", trace.frames())
    tell_times("while the farm lives, frames", trace.frames(loaded_ms))
    tell_times("while the farm lives, all tasks", trace.tasks(loaded_ms))


def tell_times(what: str, tasks: list[Task]) -> None:
    """Print how long tasks took, and for how long they ran."""
    if not tasks:
        print(f"{what}: none")
        return
    figures = []
    for name, times in (
        ("took", sorted(task.took_ms for task in tasks)),
        ("ran", sorted(task.ran_ms for task in tasks)),
    ):
        p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
        late = sum(it >= FRAME_MS for it in times)
        figures.append(
            f"{name} p50 {p50:.1f}, p99 {p99:.1f}, longest {times[-1]:.1f} ms, "
            f"{late} of {FRAME_MS:g} ms or more"
        )
    print(f"{what}: {len(tasks):,}; {'; '.join(figures)}")


# What it costs the farm


class Load(NamedTuple):
    """Submissions a second, and the dispatcher's CPU time for a thousand of them."""

    per_s: float
    cpu_s: float


async def compare(size: Size, boards: int, folder: Path) -> None:
    """Measure submissions with so many boards open and with none, in pairs."""
    past = folder / "past.db"
    await write(past, Plan(hours=4), datetime.now(UTC))
    found: dict[int, list[Load]] = {0: [], boards: []}
    for number in range(size.rounds):
        for open_now in turns((0, boards), number):
            with tempfile.TemporaryDirectory(dir=folder) as own:
                db = Path(shutil.copy(past, Path(own) / "events.db"))
                found[open_now].append(await load(db, open_now, size.burst_s))
                print(f"{open_now} boards: {found[open_now][-1].per_s:,.0f}/s", flush=True)
    without, with_them = found[0], found[boards]
    ratio = median(it.per_s for it in with_them) / median(it.per_s for it in without)
    cost = median(it.cpu_s for it in with_them) / median(it.cpu_s for it in without)
    print(
        f"submissions at {CONNECTIONS} connections with {boards} boards open: {ratio:.3f} of those "
        f"with none (aim: at least {SHARE}); each costs the dispatcher {cost:.2f} times the CPU"
    )


async def load(db: Path, boards: int, seconds: float) -> Load:
    """Submit for a while, with boards open."""
    with dispatcher(db) as server:
        url = f"http://{HOST}:{server.port}"
        async with (
            Client(url, KEY) as client,
            at_work(client, beat_s=2.0),
            opened_boards(db.parent, client, url, boards),
        ):
            return await submitted(server, seconds)


async def submitted(server: Server, seconds: float) -> Load:
    """Submit from as many connections as can be served at once."""
    before_s = server.process.cpu_s
    sample = await asyncio.to_thread(post, server.port, CONNECTIONS, seconds)
    return Load(sample.per_s, (server.process.cpu_s - before_s) / sample.done * 1_000)


@asynccontextmanager
async def opened_boards(
    folder: Path, client: Client, url: str, boards: int
) -> AsyncIterator[Browser | None]:
    """Open the board so many times, each in a profile of its own."""
    if not boards:
        yield None
        return
    with started(folder / "profile", niceness=19) as devtools:
        async with browser_at(devtools) as browser, AsyncExitStack() as opened:
            for _ in range(boards):
                _, page = await opened.enter_async_context(
                    signed_in(browser, client, url, viewport=DESK)
                )
                await drawn(page, "board-farm")
            yield browser


async def main(options: argparse.Namespace) -> None:
    """Measure what the command line asks for."""
    size = QUICK if options.quick else Size()
    given = {
        name: value
        for name in ("events", "engines", "jobs", "seconds", "rounds")
        if (value := getattr(options, name)) is not None
    }
    size = size._replace(**given)
    with tempfile.TemporaryDirectory(prefix="trace-") as temporary:
        if options.boards:
            await compare(size, options.boards, Path(temporary))
        else:
            await trace_page(size, Path(temporary))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--boards", type=int, default=0, help="how many boards are open")
    parser.add_argument("--quick", action="store_true", help="small and short")
    parser.add_argument("--events", type=int, help="about so many events in the log")
    parser.add_argument("--engines", type=int, help="engines that beat")
    parser.add_argument("--jobs", type=int, help="jobs that wait")
    parser.add_argument("--seconds", type=float, help="for how long the farm is watched")
    parser.add_argument("--rounds", type=int, help="pairs")
    try:
        asyncio.run(main(parser.parse_args()))
    except NoChromiumError as error:
        sys.exit(f"trace: {error}")
