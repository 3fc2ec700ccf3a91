"""`dispatcher wait`."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Final

import typer

from dispatcher.cli.asking import ask
from dispatcher.cli.columns import JOBS
from dispatcher.cli.following import Following, farewell, follow
from dispatcher.cli.job_ids import JobIds, jobs_named
from dispatcher.cli.moments import duration_s
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, AsJson, Server
from dispatcher.cli.output import print_json
from dispatcher.cli.tables import print_rows
from dispatcher.client import Client

__all__ = ["conclude", "wait"]

TIME_IS_OVER: Final = 124
"""The exit code of timeout(1)."""
INTERRUPTED: Final = 130
"""The exit code of a command that Ctrl-C ends."""


def wait(
    job_ids: JobIds,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Wait no longer than this: 90, 10m, 1h30m."),
    ] = None,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Wait until jobs are done. Exit with 0 if all are completed, and with 1 otherwise.

    Exits with 124 if the time of --timeout is over. Then, and after Ctrl-C, the jobs go on.
    """
    try:
        timeout_s = None if timeout is None else duration_s(timeout)
    except ValueError as error:
        raise typer.BadParameter(f"--timeout: {error}") from None

    async def work(client: Client) -> Following:
        named = await jobs_named(client, job_ids)
        following = Following([await client.job(job_id) for job_id in named])
        try:
            async with asyncio.timeout(timeout_s):
                await follow(client, following)
        except TimeoutError:
            farewell(following)
        except asyncio.CancelledError:
            farewell(following)
            raise
        return following

    conclude(lambda: ask(server, api_key, work), as_json=as_json)


def conclude(waited: Callable[[], Following], *, as_json: bool) -> None:
    """Wait for jobs, print them, and exit with what has become of them."""
    try:
        following = waited()
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    jobs = list(following.current.values())
    if as_json:
        print_json(jobs)
    else:
        print_rows(JOBS, jobs)
    if following.unfinished:
        raise typer.Exit(TIME_IS_OVER)
    if any(job.status != "completed" for job in jobs):
        raise typer.Exit(1)
