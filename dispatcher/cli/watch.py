"""`dispatcher watch`."""

import asyncio
import logging
import signal
from pathlib import Path
from typing import Annotated

import typer
from watchfiles import awatch

from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, Server
from dispatcher.cli.output import say
from dispatcher.cli.recipes import AskedFor, asked_recipe
from dispatcher.cli.watching import NOTES, Asked, Watcher
from dispatcher.client import Client

__all__ = ["watch"]

LOOK_MS = 1_000
"""The longest pause between two looks at the folder; a change is seen at once where that works."""


def watch(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="The folder.")
    ],
    codec: Annotated[str, typer.Option(help="What to transcode to: h264, hevc, vp9, av1, …")],
    recipe: AskedFor = None,
    output_name: Annotated[
        str | None, typer.Option(help="Of the outputs, such as '{stem}-{codec}'.")
    ] = None,
    priority: Annotated[
        int, typer.Option(help="From 0 to 100; more goes first.", min=0, max=100)
    ] = 0,
    max_retries: Annotated[int, typer.Option(help="Failures until it is given up.", min=0)] = 3,
    tag: Annotated[
        list[str] | None,
        typer.Option(help="Only engines with this tag may have them; may be repeated."),
    ] = None,
    done: Annotated[
        Path | None,
        typer.Option(help="Where a film is moved when it is transcoded; without it, it stays."),
    ] = None,
    settle_s: Annotated[
        float,
        typer.Option(help="A film is whole when it has not changed for so many seconds.", min=0.1),
    ] = 10.0,
    shared: Annotated[
        bool,
        typer.Option(
            "--shared", help="Upload nothing: every engine can read the films under the same path."
        ),
    ] = False,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Submit each film that is put into DIR, until SIGTERM or Ctrl-C.

    Films below it count too; hidden files do not. No film is submitted twice, by its content, also
    after a restart. For each a line is printed, with its job and its path.
    """
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    asked = Asked(
        codec, asked_recipe(recipe, {}), output_name, priority, max_retries, tuple(tag or ())
    )
    here, there = folder.absolute(), None if done is None else done.absolute()
    if there == here:
        raise typer.BadParameter("--done must be another folder than DIR")
    asyncio.run(_watch(server, api_key, here, asked, settle_s, there, shared=shared))


async def _watch(  # noqa: PLR0913, PLR0917 - all that it is told
    server: Server,
    api_key: str | None,
    folder: Path,
    asked: Asked,
    settle_s: float,
    done: Path | None,
    *,
    shared: bool,
) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopped.set)
    async with Client(server, api_key) as client:
        watcher = Watcher(client, folder, asked, settle_s, done)
        work = asyncio.create_task(_look(watcher, folder, stopped, shared=shared))
        waiting = asyncio.create_task(stopped.wait())
        say(f"Watching {folder}; a film is submitted when it has not changed for {settle_s:g} s")
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not work.done():
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            say("Stopped; the jobs that were submitted go on")
            return
        await work  # tells why it ended


async def _look(watcher: Watcher, folder: Path, stopped: asyncio.Event, *, shared: bool) -> None:
    changes = awatch(
        folder,
        stop_event=stopped,
        rust_timeout=LOOK_MS,
        yield_on_timeout=True,
        watch_filter=lambda _, path: not Path(path).name.startswith(NOTES),
    )
    async for _ in changes:
        await watcher.look(shared=shared)
