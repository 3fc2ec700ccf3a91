"""Taking local files along: to the dispatcher's store if it has one, with a line of progress.

Laws:
- Without a store, and with `--shared`, a local file is a `file://` URL, which all engines must see.
  Unless that was asked for, it is said.
- What was sent before an upload was stopped is not sent again by the next one.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from dispatcher.cli.output import plain, say
from dispatcher.client import Client, RequestRefusedError, digest_of

__all__ = ["Source", "placed", "transfer_bar"]

_TOO_LARGE = 413


class Source(NamedTuple):
    """What is to be transcoded: a URL, or a local file; and its size in MB."""

    where: str | Path
    size_mb: float


async def placed(client: Client, sources: Sequence[Source], *, shared: bool) -> list[str]:
    """Return the URLs of sources, of which local files are uploaded if possible."""
    local = {it.where: "" for it in sources if isinstance(it.where, Path)}
    if local and not shared:
        store = await client.store()
        if store.enabled:
            for path in local:
                local[path] = await _uploaded(client, path, store.max_file_bytes)
        else:
            say(
                f"{client.server} has no store (`serve --store DIR`), so every engine must be able "
                f"to read {'these files' if len(local) > 1 else 'this file'} under the same path; "
                "--shared says that they can"
            )
    return [
        local.get(it.where) or it.where.as_uri() if isinstance(it.where, Path) else it.where
        for it in sources
    ]


async def _uploaded(client: Client, path: Path, max_bytes: int) -> str:
    """Upload a file; gives its URL in the store."""
    size = path.stat().st_size
    if max_bytes and size > max_bytes:
        raise RequestRefusedError(
            _TOO_LARGE,
            f"{path} has {size:,} bytes, and the store takes {max_bytes:,} at most "
            "(serve --store-max-file-gb); --shared leaves it where it is",
        )
    try:
        with transfer_bar(f"reading {path.name}", size) as (bar, task):
            sha256 = await digest_of(path, lambda done: bar.update(task, completed=done))
            bar.update(task, completed=0, description=plain(f"uploading {path.name}"))
            return await client.upload(
                path, sha256=sha256, progress=lambda done: bar.update(task, completed=done)
            )
    except asyncio.CancelledError:
        say(f"Stopped while uploading {path.name}; the same command goes on from there")
        raise


@contextmanager
def transfer_bar(what: str, size: int) -> Iterator[tuple[Progress, TaskID]]:
    """Show the progress of a transfer until the block ends, if standard error is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        yield bar, bar.add_task(plain(what), total=size)
