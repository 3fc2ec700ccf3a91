"""Who is on the network, and what they ask of the dispatcher."""

from collections.abc import Callable
from typing import Any

from dispatcher.core.commands import Command

__all__ = ["Call", "Endpoint"]


class Endpoint:
    """Somebody on the network.

    `mute` counts the partitions that let nothing out, `deaf` those that let nothing in. `life`
    counts the processes it has had: an answer to what an earlier one asked is dropped.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.life = 0
        self.mute = 0
        self.deaf = 0

    def run(self, life: int, call: Callable[..., None], *args: object) -> None:
        """Do what has been waited for, unless the process that waited has died."""
        if life == self.life:
            call(*args)


class Call:
    """A request. `answered` is called with the answer, `lost` if there will be none.

    An answer that equals what is `known` need not be carried.
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

    def __init__(  # noqa: PLR0913, PLR0917 - all that there is to a call
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
