"""Logs of what happened some minutes ago, and pages of the board that are signed in."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.async_api import BrowserContext, Page

from dispatcher.core.events import Event, Recorded
from dispatcher.log import serialization
from dispatcher.log.sqlite import SqliteLog
from tests.support.servers import KEY

__all__ = ["happened_at", "signed_in", "written_past"]


async def written_past(db: Path, *told: tuple[float, Event]) -> None:
    """Write a log of events, oldest first, each with how many minutes ago it happened."""
    now = datetime.now(UTC)
    records = [
        Recorded(seq, now - timedelta(minutes=ago), "tester", event)
        for seq, (ago, event) in enumerate(told, 1)
    ]
    async with await SqliteLog.open(db) as log:
        await log.append(serialization.encode_all(records), 0)


def happened_at(minutes_ago: float) -> str:
    """A time as the board's field takes it."""
    at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


async def signed_in(context: BrowserContext, key: str = KEY) -> Page:
    """A page whose tab has a key already."""
    await context.add_init_script(  # the blank page before has no storage
        f"if (location.protocol === 'http:') sessionStorage.setItem('dispatcher key', {key!r})"
    )
    return await context.new_page()
