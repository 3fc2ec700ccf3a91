"""`dispatcher replay`."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from dispatcher.cli.columns import ENGINES, JOBS
from dispatcher.cli.moments import seq_or_moment_of
from dispatcher.cli.options import AsJson, Db, Utc, Wide
from dispatcher.cli.output import print_json, print_text, say
from dispatcher.cli.tables import print_rows
from dispatcher.log.sqlite import SqliteLog
from dispatcher.progress import ProgressLines
from dispatcher.state import replay as replaying
from dispatcher.state.moments import MomentError, seq_of
from projections import Projections

__all__ = ["replay"]


def replay(
    db: Db = Path("events.db"),
    at: Annotated[
        str | None,
        typer.Option(
            metavar="SEQ|TIME",
            help="Stop after this event, or at this time: 'yesterday 14:00', '5 minutes ago', …",
        ),
    ] = None,
    as_json: AsJson = False,
    wide: Wide = False,
    utc: Utc = False,
) -> None:
    """Rebuild the state from the log alone, as of any moment. A dispatcher may be running."""
    moment = seq_or_moment_of("--at", at, utc=utc)
    try:
        projections = asyncio.run(_replay(db, moment))
    except MomentError as error:
        raise typer.BadParameter(f"--at {error}") from None
    if as_json:
        print_json(projections.state())
    else:
        print_rows(JOBS, projections.jobs.all(), wide=wide)
        print_text("")
        print_rows(ENGINES, projections.engines.all(), wide=wide)
        say(f"{db} at seq {projections.seq}")


async def _replay(db: Path, at: int | datetime | None) -> Projections:
    async with await SqliteLog.open_for_reading(db) as log:
        upto = log.head if at is None else await seq_of(at, log, log.head)
        progress = ProgressLines(say, f"Replaying {db}")
        return (await replaying.replay(log, upto, progress)).projections
