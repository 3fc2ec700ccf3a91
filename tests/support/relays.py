"""Lines between an engine and its dispatcher that fail, or lose their orders."""

import asyncio
from dataclasses import replace

import msgspec

from tests.support.web import Answer, Asked, forwarding_to

__all__ = ["Broken", "beats_in", "deaf", "heard_but_not_answered"]


class Broken:
    """Passes on all requests but those on one route, which are lost until it is `mended`.

    `reached` is set when one was lost.
    """

    def __init__(self, url: str, route: str) -> None:
        self._url = url
        self._route = route
        self.reached = asyncio.Event()
        self.mended = asyncio.Event()

    async def __call__(self, asked: Asked) -> Answer | None:
        if asked.target.endswith(self._route) and not self.mended.is_set():
            self.reached.set()
            await self._lost(asked)
            return None
        return await deaf(self._url, asked)

    async def _lost(self, asked: Asked) -> None:
        pass


class heard_but_not_answered(Broken):  # noqa: N801 - it reads as what the line does
    """The same, but it is the answers that are lost."""

    async def _lost(self, asked: Asked) -> None:
        await forwarding_to(self._url, asked)


async def deaf(url: str, asked: Asked) -> Answer:
    """Ask a dispatcher, but hear none of its orders."""
    return replace(await forwarding_to(url, asked), headers={})


def beats_in(asked: list[Asked]) -> list[dict[str, object]]:
    """Give the bodies of all heartbeats."""
    beats = [one.body for one in asked if one.target == "/engines/heartbeat"]
    return [msgspec.json.decode(body, type=dict[str, object]) for body in beats]
