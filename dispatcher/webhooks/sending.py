"""Posting one message to a receiver.

Laws:
- No redirect is followed, no proxy asked, and nothing of the answer is read but its status.
- A callback is only sent to an address that the operator permits.
- No password of a URL is in an error.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import httpx2

from dispatcher import __version__
from dispatcher.addressed import AddressedTransport, Lookup
from dispatcher.urls import masked

__all__ = ["ANSWER_S", "NotTakenError", "Post", "Sender"]

ANSWER_S: Final = 30.0
"""How long a receiver may take to answer."""
_HEADERS: Final = {"Content-Type": "application/json", "User-Agent": f"dispatcher/{__version__}"}
_LONGEST: Final = 300


class NotTakenError(Exception):
    """A receiver did not take a message; the text says why."""


class Post:
    """What is sent: where to, with which headers."""

    def __init__(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        self.url = url
        self.headers = headers
        self.body = body


class Sender:
    """Sends messages, each by a connection of its own to an address that `lookup` gives."""

    def __init__(self, lookup: Lookup) -> None:
        transport = AddressedTransport(lookup)
        self._http = httpx2.AsyncClient(transport=transport, trust_env=False, timeout=ANSWER_S)

    async def send(self, post: Post) -> None:
        """Send a message. Raises `NotTakenError` unless the receiver answers with success."""
        try:
            request = self._http.build_request(
                "POST", post.url, headers={**_HEADERS, **post.headers}, content=post.body
            )
            async with asyncio.timeout(ANSWER_S):
                response = await self._http.send(request, stream=True, follow_redirects=False)
                await response.aclose()
        except TimeoutError as error:
            raise NotTakenError(f"it did not answer within {ANSWER_S:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            why = masked(str(error), [post.url]) or type(error).__name__
            raise NotTakenError(why[:_LONGEST]) from error
        if response.is_redirect:
            raise NotTakenError(
                f"it answered {response.status_code}, and webhooks follow no redirect"
            )
        if not response.is_success:
            raise NotTakenError(f"it answered {response.status_code}")

    async def close(self) -> None:
        """Close what is open."""
        await self._http.aclose()
