"""Following jobs until they are done, with a bar for each.

Laws:
- A dispatcher that is away is waited for: the jobs go on without it being looked at.
- At most `AT_ONCE` jobs are asked for at a time, those first that were not for longest. So who
  follows thousands does not burden the dispatcher.
- On a terminal, bars are drawn on standard error. Elsewhere each job that has ended before
  the last one is a line there.
- Who stops to follow stops nothing else. It is said how to go on.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from dispatcher.cli.bars import Expected, bars, expected
from dispatcher.cli.job_ids import LAST
from dispatcher.cli.output import plain, say
from dispatcher.client import Client, DispatcherAwayError, RequestRefusedError
from dispatcher.urls import masked
from projections.jobs import JobView

__all__ = ["Following", "farewell", "follow"]

PAUSE_S: Final = 0.5
"""The pause between two looks at the jobs."""
AT_ONCE: Final = 20
FORECAST_S: Final = 3.0
"""The pause between two questions when the jobs will be done."""
_MOST_NAMED: Final = 3
"""Most ids that a message repeats."""


class Following:
    """Jobs that are followed, as they were last seen. `current` has them by their ids."""

    def __init__(self, jobs: Sequence[JobView]) -> None:
        self.current = {job.job_id: job for job in jobs}
        self.expected: Expected = {}
        self.trouble = ""
        self._asked = dict.fromkeys(self.current, 0)
        self._round = 0

    @property
    def unfinished(self) -> list[JobView]:
        """Those that are not done."""
        return [job for job in self.current.values() if not job.final]

    async def look(self, client: Client) -> None:
        """Ask for some of the unfinished jobs."""
        self._round += 1
        turn = sorted(self.unfinished, key=lambda job: self._asked[job.job_id])[:AT_ONCE]
        try:
            for job in turn:
                self.current[job.job_id] = await _asked(client, job.job_id)
                self._asked[job.job_id] = self._round
            self.trouble = ""
        except DispatcherAwayError as error:
            self.trouble = str(error)

    def shown(self, console: Console) -> Group:
        """Return the bars that have room, those in work first, and a line about all."""
        jobs = sorted(self.current.values(), key=lambda job: (job.status != "assigned", job.final))
        room = max(1, console.height - 3)
        running = sum(job.status == "assigned" for job in jobs)
        unfinished = len(self.unfinished)
        text = (
            f"{len(jobs) - unfinished:,} of {len(jobs):,} done, {running:,} in work, "
            f"{unfinished - running:,} waiting"
        )
        lines: list[RenderableType] = [bars(jobs[:room], self.expected, console.width), Text(text)]
        if self.trouble:
            lines.append(Text(plain(masked(self.trouble)), "yellow"))
        return Group(*lines)


async def follow(client: Client, following: Following) -> None:
    """Wait until every job is final, even if the dispatcher is away meanwhile."""
    console = Console(stderr=True)
    clock = asyncio.get_running_loop().time
    asks_at = clock()
    total, told = len(following.current), set[str]()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while following.unfinished:
            if console.is_terminal:
                if clock() >= asks_at:
                    asks_at = clock() + FORECAST_S
                    following.expected = await _forecast(client, following.expected)
                live.update(following.shown(console), refresh=True)
            elif total > 1:
                for job in following.current.values():
                    if job.final and job.job_id not in told:
                        told.add(job.job_id)
                        say(f"{job.job_id} {job.status} ({len(told):,} of {total:,})")
            await asyncio.sleep(PAUSE_S)
            await following.look(client)


def farewell(following: Following) -> None:
    """Say that the jobs go on, and how to follow or stop them."""
    left = [job.job_id for job in following.unfinished]
    named = " ".join(left) if len(left) <= _MOST_NAMED else LAST
    say(
        f"{len(left):,} of {len(following.current):,} jobs are not done, and go on without you. "
        f"To follow them: dispatcher wait {named}; to stop them: dispatcher cancel {named}"
    )


async def _forecast(client: Client, before: Expected) -> Expected:
    try:
        return await expected(client, 1_000)
    except DispatcherAwayError:
        return before


async def _asked(client: Client, job_id: str) -> JobView:
    try:
        return await client.job(job_id)
    except RequestRefusedError as error:
        raise RequestRefusedError(error.status, f"job {job_id}: {error.text}") from error
