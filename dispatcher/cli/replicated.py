"""The option that names a replicated log."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from dispatcher.errors import DispatcherError

if TYPE_CHECKING:  # NATS is imported only for a cluster
    from dispatcher.cluster.address import Address

__all__ = ["ReplicatedLog", "replicated_log"]

ReplicatedLog = Annotated[
    str,
    typer.Option(
        "--log",
        envvar="DISPATCHER_LOG",
        show_envvar=True,
        help="The replicated log: nats://HOST,HOST,HOST/NAME.",
    ),
]


def replicated_log(text: str) -> "Address":
    """Parse the address of a replicated log. `DispatcherError` if it is none, or without NATS."""
    if find_spec("nats") is None:
        raise DispatcherError(
            "a replicated log needs the client of NATS: pip install "
            "'transcoding-dispatcher[cluster]'"
        )
    from dispatcher.cluster.address import Address  # noqa: PLC0415 - only for a cluster

    return Address.parse(text)
