"""`dispatcher history`."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from dispatcher.cli.asking import ask
from dispatcher.cli.job_ids import JobId, job_named
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, AsJson, Server, Utc
from dispatcher.cli.output import print_lines, print_text
from dispatcher.cli.tables import Column, print_rows
from dispatcher.cli.times import shown_line, zone_name
from dispatcher.client import Client
from dispatcher.evidence.timeline import Stage, StoryLine, duration, told
from dispatcher.log import LogError, serialization
from dispatcher.log.sqlite import SqliteLog

__all__ = ["history"]


class _Concerned(msgspec.Struct):
    """The field that every event of a job has, in every version."""

    job_id: str | None = None


_concerned: Final = msgspec.json.Decoder(_Concerned)


def history(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    job_id: JobId,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    db: Annotated[
        Path | None, typer.Option(help="Read this log instead of asking a dispatcher.")
    ] = None,
    as_json: AsJson = False,
    utc: Utc = False,
) -> None:
    """Show all that happened to a job: when, by whom, and how long it took."""
    if db is None:
        entries = ask(server, api_key, lambda client: _asked(client, job_id))
    else:
        entries = asyncio.run(_read(db, job_id))
    if as_json:
        print_lines(b"[" + b",\n ".join(map(serialization.line, entries)) + b"]")
        return
    timeline = told(entries)
    print_rows(_lines(utc=utc), timeline.lines)
    print_text("")
    print_rows(_STAGES, timeline.stages)
    print_text("")
    refused = sum(line.is_refusal for line in timeline.lines)
    ended = timeline.stages[-1].took_s is not None if timeline.stages else True
    took = f"In all {duration(timeline.total_s)}" if ended else "Not ended yet"
    print_text(f"{took}; late answers refused: {refused}")


async def _asked(client: Client, text: str) -> list[serialization.LogEntry]:
    return await client.job_events(await job_named(client, text))


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


def _lines(*, utc: bool) -> Sequence[Column[StoryLine]]:
    return (
        Column(f"when ({zone_name(utc=utc)})", lambda line: shown_line(line.time, utc=utc), 2),
        Column("after", _since, 1, is_number=True),
        Column("seq", lambda line: str(line.seq), 4, is_number=True),
        Column("who", lambda line: line.actor, 3, "end"),
        Column("what", lambda line: line.what, 0, "wrap", style=_refusal_style),
    )


def _since(line: StoryLine) -> str:
    return f"+{duration(line.since_s)}" if line.since_s >= 0 else duration(line.since_s)


def _refusal_style(line: StoryLine) -> str:
    return "red" if line.is_refusal else ""


_STAGES: Final[Sequence[Column[Stage]]] = (
    Column("stage", lambda stage: stage.name),
    Column("engine", lambda stage: stage.engine or "", 3, "end"),
    Column("took", lambda stage: "" if stage.took_s is None else duration(stage.took_s), 1),
    Column("end", lambda stage: stage.end, 2, "wrap"),
)
