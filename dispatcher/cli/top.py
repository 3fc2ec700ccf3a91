"""`dispatcher top`: the farm at a glance, as it changes.

Laws:
- It only asks: once a second, a fixed number of questions whatever the number of jobs.
- A dispatcher that is away is told of in a line, and what was seen last stays.
- The terminal is left as it was found, however it ends.
- Elsewhere than on a terminal it shows the farm once.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Final, NamedTuple

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from dispatcher.cli.asking import ask
from dispatcher.cli.bars import Expected, bars, left
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, Server
from dispatcher.cli.output import plain
from dispatcher.client import Client, DispatcherAwayError, EngineView, JobView
from dispatcher.urls import masked
from projections.forecast import Forecast
from projections.statistics import FarmNow

__all__ = ["top"]

PAUSE_S: Final = 1.0
MOST_JOBS: Final = 200
"""Most jobs in work, and most that wait, that can be scrolled to."""
ASKED_AT_ONCE: Final = 20
"""Most waiting jobs whose names are asked for in one round."""
_KEYS: Final = "q ends it, space holds it, ↑ ↓ scroll"


class _Seen(NamedTuple):
    """The farm as it was a moment ago."""

    farm: FarmNow
    engines: Sequence[EngineView]
    jobs: Sequence[JobView]
    expected: Expected
    forecast: Forecast


class _Screen:
    """What is shown, and what the keys have chosen."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.seen: _Seen | None = None
        self.trouble = ""
        self.offset = 0
        self.is_held = False
        self.is_over = asyncio.Event()
        self.pressed = asyncio.Event()
        self._names: dict[str, JobView] = {}

    async def look(self, client: Client) -> None:
        try:
            self.seen = await self._asked(client)
            self.trouble = ""
        except DispatcherAwayError as error:
            if self.seen is None:
                raise
            self.trouble = str(error)

    async def _asked(self, client: Client) -> _Seen:
        farm, forecast = await client.statistics(), await client.forecast(MOST_JOBS)
        engines = await client.engines()
        running = await client.jobs(status="assigned", limit=MOST_JOBS)
        waiting = [it.job_id for it in forecast.waiting]
        unknown = [it for it in waiting if it not in self._names][:ASKED_AT_ONCE]
        for job_id in unknown:
            self._names[job_id] = await client.job(job_id)
        self._names = {it: self._names[it] for it in waiting if it in self._names}
        queued = [job for job in self._names.values() if job.status == "pending"]
        expected = {it.job_id: it for it in forecast.waiting} | {
            it.job_id: it for it in forecast.running
        }
        return _Seen(farm, engines, [*running, *queued], expected, forecast)

    def press(self, key: str) -> None:
        """Do what a key stands for."""
        match key:
            case "q" | "Q":
                self.is_over.set()
            case " ":
                self.is_held = not self.is_held
            case "\x1b[A" | "\x1bOA" | "k":
                self.offset = max(0, self.offset - 1)
            case "\x1b[B" | "\x1bOB" | "j":
                self.offset += 1
            case _:
                return
        self.pressed.set()

    def shown(self, console: Console) -> Group:
        """Return what fits the terminal."""
        seen = self.seen
        if seen is None:
            return Group(Text(f"asking {masked(self.server)} …"))
        head = [*self._head(seen)]
        room = max(1, console.height - len(head) - 2) if console.is_terminal else MOST_JOBS
        self.offset = max(0, min(self.offset, len(seen.jobs) - room))
        jobs = seen.jobs[self.offset : self.offset + room]
        below = len(seen.jobs) - self.offset - len(jobs)
        foot = f"{_KEYS}{'; held' if self.is_held else ''}"
        if self.offset or below:
            foot += f"; {self.offset:,} above, {below:,} below"
        style = "yellow" if self.trouble else "dim"
        if not console.is_terminal:
            foot = f"and {below:,} more" if below else ""
        lines: list[RenderableType] = [Text(it, no_wrap=True, overflow="ellipsis") for it in head]
        lines.append(bars(jobs, seen.expected, console.width))
        told = plain(masked(self.trouble)) if self.trouble else foot
        if told:
            lines.append(Text(told, style, no_wrap=True, overflow="ellipsis"))
        return Group(*lines)

    def _head(self, seen: _Seen) -> Iterator[str]:
        jobs = seen.farm.jobs
        at = datetime.now(UTC).astimezone()
        yield f"{masked(self.server)}, seq {seen.farm.seq:,}, {at:%H:%M:%S}"
        yield ", ".join(
            (
                f"{jobs['assigned']:,} in work",
                f"{jobs['pending']:,} waiting",
                f"{jobs['completed']:,} completed",
                f"{jobs['failed_permanently']:,} failed",
                f"{jobs['cancelled']:,} cancelled",
            )
        )
        rest = left(seen.forecast.done_at)
        if rest is not None:
            stuck = seen.forecast.unplaced
            yield f"all done in {rest}" + (f", but {stuck:,} that no engine takes" if stuck else "")
        states: dict[str, list[str]] = {}
        for engine in seen.engines:
            states.setdefault(_state(engine), []).append(engine.engine_id)
        if not states:
            yield "no engines yet: dispatcher engine --output DIR starts one"
        for state, names in sorted(states.items()):
            yield plain(f"engines {state}, {len(names):,}: {', '.join(names)}")


def top(
    once: Annotated[bool, typer.Option("--once", help="Show the farm once, and end.")] = False,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Watch the farm: engines, the jobs in work with bars and the time left, the queue, totals.

    Keys: q or Ctrl-C ends it, space holds it still, the arrows (or j and k) scroll.
    """
    console = Console()
    if console.is_terminal and sys.stdin.isatty() and not once:
        try:
            ask(server, api_key, lambda client: _watch(client, console))
        except KeyboardInterrupt:
            return
    else:
        screen = ask(server, api_key, _once)
        console.print(screen.shown(console))


async def _once(client: Client) -> _Screen:
    screen = _Screen(client.server)
    await screen.look(client)
    return screen


async def _watch(client: Client, console: Console) -> None:
    screen = _Screen(client.server)
    await screen.look(client)
    with Live(console=console, auto_refresh=False, screen=True) as live:
        async with _keys(screen):
            while not screen.is_over.is_set():
                live.update(screen.shown(console), refresh=True)
                screen.pressed.clear()
                try:
                    async with asyncio.timeout(PAUSE_S):
                        await screen.pressed.wait()
                except TimeoutError:
                    if not screen.is_held:
                        await screen.look(client)


@asynccontextmanager
async def _keys(screen: _Screen) -> AsyncIterator[None]:
    """Give the screen the keys that are pressed in the block, each at once and unseen."""
    import termios  # noqa: PLC0415 - Windows has none
    import tty  # noqa: PLC0415

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    loop = asyncio.get_running_loop()

    def read() -> None:
        try:
            data = os.read(fd, 64).decode(errors="replace")
        except OSError:
            data = ""
        if not data:  # the terminal is gone
            screen.is_over.set()
            screen.pressed.set()
        for key in (data,) if data.startswith("\x1b") else data:
            screen.press(key)

    tty.setcbreak(fd)
    loop.add_reader(fd, read)
    try:
        yield
    finally:
        loop.remove_reader(fd)
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _state(engine: EngineView) -> str:
    if not engine.online:
        return "offline"
    if engine.blocked is not None:
        return "blocked"
    return "drained" if engine.drained else engine.status
