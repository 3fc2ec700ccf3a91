"""`dispatcher submit`, `jobs`, `job`, `why`, `cancel`, `retry` and `priority`."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, AsJson, Server
from dispatcher.cli.output import jobs_table, plain, print_json, print_table, print_text
from dispatcher.client import (
    Client,
    DispatcherAwayError,
    Matched,
    RequestRefusedError,
    Submission,
)
from dispatcher.client.batches import parts
from dispatcher.urls import masked
from projections.jobs import JobView

__all__ = ["ask", "cancel", "job", "jobs", "priority", "retry", "submit", "why"]

WATCH_S = 0.5
"""The pause between two polls of the jobs that are waited for."""
_BYTES_A_MB = 1_000_000

T = TypeVar("T")
JobOrNone = Annotated[str | None, typer.Argument(metavar="[ID]", show_default=False)]
Status = Annotated[str | None, typer.Option(help="All jobs of this status.", show_default=False)]
Codec = Annotated[str | None, typer.Option(help="All jobs for this codec.", show_default=False)]
EngineId = Annotated[
    str | None, typer.Option("--engine", help="All jobs of this engine.", show_default=False)
]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask whether to change so many jobs.")]


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
    priority: Annotated[
        int, typer.Option(help="From 0 to 100; more goes first.", min=0, max=100)
    ] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all are done.")] = False,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Submit a job for each SOURCE. With --wait, exit with 1 if any of them failed."""
    described = [_described(source, size_mb) for source in sources]
    wanted = [Submission(url, codec, size, max_retries, priority) for url, size in described]

    async def work(client: Client) -> list[JobView]:
        submitted, refused = list[JobView](), list[tuple[str, RequestRefusedError]]()
        if len(described) == 1:
            ((url, size),) = described
            submitted.append(
                await client.submit(
                    url, codec, job_size=size, max_retries=max_retries, priority=priority
                )
            )
            return await _watch(client, submitted) if wait else submitted
        try:
            for part in parts(wanted):
                for one, outcome in zip(part, await client.submit_many(part), strict=True):
                    if isinstance(outcome, JobView):
                        submitted.append(outcome)
                    else:
                        refused.append((one.source_url, outcome))
            if refused:
                raise _refused(refused, len(wanted))
        except (DispatcherAwayError, RequestRefusedError):
            _show_jobs(submitted, as_json=as_json)
            raise
        return await _watch(client, submitted) if wait else submitted

    done = ask(server, api_key, work)
    _show_jobs(done, as_json=as_json)
    if wait and any(job.status != "completed" for job in done):
        raise typer.Exit(1)


def jobs(server: Server = DEFAULT_SERVER, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """List all jobs."""
    _show_jobs(ask(server, api_key, Client.jobs), as_json=as_json)


def job(
    job_id: Annotated[str, typer.Argument(metavar="ID")],
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show one job."""
    found = ask(server, api_key, lambda client: client.job(job_id))
    if as_json:
        print_json(found)
    else:
        print_table(jobs_table([found]))
        for line in (found.error_message or "").splitlines():
            print_text(line)


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
        print_text(f"Engine {found.engine_id} was chosen by the rule '{found.rule}'.")
        print_text(f"Others that could have had it: {', '.join(others) or 'none asked about'}.")
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

    def matching(client: Client, *, dry_run: bool = False) -> Awaitable[Matched]:
        return client.cancel_matching(status=status, codec=codec, engine=engine, dry_run=dry_run)

    count = ask(server, api_key, lambda it: matching(it, dry_run=True)).count
    _confirm(f"Cancel {count:,} jobs?", yes=yes)
    _tell(ask(server, api_key, matching), "cancelled")


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

    def matching(client: Client, *, dry_run: bool = False) -> Awaitable[Matched]:
        return client.retry_matching(status=status, codec=codec, engine=engine, dry_run=dry_run)

    count = ask(server, api_key, lambda it: matching(it, dry_run=True)).count
    _confirm(f"Put {count:,} jobs back?", yes=yes)
    _tell(ask(server, api_key, matching), "re-queued")


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


def ask(server: str, api_key: str | None, work: Callable[[Client], Awaitable[T]]) -> T:
    """Call `work` with a client, and return its result."""

    async def session() -> T:
        async with Client(server, api_key) as client:
            return await work(client)

    return asyncio.run(session())


def _require_one_or_many(job_id: str | None, *filters: str | None) -> None:
    is_filtered = any(it is not None for it in filters)
    if job_id is not None and is_filtered:
        raise typer.BadParameter("an ID and filters contradict each other; give one or the other")
    if job_id is None and not is_filtered:
        raise typer.BadParameter("it needs an ID, or a filter: --status, --codec or --engine")


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


def _refused(refused: list[tuple[str, RequestRefusedError]], among: int) -> RequestRefusedError:
    """Return the error that names the sources that were refused."""
    source, first = refused[0]
    text = f"{len(refused):,} of {among:,} sources were refused; {masked(source)}: {first.text}"
    return RequestRefusedError(first.status, text)


def _show_jobs(jobs: list[JobView], *, as_json: bool) -> None:
    if as_json:
        print_json(jobs)
    else:
        print_table(jobs_table(jobs))


def _described(source: str, size_mb: float | None) -> tuple[str, float]:
    """Return a source's URL and its size in MB. Anything but a local file must be a URL."""
    path = Path(source).absolute()
    if path.is_file():
        return path.as_uri(), path.stat().st_size / _BYTES_A_MB if size_mb is None else size_mb
    try:
        scheme = urlsplit(source).scheme
    except ValueError as error:
        raise typer.BadParameter(f"{masked(source)}: is no URL") from error
    if not scheme:
        raise typer.BadParameter(f"{masked(source)}: there is no such file; give a path or a URL")
    return source, size_mb or 0.0


async def _watch(client: Client, submitted: list[JobView]) -> list[JobView]:
    """Wait until every job is final, even if the dispatcher is away meanwhile."""
    current = {job.job_id: job for job in submitted}
    columns = (
        TextColumn("{task.description}", markup=False),
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
                progress.update(bar, description=plain(masked(str(error))))
        progress.update(bar, completed=len(current), description="done")
    return list(current.values())
