"""`dispatcher cluster status`."""

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from dispatcher.cli.options import AsJson
from dispatcher.cli.output import complain, print_json, print_text
from dispatcher.cli.replicated import ReplicatedLog, replicated_log
from dispatcher.cli.tables import Column, print_rows

if TYPE_CHECKING:
    from dispatcher.cluster.leadership import Beat
    from dispatcher.cluster.status import NodeStatus, Status

__all__ = ["app"]

app = typer.Typer(help="Look at several dispatchers on one log.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def status(
    log: ReplicatedLog,
    monitor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="The monitoring address of a node of NATS, such as http://a:8222; repeat it.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the dispatchers, the stream and its nodes. The exit code is 1 if anything is wrong."""
    address = replicated_log(log)
    from dispatcher.cluster.status import status_of  # noqa: PLC0415 - imports NATS
    from dispatcher.cluster.stream import Stream  # noqa: PLC0415

    async def look() -> "Status":
        stream = await Stream.connect(address, "status")
        try:
            return await status_of(stream, monitor or ())
        finally:
            await stream.close()

    found = asyncio.run(look())
    if as_json:
        print_json(found)
    else:
        _print(found)
    for alarm in found.alarms:
        complain(alarm)
    if found.alarms:
        sys.exit(1)


def _print(found: "Status") -> None:
    print_text(f"{found.address}: {_number(found.messages)} messages")
    print_rows(_DISPATCHERS, found.dispatchers)
    print_text("")
    print_rows(_NODES, found.nodes)


def _yes(value: bool | None) -> str:
    return "" if value is None else ("yes" if value else "no")


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


_DISPATCHERS: Final[Sequence[Column["Beat"]]] = (
    Column("dispatcher", lambda beat: beat.member),
    Column("leads", lambda beat: "yes" if beat.leads else "", 1),
    Column("term", lambda beat: f"{beat.term:,}", 2, is_number=True),
    Column("message", lambda beat: f"{beat.position:,}", 3, is_number=True),
    Column("seq", lambda beat: f"{beat.seq:,}", 2, is_number=True),
    Column("url", lambda beat: beat.url or "", 4, "end"),
)
_NODES: Final[Sequence[Column["NodeStatus"]]] = (
    Column("node", lambda node: node.name),
    Column("leads", lambda node: _yes(node.is_leader), 1),
    Column("current", lambda node: _yes(node.is_current), 1),
    Column("messages", lambda node: _number(node.messages), 2, is_number=True),
    Column("of", lambda node: _number(node.last_sequence), 3, is_number=True),
)
