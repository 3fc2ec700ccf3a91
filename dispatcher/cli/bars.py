"""A job as a line with a bar: how far it is, and when it will be done.

What is shown is plain, as `output` has it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote, urlsplit

from rich.cells import cell_len
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dispatcher.cli.output import plain
from dispatcher.client import Client, RequestRefusedError
from dispatcher.urls import masked
from projections.forecast import Forecast, RunningJob, WaitingJob
from projections.jobs import JobView

__all__ = ["Expected", "bars", "expected", "left", "name_of"]

Expected = Mapping[str, RunningJob | WaitingJob]
"""What a forecast says of each job."""

_GAP: Final = 2
_STYLES: Final = {"completed": "green", "failed_permanently": "red", "cancelled": "red"}


async def expected(client: Client, limit: int = 200) -> Expected:
    """Ask when jobs will be done. An older dispatcher can't tell."""
    try:
        forecast: Forecast = await client.forecast(limit)
    except RequestRefusedError:
        return {}
    known: dict[str, RunningJob | WaitingJob] = {it.job_id: it for it in forecast.waiting}
    known.update((it.job_id, it) for it in forecast.running)
    return known


def bars(jobs: Sequence[JobView], known: Expected, width: int) -> Table:
    """Return a line for each job, none longer than `width`; an id is never cut."""
    names = [plain(name_of(job)) for job in jobs]
    id_width = max((cell_len(plain(job.job_id)) for job in jobs), default=0)
    name_width = min(max(map(cell_len, names), default=0), width // 5)
    bar_width, percent_width = width // 10, 5
    taken = id_width + name_width + bar_width + percent_width + 4 * _GAP
    table = Table.grid(padding=(0, _GAP, 0, 0))
    for column_width in (id_width, name_width, bar_width):
        table.add_column(no_wrap=True, width=column_width, overflow="ellipsis")
    table.add_column(no_wrap=True, width=percent_width, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis", width=max(1, width - taken - _GAP))
    for job, name in zip(jobs, names, strict=True):
        done = 100.0 if job.status == "completed" else (job.progress or 0.0)
        table.add_row(
            Text(plain(job.job_id)),
            Text(name),
            ProgressBar(total=100, completed=done),
            f"{done:.0f} %" if job.status in {"assigned", "completed"} else "",
            Text(plain(_told(job, known)), _STYLES.get(job.status, "")),
        )
    return table


def name_of(job: JobView) -> str:
    """Return the last part of a source's path: what people call the film."""
    try:
        path = unquote(urlsplit(job.source_url).path)
    except ValueError:
        path = job.source_url
    return path.rstrip("/").rpartition("/")[2] or masked(job.source_url)


def left(at: datetime | None) -> str | None:
    """Return how long it is until a moment, in its two largest units; `None` if it is not known."""
    if at is None:
        return None
    seconds = max(0, round((at - datetime.now(UTC)).total_seconds()))
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    if hours >= 48:  # noqa: PLR2004 - days are easier to grasp from here on
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds % 60:02} s" if minutes else f"{seconds} s"


def _told(job: JobView, known: Expected) -> str:
    it = known.get(job.job_id)
    match job.status:
        case "assigned":
            rest, speed = left(None if it is None else it.expected_at), _speed(job)
            told = (None if rest is None else f"{rest} left", f"on {job.assigned_engine}", speed)
            return ", ".join(part for part in told if part is not None)
        case "pending":
            if not isinstance(it, WaitingJob):
                return "waits"
            if it.how == "unplaced":
                return "waits: no engine takes it now"
            place = "pauses after a failure" if it.place is None else f"place {it.place}"
            rest = left(it.expected_at)
            return f"waits, {place}" if rest is None else f"done in {rest}, {place}"
        case "failed_permanently":
            lines = (job.error_message or "").splitlines()
            return f"failed: {masked(lines[-1])}" if lines else "failed"
        case _:
            return job.status


def _speed(job: JobView) -> str | None:
    """Return how fast an attempt has gone so far; `None` if there is nothing to tell yet."""
    if not job.progress or job.assigned_at is None:
        return None
    took_min = (datetime.now(UTC) - job.assigned_at).total_seconds() / 60
    return f"{job.progress / took_min:.3g} %/min" if took_min > 0 else None
