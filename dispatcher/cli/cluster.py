"""`dispatcher cluster status`."""

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dispatcher.cli.options import AsJson
from dispatcher.cli.output import cell, complain, print_json, print_table, print_text
from dispatcher.cli.replicated import ReplicatedLog, replicated_log

if TYPE_CHECKING:
    from dispatcher.cluster.status import Status

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
    table = Table("dispatcher", "leads", "term", "message", "seq", "url")
    for beat in found.dispatchers:
        table.add_row(
            cell(beat.member),
            "yes" if beat.leads else "",
            f"{beat.term:,}",
            f"{beat.position:,}",
            f"{beat.seq:,}",
            cell(beat.url or ""),
        )
    print_table(table)
    table = Table("node", "leads", "current", "messages", "of")
    for node in found.nodes:
        table.add_row(
            cell(node.name),
            _yes(node.is_leader),
            _yes(node.is_current),
            _number(node.messages),
            _number(node.last_sequence),
        )
    print_table(table)


def _yes(value: bool | None) -> str:
    return "" if value is None else ("yes" if value else "no")


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
