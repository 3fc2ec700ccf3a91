"""`dispatcher jobs`, `job`, `why`, `cancel`, `retry` and `priority`."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Annotated

import typer

from dispatcher.cli.asking import ask
from dispatcher.cli.columns import JOBS, fields_of
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, AsJson, Server, Utc, Wide
from dispatcher.cli.output import print_json, print_text
from dispatcher.cli.tables import print_fields, print_rows
from dispatcher.client import Client, Matched
from dispatcher.core.events import ASKED_BY_NAME

__all__ = ["cancel", "job", "jobs", "priority", "retry", "why"]

JobOrNone = Annotated[str | None, typer.Argument(metavar="[ID]", show_default=False)]
Status = Annotated[str | None, typer.Option(help="All jobs of this status.", show_default=False)]
Codec = Annotated[str | None, typer.Option(help="All jobs for this codec.", show_default=False)]
EngineId = Annotated[
    str | None, typer.Option("--engine", help="All jobs of this engine.", show_default=False)
]
TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask whether to change so many jobs.")]


def jobs(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    status: Annotated[
        str | None, typer.Option(help="Only of this status, or of several: a,b.")
    ] = None,
    codec: Annotated[str | None, typer.Option(help="Only for this codec.")] = None,
    engine: Annotated[str | None, typer.Option(help="Only of this engine.")] = None,
    text: Annotated[
        str | None, typer.Option(help="Only with these words in URLs, error, id or engine.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=TIMES, help="Only finished, or else submitted, then or later."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(formats=TIMES, help="Only finished, or else submitted, before."),
    ] = None,
    newest: Annotated[bool, typer.Option("--newest", help="The newest first.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    as_json: AsJson = False,
    wide: Wide = False,
) -> None:
    """List all jobs, or those that the options ask for."""
    found = ask(
        server,
        api_key,
        lambda client: client.jobs(
            status=status,
            codec=codec,
            engine=engine,
            text=text,
            since=_zoned(since),
            until=_zoned(until),
            newest=newest,
            limit=limit,
        ),
    )
    if as_json:
        print_json(found)
    else:
        print_rows(JOBS, found, wide=wide)


def _zoned(time: datetime | None) -> datetime | None:
    """Take a time without a zone as one of this machine's zone."""
    return None if time is None else time.astimezone()


def job(
    job_id: Annotated[str, typer.Argument(metavar="ID")],
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    as_json: AsJson = False,
    utc: Utc = False,
) -> None:
    """Show one job."""
    found = ask(server, api_key, lambda client: client.job(job_id))
    if as_json:
        print_json(found)
    else:
        print_fields(fields_of(found, utc=utc))


def why(
    job_id: Annotated[str, typer.Argument(metavar="ID")],
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Say why a job is where it is."""
    found = ask(server, api_key, lambda client: client.why(job_id))
    if as_json:
        print_json(found)
        return
    print_text(f"Job {found.job_id} is {found.status}: {found.because}.")
    if found.rule is not None:
        others = [engine for engine in found.considered if engine != found.engine_id]
        print_text(
            f"Engine {found.engine_id} asked for work and was given this job."
            if found.rule == ASKED_BY_NAME
            else f"Engine {found.engine_id} was chosen by the rule '{found.rule}'."
        )
        if others:
            print_text(f"Others that could have had it: {', '.join(others)}.")
    in_the_way: dict[str, list[str]] = {}
    for engine in found.engines:
        in_the_way.setdefault(engine.because or "could take it now", []).append(engine.engine_id)
    for because, names in sorted(in_the_way.items(), key=lambda group: len(group[1])):
        print_text(f"  {', '.join(names)}: {because}")


def cancel(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    job_id: JobOrNone = None,
    status: Status = None,
    codec: Codec = None,
    engine: EngineId = None,
    yes: Yes = False,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Give up the job ID, or all that match the filters; the engines that run them stop."""
    _require_one_or_many(job_id, status, codec, engine)
    if job_id is not None:
        name = job_id
        ask(server, api_key, lambda client: client.cancel(name))
        print_text(f"Job {job_id} cancelled")
        return

    change = partial(Client.cancel_matching, status=status, codec=codec, engine=engine)
    _change_all(partial(ask, server, api_key), change, "Cancel {:,} jobs?", "cancelled", yes=yes)


def retry(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    job_id: JobOrNone = None,
    status: Status = None,
    codec: Codec = None,
    engine: EngineId = None,
    yes: Yes = False,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Put the failed or cancelled job ID back, or all that match the filters, with all retries."""
    _require_one_or_many(job_id, status, codec, engine)
    if job_id is not None:
        name = job_id
        ask(server, api_key, lambda client: client.retry(name))
        print_text(f"Job {job_id} re-queued")
        return

    change = partial(Client.retry_matching, status=status, codec=codec, engine=engine)
    _change_all(partial(ask, server, api_key), change, "Put {:,} jobs back?", "re-queued", yes=yes)


def priority(
    job_id: Annotated[str, typer.Argument(metavar="ID")],
    priority: Annotated[
        int, typer.Argument(help="From 0 to 100; more goes first.", min=0, max=100)
    ],
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Give a waiting job another priority."""
    ask(server, api_key, lambda client: client.prioritize(job_id, priority))
    print_text(f"Job {job_id} has priority {priority}")


def _require_one_or_many(job_id: str | None, *filters: str | None) -> None:
    is_filtered = any(it is not None for it in filters)
    if job_id is not None and is_filtered:
        raise typer.BadParameter("an ID and filters contradict each other; give one or the other")
    if job_id is None and not is_filtered:
        raise typer.BadParameter("it needs an ID, or a filter: --status, --codec or --engine")


def _change_all(
    asked: Callable[[Callable[[Client], Awaitable[Matched]]], Matched],
    change: Callable[..., Awaitable[Matched]],
    question: str,
    verb: str,
    *,
    yes: bool,
) -> None:
    """Change all jobs that match, once somebody has agreed to so many."""
    count = asked(partial(change, dry_run=True)).count
    _confirm(question.format(count), yes=yes)
    _tell(asked(change), verb)


def _confirm(question: str, *, yes: bool) -> None:
    """Ask before many jobs are changed. Without an answer nothing is."""
    if not yes:
        typer.confirm(question, abort=True, err=True)


def _tell(matched: Matched, verb: str) -> None:
    """Say how many were done, and exit with 1 unless all were."""
    print_text(f"{matched.done:,} of {matched.count:,} jobs {verb}")
    for reason, number in matched.reasons.items():
        print_text(f"  {number:,}: {reason}")
    if matched.not_done:
        raise typer.Exit(1)
