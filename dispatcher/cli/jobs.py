"""`dispatcher jobs`, `job` and `why`."""

from typing import Annotated

import typer

from dispatcher.cli.asking import ask
from dispatcher.cli.columns import JOBS, fields_of
from dispatcher.cli.job_ids import JobId, job_named
from dispatcher.cli.moments import as_of_wire, moment_of
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, AsJson, AsOf, Server, Utc, Wide
from dispatcher.cli.output import print_json, print_text, say
from dispatcher.cli.tables import print_fields, print_rows
from dispatcher.client import Client, Explanation, JobView
from dispatcher.core.events import ASKED_BY_NAME

__all__ = ["job", "jobs", "why"]


def jobs(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    status: Annotated[
        str | None, typer.Option(help="Only of this status, or of several: a,b.")
    ] = None,
    codec: Annotated[str | None, typer.Option(help="Only for this codec.")] = None,
    engine: Annotated[str | None, typer.Option(help="Only of this engine.")] = None,
    parent: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Only the parts of this film; '' for jobs that are no parts."
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="Only with these words in URLs, error, id or engine.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Only finished, or else submitted, then or later: '2 hours ago', '08:56', "
            "'yesterday 14:00', '2026-11-22', …",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only finished, or else submitted, before."),
    ] = None,
    newest: Annotated[bool, typer.Option("--newest", help="The newest first.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    as_of: AsOf = None,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    as_json: AsJson = False,
    wide: Wide = False,
    utc: Utc = False,
) -> None:
    """List all jobs, or those that the options ask for."""
    begin = moment_of("--since", since, utc=utc)
    end = moment_of("--until", until, utc=utc, ahead=True)
    moment = as_of_wire(as_of, utc=utc)

    async def work(client: Client) -> list[JobView]:
        found = await client.jobs(
            status=status,
            codec=codec,
            engine=engine,
            parent=await job_named(client, parent) if parent else parent,
            text=text,
            since=begin,
            until=end,
            newest=newest,
            limit=limit,
            as_of=moment,
        )
        if not found and codec is not None and not as_json:
            await _tell_of_unknown(client, codec)
        return found

    found = ask(server, api_key, work)
    if as_json:
        print_json(found)
    else:
        print_rows(JOBS, found, wide=wide)


async def _tell_of_unknown(client: Client, codec: str) -> None:
    """Say so if no job was ever for a codec and no engine offers it: it may be misspelt."""
    known = set((await client.statistics()).codecs)
    for engine in await client.engines():
        known.update(engine.supported_codecs)
    if known and codec not in known:
        say(
            f"No job was ever for the codec {codec!r}, and no engine offers it. "
            f"There are: {', '.join(sorted(known))}"
        )


def job(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    job_id: JobId,
    as_of: AsOf = None,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    as_json: AsJson = False,
    utc: Utc = False,
) -> None:
    """Show one job."""
    moment = as_of_wire(as_of, utc=utc)

    async def work(client: Client) -> JobView:
        return await client.job(await job_named(client, job_id), as_of=moment)

    found = ask(server, api_key, work)
    if as_json:
        print_json(found)
    else:
        print_fields(fields_of(found, utc=utc))


def why(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    job_id: JobId,
    as_of: AsOf = None,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    as_json: AsJson = False,
    utc: Utc = False,
) -> None:
    """Say why a job is where it is."""
    moment = as_of_wire(as_of, utc=utc)

    async def work(client: Client) -> Explanation:
        return await client.why(await job_named(client, job_id), as_of=moment)

    found = ask(server, api_key, work)
    if as_json:
        print_json(found)
        return
    print_text(f"Job {found.job_id} is {found.status}: {found.because}.")
    if found.rule == ASKED_BY_NAME:
        print_text(f"Engine {found.engine_id} asked for work and was given this job.")
    elif found.rule is not None:
        print_text(f"Engine {found.engine_id} was chosen by the rule '{found.rule}'.")
    if others := [engine for engine in found.considered if engine != found.engine_id]:
        print_text(f"Others that could have had it: {', '.join(others)}.")
    in_the_way: dict[str, list[str]] = {}
    for engine in found.engines:
        in_the_way.setdefault(engine.because or "could take it now", []).append(engine.engine_id)
    for because, names in sorted(in_the_way.items(), key=lambda group: len(group[1])):
        print_text(f"  {', '.join(names)}: {because}")
