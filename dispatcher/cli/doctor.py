"""`dispatcher doctor`: whether all is there that is needed, and the way out if it is not.

Laws:
- It changes nothing: it only looks.
- Each check is made whatever the others find, as far as that is possible.
- `fail` is what keeps a person from working with the dispatcher. What an engine on this machine
  would lack is a `warn`: not every machine runs one.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import typer

from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, AsJson, Server
from dispatcher.cli.output import print_json
from dispatcher.cli.settings import chosen, config_path, key_for
from dispatcher.cli.tables import Column, print_rows
from dispatcher.client import Client, DispatcherAwayError, DispatcherError, RequestRefusedError
from dispatcher.client.servers import server_urls
from dispatcher.urls import masked

__all__ = ["doctor"]

CLOCK_S: Final = 2.0
"""How far clocks may be apart. A dispatcher tells its time to the second."""
LITTLE_GB: Final = 10
NONE_GB: Final = 1


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, how it is, and what to do if it is not well."""

    check: str
    state: Literal["ok", "warn", "fail"]
    found: str
    way_out: str = ""


def doctor(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    engine: Annotated[
        bool,
        typer.Option("--engine/--no-engine", help="Look at what an engine here would need, too."),
    ] = True,
    ffmpeg: Annotated[
        str | None, typer.Option(help="The ffmpeg of the engine.", show_default=False)
    ] = None,
    work_dir: Annotated[
        Path | None, typer.Option(help="The engine's folder.", show_default=False)
    ] = None,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Look whether all is well: dispatcher, key, clock, store, engines; ffmpeg and disk here.

    Exits with 1 if anything fails.
    """

    async def look() -> list[Finding]:
        found = [_settings()]
        found += [it async for it in _farm(server, api_key)]
        if engine:
            found += [it async for it in _machine(ffmpeg, work_dir)]
        return found

    found = asyncio.run(look())
    if as_json:
        print_json(found)
    else:
        print_rows(_COLUMNS, found)
    if any(it.state == "fail" for it in found):
        raise typer.Exit(1)


def _settings() -> Finding:
    path, context = config_path(), chosen.get()
    if context is not None:
        return Finding("settings", "ok", f"context {context.name} of {path}")
    there = "names no context that is meant" if path.exists() else "is not there, and need not be"
    return Finding("settings", "ok", f"{path} {there}")


async def _farm(server: Sequence[str], api_key: str | None) -> AsyncIterator[Finding]:
    """Look at each dispatcher, and through the first that answers at the farm."""
    try:
        urls = server_urls(server)
        key = key_for(server) if api_key is None else api_key
    except DispatcherError as error:
        yield Finding("dispatcher", "fail", str(error))
        return
    first: str | None = None
    for url in urls:
        try:
            async with Client(url, key) as client:
                async for finding in _dispatcher(client, url):
                    yield finding
            first = first or url
        except RequestRefusedError as error:
            way_out = "is another program at this address? See --server and DISPATCHER_SERVER"
            yield Finding("dispatcher", "fail", str(error), way_out)
        except DispatcherAwayError as error:
            way_out = "is it running, and is this its address? See --server and DISPATCHER_SERVER"
            yield Finding("dispatcher", "fail", str(error), way_out)
    if first is None:
        return
    async with Client(first, key) as client:
        try:
            yield await _key(client)
            yield await _store(client)
            async for finding in _engines(client):
                yield finding
        except RequestRefusedError as error:
            if error.status != HTTPStatus.UNAUTHORIZED:
                yield Finding("key", "fail", str(error))
            elif key is None:
                way_out = "set DISPATCHER_API_KEY, or the key_file of a context"
                yield Finding("key", "fail", "the dispatcher needs one, and there is none", way_out)
            else:
                way_out = "ask for another: `dispatcher key new NAME --role client` makes one"
                yield Finding("key", "fail", "the dispatcher does not know it", way_out)
        except DispatcherAwayError as error:
            yield Finding("dispatcher", "fail", str(error))


async def _dispatcher(client: Client, url: str) -> AsyncIterator[Finding]:
    before = datetime.now(UTC)
    health, there = await client.health()
    after = datetime.now(UTC)
    where = f"{masked(url)}, at seq {health.seq:,}"
    if health.fault is not None:
        way_out = "see what it says on its standard error, and docs/operations.md"
        yield Finding("dispatcher", "fail", f"{where}: {health.status}: {health.fault}", way_out)
    elif health.warning is not None:
        yield Finding("dispatcher", "warn", f"{where}: {health.warning}", "see docs/operations.md")
    else:
        yield Finding("dispatcher", "ok", where)
    if there is None:
        yield Finding("clock", "warn", "it does not tell its time")
        return
    # It was this second when it answered, which was between the two.
    behind_s = (before - there).total_seconds() - 1
    ahead_s = (there - after).total_seconds()
    apart_s = max(behind_s, ahead_s, 0.0)
    if apart_s <= CLOCK_S:
        yield Finding("clock", "ok", "as the dispatcher's")
    else:
        side = "behind" if ahead_s > behind_s else "ahead of"
        way_out = "set the clocks by NTP (timedatectl set-ntp true)"
        yield Finding("clock", "warn", f"{apart_s:,.0f} s {side} the dispatcher's", way_out)


async def _key(client: Client) -> Finding:
    key = await client.key()
    bound = "" if key.engine_id is None else f", for engine {key.engine_id} alone"
    return Finding("key", "ok", f"{key.name}, role {key.role}{bound}")


async def _store(client: Client) -> Finding:
    store = await client.store()
    if not store.enabled:
        return Finding(
            "store",
            "ok",
            "none: engines must see local files under the same paths",
            "`dispatcher serve --store DIR` takes uploads",
        )
    most = f", files up to {store.max_file_bytes / 1e9:,.0f} GB" if store.max_file_bytes else ""
    return Finding("store", "ok", f"there is one{most}")


async def _engines(client: Client) -> AsyncIterator[Finding]:
    engines = await client.engines()
    online = [it for it in engines if it.online]
    blocked = [it.engine_id for it in online if it.blocked is not None]
    found = f"{len(online):,} of {len(engines):,} online"
    if not online:
        way_out = "start one: dispatcher engine --output DIR"
        yield Finding("engines", "warn", found, way_out)
    elif blocked:
        way_out = f"see dispatcher tail --engine {blocked[0]} --after 0; then dispatcher resume"
        yield Finding("engines", "warn", f"{found}, blocked: {', '.join(blocked)}", way_out)
    else:
        yield Finding("engines", "ok", found)


async def _machine(ffmpeg: str | None, work_dir: Path | None) -> AsyncIterator[Finding]:
    """Look at what an engine on this machine would need."""
    from dispatcher.engine.ffmpeg import (  # noqa: PLC0415 - the other commands don't need it
        Ffmpeg,
        find_ffmpeg,
    )
    from dispatcher.engine.workspace import default_work_dir  # noqa: PLC0415

    try:
        found = await Ffmpeg.probe(find_ffmpeg(ffmpeg))
    except DispatcherError as error:
        yield Finding("ffmpeg", "warn", str(error), "needed only where an engine runs")
    else:
        yield Finding("ffmpeg", "ok", f"{found.path}: {found.version or 'version unknown'}")
        if found.encoders:
            yield Finding("encoders", "ok", ", ".join(sorted(found.encoders)))
        else:
            yield Finding(
                "encoders", "warn", "none works", "install an ffmpeg with encoders, or --ffmpeg"
            )
    for finding in _disks(work_dir or default_work_dir()):
        yield finding


def _disks(work_dir: Path) -> Iterator[Finding]:
    for check, folder in (("engine's disk", work_dir), ("disk here", Path.cwd())):
        there = next(it for it in (folder, *folder.parents) if it.exists())
        try:
            free_gb = shutil.disk_usage(there).free / 1e9
        except OSError as error:
            yield Finding(check, "warn", f"{there}: {error.strerror or error}")
            continue
        told = f"{free_gb:,.1f} GB are free at {there}"
        if free_gb >= LITTLE_GB:
            yield Finding(check, "ok", told)
        else:
            state: Literal["warn", "fail"] = "fail" if free_gb < NONE_GB else "warn"
            yield Finding(check, state, told, "make room, or name another disk with --work-dir")


_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "red"}
_COLUMNS: Final[Sequence[Column[Finding]]] = (
    Column("check", lambda it: it.check),
    Column("is", lambda it: it.state, style=lambda it: _STYLES[it.state]),
    Column("found", lambda it: it.found, 1, "wrap"),
    Column("what to do", lambda it: it.way_out, 2, "wrap"),
)
