"""Calls about webhooks."""

import msgspec

from dispatcher.client.calls import Calls, decode, quoted

__all__ = ["WebhookCalls", "WebhookState"]


class WebhookState(msgspec.Struct, frozen=True):
    """How it stands with a webhook, or with a receiver of callbacks, which has no `url` here.

    `state` is `ok`, `failing` since `failing_since` (seconds since the epoch), or `dead`: so many
    messages were given up. `waiting` are not taken yet; `sent` were, since the dispatcher began.
    """

    name: str
    url: str | None
    events: list[str]
    state: str
    waiting: int = 0
    dead: int = 0
    sent: int = 0
    failing_since: float | None = None
    error: str | None = None


class WebhookCalls(Calls):
    """Calls about webhooks."""

    async def webhooks(self) -> list[WebhookState]:
        """Return how it stands with each webhook."""
        return decode(await self._connection.call("GET", "/webhooks"), list[WebhookState])

    async def retry_webhook(self, name: str) -> str:
        """Have all that a receiver has not taken sent again now; gives the dispatcher's words."""
        response = await self._connection.call("POST", f"/webhooks/{quoted(name)}/retry")
        return str(response.text)
