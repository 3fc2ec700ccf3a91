"""`dispatcher webhooks list`, `retry` and `secret`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from dispatcher.cli.asking import ask
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, AsJson, Server, Wide
from dispatcher.cli.output import print_json, print_text
from dispatcher.cli.tables import Column, print_rows
from dispatcher.cli.times import shown
from dispatcher.client import Client, WebhookView
from dispatcher.webhooks.signing import new_secret

__all__ = ["app"]

app = typer.Typer(help="Show webhooks, and send again what was given up.", no_args_is_help=True)

_STYLES: Final = {"ok": "green", "failing": "yellow", "dead": "red"}


def _since(webhook: WebhookView) -> str:
    if webhook.failing_since is None:
        return ""
    return shown(datetime.fromtimestamp(webhook.failing_since, UTC), utc=False)


_COLUMNS: Final[Sequence[Column[WebhookView]]] = (
    Column("webhook", lambda it: it.name),
    Column("state", lambda it: it.state, 1, style=lambda it: _STYLES.get(it.state, "")),
    Column("waiting", lambda it: f"{it.waiting:,}", 2, is_number=True),
    Column("given up", lambda it: f"{it.dead:,}", 3, is_number=True),
    Column("sent", lambda it: f"{it.sent:,}", 6, is_number=True),
    Column("error", lambda it: it.error or "", 4, "end"),
    Column("failing since", _since, 5),
    Column("url", lambda it: it.url or "", 7, "end"),
    Column("events", lambda it: ", ".join(it.events), 8, "end"),
)


@app.command("list")
def list_webhooks(
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    as_json: AsJson = False,
    wide: Wide = False,
) -> None:
    """Show how it stands with each webhook, and with the receivers of callbacks."""
    found = ask(server, api_key, Client.webhooks)
    if as_json:
        print_json(found)
    else:
        print_rows(_COLUMNS, found, wide=wide)


@app.command()
def retry(
    name: Annotated[str, typer.Argument(metavar="WEBHOOK")],
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Send all that a receiver has not taken again now, also what was given up."""
    print_text(ask(server, api_key, lambda client: client.retry_webhook(name)))


@app.command()
def secret() -> None:
    """Make a secret for a webhook, and print it."""
    print_text(new_secret())
