"""The participants of the network, and their requests to the dispatcher."""

from collections.abc import Callable
from typing import Any

from dispatcher.core.commands import Command

__all__ = ["Call", "Endpoint"]


class Endpoint:
    """A participant of the network.

    `mute` counts the partitions that lose everything it sends, `deaf` those that lose everything
    sent to it. `life` counts its processes: a response to a request of an earlier process is
    dropped.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.life = 0
        self.mute = 0
        self.deaf = 0

    def run(self, life: int, call: Callable[..., None], *args: object) -> None:
        """Make a call that a process waited for, unless that process has died."""
        if life == self.life:
            call(*args)


class Call:
    """A request. `answered` is called with the response, or `lost` is called if there will be none.

    A response equal to `known` need not be delivered.
    """

    __slots__ = (
        "answered",
        "command",
        "gives_up_us",
        "is_settled",
        "known",
        "life",
        "lost",
        "sender",
        "wait_s",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - every field of a call
        self,
        sender: Endpoint,
        command: Command,
        answered: Callable[[Any], None] | None = None,
        lost: Callable[[], None] | None = None,
        wait_s: float = 0.0,
        known: object = None,
    ) -> None:
        self.sender = sender
        self.life = sender.life
        self.command = command
        self.answered = answered
        self.lost = lost
        self.wait_s = wait_s
        self.known = known
        self.gives_up_us = 0
        self.is_settled = False
