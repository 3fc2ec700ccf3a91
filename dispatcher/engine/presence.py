"""Whether a person uses this machine: for how long nobody has touched keyboard and mouse.

Asked are, in this order, `xprintidle` (of an X server, if this process has one) and `loginctl` (of
systemd-logind, to which desktops and terminals tell it).

Laws:
- What can't be told is found out at the start, and refused there.
- What can't be told later counts as a person: no job is worth disturbing one.
"""

import asyncio
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Self

from dispatcher.errors import DispatcherError

__all__ = ["Presence", "PresenceError"]

_ANSWER_S: Final = 5.0
_LOGIND: Final = ("show-session", "--property=IdleHint", "--property=IdleSinceHint")


class PresenceError(DispatcherError):
    """This system does not tell whether a person uses it; the text says what was asked."""


class Presence(NamedTuple):
    """How to find out for how many seconds nobody has used this machine; `find` makes it."""

    program: str
    idle_s: Callable[[], Awaitable[float]]

    @classmethod
    async def find(cls) -> Self:
        """Find what tells it. Raises `PresenceError` if nothing does."""
        tried = []
        for name, ask in _ASKED.items():
            try:
                await ask()
            except PresenceError as error:
                tried.append(f"{name}: {error}")
            else:
                return cls(name, ask)
        raise PresenceError(
            "--when-idle: this system does not tell whether a person uses it "
            f"({'; '.join(tried)}); leave the option out, or give the engine --hours"
        )


async def _of_x() -> float:
    if not os.environ.get("DISPLAY"):
        raise PresenceError("this process has no DISPLAY")
    printed = await _printed("xprintidle")
    try:
        return int(printed) / 1000
    except ValueError as error:
        raise PresenceError(f"it printed {printed[:80]!r}") from error


async def _of_logind() -> float:
    printed = await _printed("loginctl", *_LOGIND)
    told = dict(line.partition("=")[::2] for line in printed.splitlines())
    try:
        is_idle, since_us = told["IdleHint"] == "yes", int(told["IdleSinceHint"])
    except (KeyError, ValueError) as error:
        raise PresenceError(f"it printed {printed[:80]!r}") from error
    return max(0.0, time.time() - since_us / 1_000_000) if is_idle else 0.0


async def _printed(program: str, *arguments: str) -> str:
    """Return what a program prints; raises `PresenceError` if it does not answer or fails."""
    if (path := shutil.which(program)) is None:
        raise PresenceError("it is not installed")
    try:
        process = await asyncio.create_subprocess_exec(
            *(path, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise PresenceError(str(error)) from error
    try:
        out, err = await asyncio.wait_for(process.communicate(), _ANSWER_S)
    except TimeoutError as error:
        raise PresenceError(f"it did not answer in {_ANSWER_S:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        text = err.decode(errors="replace").strip()
        raise PresenceError(text.splitlines()[-1] if text else f"exit status {process.returncode}")
    return out.decode(errors="replace").strip()


_ASKED: Final = {"xprintidle": _of_x, "loginctl": _of_logind}
