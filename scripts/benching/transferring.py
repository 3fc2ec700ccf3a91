"""One transfer of a film, in a process of its own: `transferring.py up|down|hash URL KEY FILE`."""

import asyncio
import sys
from pathlib import Path

from dispatcher.client import Client, digest_of

__all__: list[str] = []


async def _transfer(direction: str, url: str, key: str, film: Path) -> None:
    async with Client(url, key) as client:
        sha256 = await digest_of(film)
        match direction:
            case "down":
                await client.download(sha256, film.with_name(f"{film.name}.back"))
            case "up":
                await client.upload(film, sha256=sha256)
            case _:  # as busy, and nothing travels
                await digest_of(film)
                await digest_of(film)


_, direction, url, key, film = sys.argv
asyncio.run(_transfer(direction, url, key, Path(film)))
