"""`dispatcher history`."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.table import Table

from dispatcher.cli.asking import ask
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, AsJson, Server
from dispatcher.cli.output import cell, print_lines, print_table, print_text
from dispatcher.evidence.timeline import Stage, StoryLine, duration, told
from dispatcher.log import LogError, serialization
from dispatcher.log.sqlite import SqliteLog

__all__ = ["history"]


class _Concerned(msgspec.Struct):
    """The field that every event of a job has, in every version."""

    job_id: str | None = None


_concerned: Final = msgspec.json.Decoder(_Concerned)


def history(
    job_id: Annotated[str, typer.Argument(metavar="JOB")],
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    db: Annotated[
        Path | None, typer.Option(help="Read this log instead of asking a dispatcher.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show all that happened to a job: when, by whom, and how long it took."""
    if db is None:
        entries = ask(server, api_key, lambda client: client.job_events(job_id))
    else:
        entries = asyncio.run(_read(db, job_id))
    if as_json:
        print_lines(b"[" + b",\n ".join(map(serialization.line, entries)) + b"]")
        return
    timeline = told(entries)
    print_table(_events_table(timeline.lines))
    print_table(_stages_table(timeline.stages))
    refused = sum(line.is_refusal for line in timeline.lines)
    print_text(f"In all {duration(timeline.total_s)}; late answers refused: {refused}")


async def _read(db: Path, job_id: str) -> list[serialization.LogEntry]:
    """Read a job's events from a log, whether or not a dispatcher is writing to it."""
    async with (
        await SqliteLog.open_for_reading(db) as log,
        aclosing(log.entries()) as pages,
    ):
        found = [entry async for page in pages for entry in page if _job_of(entry) == job_id]
    if not found:
        raise LogError(f"{db}: there is no job {job_id!r} in this log")
    return found


def _job_of(entry: serialization.LogEntry) -> str | None:
    """Return the job that an event concerns, even if this version does not know the event."""
    try:
        return _concerned.decode(entry.data).job_id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _events_table(lines: list[StoryLine]) -> Table:
    table = Table("when (UTC)", "after", "seq", "who", "what")
    for line in lines:
        table.add_row(
            f"{line.time[:10]} {line.time[11:23]}",
            f"+{duration(line.since_s)}" if line.since_s >= 0 else duration(line.since_s),
            str(line.seq),
            cell(line.actor),
            cell(line.what, "red" if line.is_refusal else ""),
        )
    return table


def _stages_table(stages: list[Stage]) -> Table:
    table = Table("stage", "engine", "took", "end")
    for stage in stages:
        table.add_row(
            stage.name,
            cell(stage.engine or ""),
            "" if stage.took_s is None else duration(stage.took_s),
            cell(stage.end),
        )
    return table
