"""Which jobs a person means: an id, the beginning of one, or `@last`.

Laws:
- An id that is given in full is meant, also where others begin with it.
- A beginning is taken only if a single id has it. Otherwise some that have it are named, and
  nothing is done.
- `@last` is what this user last submitted from this machine to this dispatcher: all those jobs
  where a command takes several, and the last of them where it takes one.
- What `@last` is stands in a file. A submission does not fail because that can't be written.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final

import msgspec
import platformdirs
import typer

from dispatcher import files
from dispatcher.cli.output import say
from dispatcher.client import Client, RequestRefusedError

__all__ = ["LAST", "JobId", "JobIds", "job_named", "jobs_named", "note_submitted"]

LAST: Final = "@last"
_CANDIDATES: Final = 10
"""Most ids that are named when several begin alike."""
_HELP: Final = "An id, the beginning of one, or @last: what you last submitted from here."

JobId = Annotated[str, typer.Argument(metavar="ID", help=_HELP, show_default=False)]
JobIds = Annotated[list[str], typer.Argument(metavar="ID", help=_HELP, show_default=False)]


async def job_named(client: Client, text: str) -> str:
    """Return the id of the job that is meant. `RequestRefusedError` if it is none, or not one."""
    if text == LAST:
        return _last(client.server)[-1]
    if not text:
        raise _not_found(text)
    try:
        return (await client.job(text)).job_id
    except RequestRefusedError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
    found = await _beginning(client, text)
    if not found:
        raise _not_found(text)
    if len(found) > 1:
        more = ", …" if len(found) > _CANDIDATES else ""
        raise RequestRefusedError(
            0,
            f"several jobs have ids that begin with {text!r}; give more of the one you mean: "
            f"{', '.join(found[:_CANDIDATES])}{more}",
        )
    return found[0]


async def jobs_named(client: Client, texts: Iterable[str]) -> list[str]:
    """Return the ids of the jobs that are meant, each once; see `job_named`."""
    found: list[str] = []
    for text in texts:
        found += _last(client.server) if text == LAST else [await job_named(client, text)]
    return list(dict.fromkeys(found))


def note_submitted(server: str, job_ids: Sequence[str]) -> None:
    """Note what `@last` is from now on for a dispatcher."""
    if not job_ids:
        return
    path = _path(server)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        files.write(path, msgspec.json.encode(job_ids), draft, mode=0o600)
    except OSError as error:
        say(f"{LAST} is not these jobs, as {path} can't be written: {error.strerror or error}")


async def _beginning(client: Client, text: str) -> list[str]:
    """Return ids that begin with a text; none if the dispatcher can't tell: an older one."""
    try:
        return await client.ids(text, _CANDIDATES + 1)
    except RequestRefusedError as error:
        if error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST}:
            return []
        raise


def _not_found(text: str) -> RequestRefusedError:
    return RequestRefusedError(
        HTTPStatus.NOT_FOUND,
        f"Job not found: {text!r} is no job's id, nor the beginning of one",
    )


def _last(server: str) -> list[str]:
    path = _path(server)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=list[str])
    except FileNotFoundError:
        found = []
    except (OSError, msgspec.MsgspecError) as error:
        raise RequestRefusedError(
            0, f"{LAST}: {path} can't be read ({error}); give the job's id"
        ) from error
    if not found:
        raise RequestRefusedError(
            0, f"{LAST}: you have submitted nothing to {server} from here; give the job's id"
        )
    return found


def _path(server: str) -> Path:
    """Return where the ids stand; of each dispatcher in a file of its own."""
    name = hashlib.sha256(server.encode(errors="surrogatepass")).hexdigest()[:32]
    return platformdirs.user_state_path("dispatcher") / "last" / f"{name}.json"
