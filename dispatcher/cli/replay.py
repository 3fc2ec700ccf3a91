"""`dispatcher replay`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from dispatcher import replay as replaying
from dispatcher.cli.options import AsJson, Db
from dispatcher.cli.output import engines_table, jobs_table, print_json, print_table, say
from dispatcher.log.sqlite import SqliteLog
from dispatcher.progress import ReplayProgress
from projections import Projections

__all__ = ["replay"]


def replay(
    db: Db = Path("events.db"),
    at: Annotated[
        int | None, typer.Option(metavar="SEQ", help="Stop after this event.", min=0)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild the state from the log alone, as it was at any seq. A dispatcher may be running."""
    projections = asyncio.run(_replay(db, at))
    if as_json:
        print_json(projections.state())
    else:
        print_table(jobs_table(projections.jobs.all()))
        print_table(engines_table(projections.engines.all()))
        say(f"{db} at seq {projections.seq}")


async def _replay(db: Path, at: int | None) -> Projections:
    log = await SqliteLog.open_for_reading(db)
    return await replaying.replay(log, at, ReplayProgress(say, db))
