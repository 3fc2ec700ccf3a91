"""`dispatcher fetch`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from msgspec import UNSET

from dispatcher import files
from dispatcher.cli.asking import ask
from dispatcher.cli.job_ids import JobIds, jobs_named
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, AsJson, Server
from dispatcher.cli.output import print_json, print_text, say
from dispatcher.cli.placing import transfer_bar
from dispatcher.client import Client, JobView, digest_of
from dispatcher.errors import DispatcherError
from dispatcher.output_names import filled_in

__all__ = ["fetch"]


def fetch(
    job_ids: JobIds,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder to put them in; made if missing.")
    ] = Path(),
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Bring home the outputs of jobs from the dispatcher's store.

    What has come of one that was stopped is not fetched again. Each is checked by its SHA-256.
    """

    async def work(client: Client) -> list[Path]:
        named = await jobs_named(client, job_ids)
        return [await _fetched(client, job_id, output) for job_id in named]

    try:
        output.mkdir(parents=True, exist_ok=True)
        fetched = ask(server, api_key, work)
    except OSError as error:
        raise DispatcherError(f"{output}: can't be written: {error.strerror or error}") from error
    if as_json:
        print_json([str(path) for path in fetched])
    else:
        for path in fetched:
            print_text(str(path))


async def _fetched(client: Client, job_id: str, folder: Path) -> Path:
    """Fetch the output of one job; gives its path."""
    info = await client.output_info(job_id)
    told = _told_by(await client.job(job_id))
    if told not in {None, info.sha256}:
        raise DispatcherError(
            f"job {job_id}: its engine reported an output with the SHA-256 {told}, and the store "
            f"has {info.sha256}: it is not what was made; nothing was fetched"
        )
    path = folder / _safe(info.name or job_id)
    if path.exists():
        if path.is_file() and await digest_of(path) == info.sha256:
            say(f"{path} is there already")
            return path
        raise DispatcherError(
            f"{path} is another file; name another folder with -o, or move that file"
        )
    part = folder / f".{info.sha256[:16]}.part"
    try:
        with transfer_bar(f"fetching {path.name}", info.size_bytes) as (bar, task):
            await client.fetch_output(
                job_id, info, part, progress=lambda done: bar.update(task, completed=done)
            )
    except asyncio.CancelledError:
        say(f"Stopped while fetching {path.name}; the same command goes on from there")
        raise
    files.put(part, path, replace=False)
    return path


def _told_by(job: JobView) -> str | None:
    """Return the SHA-256 that an engine told of its output, if it did."""
    output = None if job.result is UNSET else job.result.get("output")
    sha256 = output.get("sha256") if isinstance(output, dict) else None
    return sha256 if isinstance(sha256, str) else None


def _safe(name: str) -> str:
    """Return the name of a file in this folder, whatever an engine has called it."""
    stem, dot, suffix = name.rpartition(".")
    return filled_in("{stem}", {"stem": stem or name}) + (
        f"{dot}{filled_in('{stem}', {'stem': suffix})}" if stem else ""
    )
