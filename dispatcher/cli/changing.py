"""`dispatcher cancel`, `retry` and `priority`: of jobs by their ids, or of all that match filters.

Laws:
- All ids are understood before the first job is changed.
- Where filters choose, somebody agrees to the number of jobs first, or has said --yes. The
  dispatcher finds them again when it changes them: a job that came to match meanwhile is changed
  too, and the count that is told in the end has it.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated, Any, NamedTuple, Protocol, TypeVar

import typer

from dispatcher.cli.asking import ask
from dispatcher.cli.job_ids import jobs_named
from dispatcher.cli.moments import moment_of
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, Server, Utc
from dispatcher.cli.output import print_text
from dispatcher.client import Client, Matched, RequestRefusedError
from dispatcher.client.jobs import Filters

__all__ = ["cancel", "priority", "retry"]

MOST_PRIORITY = 100

T = TypeVar("T")

JobsOrNone = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ID",
        help="Ids, the beginnings of ids, or @last: what you last submitted from here.",
        show_default=False,
    ),
]
Status = Annotated[
    str | None,
    typer.Option(help="All jobs of this status, or of several: a,b.", show_default=False),
]
Codec = Annotated[str | None, typer.Option(help="All jobs for this codec.", show_default=False)]
EngineId = Annotated[
    str | None, typer.Option("--engine", help="All jobs of this engine.", show_default=False)
]
Text = Annotated[
    str | None,
    typer.Option(help="All with these words in URLs, error, id or engine.", show_default=False),
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="All finished, or else submitted, then or later: '2 hours ago', '08:56', …",
        show_default=False,
    ),
]
Until = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="All finished, or else submitted, before."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask whether to change so many jobs.")]


class _Change(NamedTuple):
    """What is done: to one job, to all that match, and how that is asked and told."""

    one: Callable[[Client, str], Awaitable[None]]
    matching: Callable[..., Awaitable[Matched]]
    question: str
    done: str
    done_to_many: str


class _Asked(Protocol):
    """`ask`, with the dispatcher and the key given."""

    def __call__(self, work: Callable[[Client], Awaitable[T]], /) -> T: ...


_CANCEL = _Change(Client.cancel, Client.cancel_matching, "Cancel {}?", "cancelled", "cancelled")
_RETRY = _Change(Client.retry, Client.retry_matching, "Put {} back?", "re-queued", "re-queued")


def cancel(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    job_ids: JobsOrNone = None,
    status: Status = None,
    codec: Codec = None,
    engine: EngineId = None,
    text: Text = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    utc: Utc = False,
) -> None:
    """Give up jobs by their ids, or all that match the filters; the engines that run them stop."""
    filters = _filters(status, codec, engine, text, since, until, utc=utc)
    _change(partial(ask, server, api_key), _CANCEL, job_ids or (), filters, yes=yes)


def retry(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    job_ids: JobsOrNone = None,
    status: Status = None,
    codec: Codec = None,
    engine: EngineId = None,
    text: Text = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    utc: Utc = False,
) -> None:
    """Put failed or cancelled jobs back, by ids or all that match the filters, with all retries."""
    filters = _filters(status, codec, engine, text, since, until, utc=utc)
    _change(partial(ask, server, api_key), _RETRY, job_ids or (), filters, yes=yes)


def priority(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[ID] PRIORITY",
            help="The job, unless filters choose; and from 0 to 100: more goes first.",
            show_default=False,
        ),
    ],
    status: Status = None,
    codec: Codec = None,
    engine: EngineId = None,
    text: Text = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    utc: Utc = False,
) -> None:
    """Give a waiting job, or all that match the filters, another priority."""
    *named, last = words
    if not (last.isascii() and last.isdecimal() and int(last) <= MOST_PRIORITY):
        raise typer.BadParameter(f"{last!r} is no priority; give a number from 0 to 100 at the end")
    if len(named) > 1:
        raise typer.BadParameter("give one ID and one priority, or filters and a priority")
    number = int(last)

    async def prioritize(client: Client, job_id: str) -> None:
        await client.prioritize(job_id, number)

    async def matching(client: Client, **asked: Any) -> Matched:
        return await client.prioritize_matching(number, **asked)

    change = _Change(
        prioritize,
        matching,
        f"Give {{}} the priority {number}?",
        f"has priority {number}",
        f"given priority {number}",
    )
    filters = _filters(status, codec, engine, text, since, until, utc=utc)
    _change(partial(ask, server, api_key), change, named, filters, yes=yes)


def _filters(  # noqa: PLR0913, PLR0917 - there are as many filters
    status: str | None,
    codec: str | None,
    engine: str | None,
    text: str | None,
    since: str | None,
    until: str | None,
    *,
    utc: bool,
) -> Filters:
    return {
        "status": status,
        "codec": codec,
        "engine": engine,
        "text": text,
        "since": moment_of("--since", since, utc=utc),
        "until": moment_of("--until", until, utc=utc, ahead=True),
    }


def _change(
    asked: _Asked, change: _Change, named: Sequence[str], filters: Filters, *, yes: bool
) -> None:
    """Change the jobs that are named, or that match once somebody has agreed."""
    is_filtered = any(it is not None for it in filters.values())
    if named and is_filtered:
        raise typer.BadParameter("an ID and filters contradict each other; give one or the other")
    if named:
        asked(lambda client: _change_named(client, change, named))
    elif is_filtered:
        _change_matching(asked, change, filters, yes=yes)
    else:
        raise typer.BadParameter(
            "it needs an ID, or a filter: --status, --codec, --engine, --text, --since or --until"
        )


async def _change_named(client: Client, change: _Change, named: Sequence[str]) -> None:
    job_ids = await jobs_named(client, named)
    for done, job_id in enumerate(job_ids):
        try:
            await change.one(client, job_id)
        except RequestRefusedError as error:
            many = f" ({done} of {len(job_ids)} are done)" if len(job_ids) > 1 else ""
            text = f"job {job_id}: {error.text}{many}"
            raise RequestRefusedError(error.status, text) from error
        print_text(f"Job {job_id} {change.done}")


def _change_matching(asked: _Asked, change: _Change, filters: Filters, *, yes: bool) -> None:
    # The question is asked between two sessions: within one, Ctrl-C would wait for an answer.
    count = asked(lambda client: change.matching(client, dry_run=True, **filters)).count
    if not count:
        print_text("No job matches; nothing was changed")
        return
    if not yes:
        jobs = "1 job" if count == 1 else f"{count:,} jobs"
        typer.confirm(change.question.format(jobs), abort=True, err=True)
    matched = asked(lambda client: change.matching(client, **filters))
    print_text(f"{matched.done:,} of {matched.count:,} jobs {change.done_to_many}")
    for reason, number in matched.reasons.items():
        print_text(f"  {number:,}: {reason}")
    if matched.not_done:
        raise typer.Exit(1)
