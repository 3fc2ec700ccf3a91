"""`dispatcher tail`."""

from contextlib import aclosing, suppress
from typing import Annotated

import typer

from dispatcher.cli.asking import ask
from dispatcher.cli.job_ids import job_named
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, AsJson, Server, Utc
from dispatcher.cli.output import print_lines, print_text
from dispatcher.cli.times import shown_line
from dispatcher.client import Client
from dispatcher.evidence.timeline import happening_of
from dispatcher.log import serialization

__all__ = ["tail"]


def tail(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    after: Annotated[
        int | None,
        typer.Option(metavar="SEQ", help="Begin after this event, and not now.", min=0),
    ] = None,
    event_type: Annotated[
        str | None, typer.Option("--type", help="Only events of this type, such as job_submitted.")
    ] = None,
    job: Annotated[str | None, typer.Option(help="Only events of this job.")] = None,
    engine: Annotated[str | None, typer.Option(help="Only events of this engine.")] = None,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    as_json: AsJson = False,
    utc: Utc = False,
) -> None:
    """Show what happens, as it happens, until Ctrl-C. With --json, one event a line."""

    async def follow(client: Client) -> None:
        job_id = None if job is None else await job_named(client, job)
        events = client.stream(after=after, event_type=event_type, job=job_id, engine=engine)
        async with aclosing(events):
            async for entry in events:
                if as_json:
                    print_lines(serialization.line(entry))
                else:
                    print_text(_readable(entry, utc=utc))

    with suppress(KeyboardInterrupt):
        ask(server, api_key, follow)


def _readable(entry: serialization.LogEntry, *, utc: bool) -> str:
    who, what, _ = happening_of(entry)
    return f"{shown_line(entry.time, utc=utc)} {entry.seq} {entry.actor} {who}: {what}"
