"""`dispatcher reload`."""

from dispatcher.cli.asking import ask
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, Server
from dispatcher.cli.output import print_text
from dispatcher.client import Client

__all__ = ["reload"]


def reload(server: Server = DEFAULT_SERVER, api_key: ApiKey = None) -> None:
    """Have a dispatcher read its files of keys and recipes, and its certificate, again."""
    for line in ask(server, api_key, Client.reload):
        print_text(line)
