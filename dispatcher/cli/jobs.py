"""`dispatcher submit`, `jobs`, `job` and `engines`: a client at the command line."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, AsJson, Server
from dispatcher.cli.output import engines_table, jobs_table, print_json, print_table, print_text
from dispatcher.client import Client, DispatcherAwayError
from projections.engines import EngineView
from projections.jobs import JobView

__all__ = ["engines", "job", "jobs", "submit"]

WATCH_S = 0.5
"""Pause between two looks at the jobs that are waited for."""
_BYTES_A_MB = 1_000_000

T = TypeVar("T")


def submit(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="URLs, or paths of local files.")
    ],
    codec: Annotated[str, typer.Option(help="What to transcode to: h264, hevc, vp9, av1, …")],
    size_mb: Annotated[
        float | None,
        typer.Option(help="The sources' size; that of a local file is known.", min=0),
    ] = None,
    max_retries: Annotated[int, typer.Option(help="Failures until it is given up.", min=0)] = 3,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all are done.")] = False,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Submit a job for each SOURCE. With --wait, exit with 1 if any of them failed."""
    described = [_described(source, size_mb) for source in sources]

    async def work(client: Client) -> list[JobView]:
        submitted = [
            await client.submit(url, codec, job_size=size, max_retries=max_retries)
            for url, size in described
        ]
        return await _watch(client, submitted) if wait else submitted

    done = _ask(server, api_key, work)
    _show_jobs(done, as_json=as_json)
    if wait and any(job.status != "completed" for job in done):
        raise typer.Exit(1)


def jobs(server: Server = DEFAULT_SERVER, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """List all jobs."""
    _show_jobs(_ask(server, api_key, Client.jobs), as_json=as_json)


def job(
    job_id: Annotated[str, typer.Argument(metavar="ID")],
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show one job."""
    found = _ask(server, api_key, lambda client: client.job(job_id))
    if as_json:
        print_json(found)
    else:
        print_table(jobs_table([found]))
        if found.error_message is not None:
            print_text(found.error_message)


def engines(
    server: Server = DEFAULT_SERVER, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """List all engines."""
    found: list[EngineView] = _ask(server, api_key, Client.engines)
    if as_json:
        print_json([engine.wire() for engine in found])
    else:
        print_table(engines_table(found))


def _ask(server: str, api_key: str | None, work: Callable[[Client], Awaitable[T]]) -> T:
    async def session() -> T:
        async with Client(server, api_key) as client:
            return await work(client)

    return asyncio.run(session())


def _show_jobs(jobs: list[JobView], *, as_json: bool) -> None:
    if as_json:
        print_json(jobs)
    else:
        print_table(jobs_table(jobs))


def _described(source: str, size_mb: float | None) -> tuple[str, float]:
    """Give a source's URL and size; a source that is no URL is a local file."""
    if len(urlsplit(source).scheme) > 1:  # one letter is a drive, not a scheme
        return source, size_mb or 0.0
    path = Path(source).absolute()
    if not path.is_file():
        raise typer.BadParameter(f"{source}: there is no such file; give a path or a URL")
    return path.as_uri(), path.stat().st_size / _BYTES_A_MB if size_mb is None else size_mb


async def _watch(client: Client, submitted: list[JobView]) -> list[JobView]:
    """Wait until every job is final, through any absence of the dispatcher."""
    current = {job.job_id: job for job in submitted}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("waiting", total=len(current))
        while unfinished := [job for job in current.values() if not job.final]:
            assigned = sum(job.status == "assigned" for job in unfinished)
            text = f"{assigned} in work, {len(unfinished) - assigned} waiting"
            progress.update(bar, completed=len(current) - len(unfinished), description=text)
            await asyncio.sleep(WATCH_S)
            try:
                for job in unfinished:
                    current[job.job_id] = await client.job(job.job_id)
            except DispatcherAwayError as error:
                progress.update(bar, description=str(error))
        progress.update(bar, completed=len(current), description="done")
    return list(current.values())
