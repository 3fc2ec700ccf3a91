"""`dispatcher board`."""

import os
import sys
import webbrowser
from typing import Annotated

import typer

from dispatcher.cli.asking import ask
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, Server
from dispatcher.cli.output import print_address, say
from dispatcher.client import Client, RequestRefusedError
from dispatcher.serving.keys import ANONYMOUS

__all__ = ["board"]


def board(
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the address in the browser.")
    ] = True,
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
) -> None:
    """Print the address of the board, signed in with this key, and open it in the browser.

    The address signs in one browser, within a minute.
    """
    address = ask(server, api_key, _address_of)
    print_address(address)
    if open_browser and not _opened(address):
        say("There is no browser to open here; open the address yourself.")


async def _address_of(client: Client) -> str:
    """Return the address at the dispatcher that knows the token: the one that made it."""
    key = await client.key()
    if key.name == ANONYMOUS:
        return f"{client.asked_first}/"
    if key.role == "engine":
        raise RequestRefusedError(
            403,
            f"the key '{key.name}' is an engine's, with which nobody can sign in; make one with "
            "`dispatcher key new NAME --role client` (or operator)",
        )
    token = (await client.sign_in()).token
    return f"{client.asked_first}/#token={token}"


def _opened(url: str) -> bool:
    """Open a browser that has a window; one in the terminal could not show the board."""
    has_windows = sys.platform in {"win32", "darwin"} or any(
        map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    )
    return has_windows and webbrowser.open(url)
