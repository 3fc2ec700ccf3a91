"""`dispatcher log`: moving a log into a cluster, and comparing the two."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from dispatcher.cli.options import Db
from dispatcher.cli.output import print_text, say
from dispatcher.cli.replicated import ReplicatedLog, replicated_log
from dispatcher.log.checkpoints import Signer
from dispatcher.log.sqlite import SqliteLog
from dispatcher.progress import ProgressLines
from dispatcher.state.remains import key_path

if TYPE_CHECKING:
    from dispatcher.cluster.address import Address
    from dispatcher.cluster.stream import Stream

__all__ = ["app"]

T = TypeVar("T")
app = typer.Typer(help="Move a log into a cluster, and compare the two.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def publish(
    log: ReplicatedLog,
    db: Db = Path("events.db"),
    signing_key: Annotated[
        Path | None,
        typer.Option(help="The key that signs checkpoints. By default DB.key.", show_default=False),
    ] = None,
) -> None:
    """Put all events of a log into an empty stream. No dispatcher may be running on either.

    What was broken off is continued by the same command.
    """
    address = replicated_log(log)
    from dispatcher.cluster.moving import publish as put  # noqa: PLC0415 - imports NATS

    async def work(stream: "Stream") -> str:
        async with await SqliteLog.open(db, creating=_refuse_new) as events:
            signer = Signer.load_or_create(signing_key or key_path(events.path))
            await stream.prepare(lambda _known: signer.verifier_key)
            done = await put(stream, events, ProgressLines(say, f"Publishing {db}"))
        return (
            f"{stream.address}: {done.events:,} events in {done.messages:,} messages; its root is "
            f"that of {db}, {done.root.hex()}"
        )

    print_text(asyncio.run(_with_stream(address, work)))


@app.command()
def verify(
    log: ReplicatedLog,
    db: Annotated[
        Path | None,
        typer.Option(help="A replica to compare it with, while its dispatcher runs or not."),
    ] = None,
) -> None:
    """Check every message of a stream from the beginning, and compare it with a replica."""
    address = replicated_log(log)
    from dispatcher.cluster.moving import verify as check  # noqa: PLC0415 - imports NATS

    async def work(stream: "Stream") -> str:
        verifying = ProgressLines(say, f"Verifying {stream.address}", "messages")
        if db is None:
            found = await check(stream, None, verifying)
            compared = ""
        else:
            async with await SqliteLog.open_for_reading(db) as replica:
                found = await check(stream, replica, verifying)
                head = replica.head
            compared = f"; {db} has the same up to seq {found.compared:,}, of {head:,}"
        return (
            f"{stream.address}: all {found.messages:,} messages are sound, with {found.events:,} "
            f"events; root {found.root.hex()}{compared}"
        )

    print_text(asyncio.run(_with_stream(address, work)))


async def _with_stream(address: "Address", work: "Callable[[Stream], Awaitable[T]]") -> T:
    from dispatcher.cluster.stream import Stream  # noqa: PLC0415 - imports NATS

    stream = await Stream.connect(address, "log")
    try:
        return await work(stream)
    finally:
        await stream.close()


def _refuse_new(path: Path) -> None:
    raise typer.BadParameter(f"{path}: there is no log here; name one with --db")
